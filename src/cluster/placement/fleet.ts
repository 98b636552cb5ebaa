/**
 * The members among which ranges are placed, as columns of numbers: those with a weight, in the order of their ids, so that the order in
 * which anybody lists them makes no difference.
 */
import { Rendezvous } from '../../hash/rendezvous.ts';
import { compareIds, type Member, machineOf, type NodeId } from '../member.ts';
import type { PlacementRules } from './rules.ts';
import { sharesOf } from './shares.ts';

/** Whose share is no hundredth of a range owns nothing as long as anybody else can: a replica by its weight. */
const NEGLIGIBLE = 0.01;

export class Fleet {
  readonly ids: readonly NodeId[];
  readonly rangeCount: number;
  /** Copies that there can be: no more than members. */
  readonly copies: number;
  readonly rules: PlacementRules;
  /** Numbers in place of labels. */
  readonly zones: Int32Array;
  readonly machines: Int32Array;
  readonly zoneCount: number;
  readonly machineCount: number;
  /** Ranges that each should own, and own or copy; fractions. */
  readonly ownShare: Float64Array;
  readonly holdShare: Float64Array;
  readonly #indices: ReadonlyMap<NodeId, number>;
  readonly #rendezvous: Rendezvous | null;

  constructor(members: Iterable<Member>, rangeCount: number, rules: PlacementRules) {
    const eligible = [...members].filter(({ weight }) => weight > 0).sort((a, b) => compareIds(a.id, b.id));
    const weights = eligible.map(({ weight }) => weight);
    this.ids = eligible.map(({ id }) => id);
    this.#indices = new Map(this.ids.map((id, index) => [id, index]));
    this.rangeCount = rangeCount;
    this.rules = rules;
    this.copies = Math.min(rules.copies, eligible.length);
    const zones = numbered(eligible.map(({ zone }) => zone));
    const machines = numbered(eligible.map(machineOf));
    this.zones = zones.codes;
    this.zoneCount = zones.count;
    this.machines = machines.codes;
    this.machineCount = machines.count;
    this.ownShare = sharesOf(weights, rangeCount, rangeCount);
    this.holdShare = sharesOf(weights, rangeCount * this.copies, rangeCount);
    this.#rendezvous =
      eligible.length === 0 ? null : new Rendezvous(eligible.map(({ id, weight }) => ({ name: id, weight })));
  }

  get size(): number {
    return this.ids.length;
  }

  /** -1: not among them. */
  indexOf(id: NodeId): number {
    return this.#indices.get(id) ?? -1;
  }

  /** How strongly the range is drawn to the member. */
  score(range: number, index: number): number {
    return this.#rendezvous!.scoreOf(range, index);
  }

  /** What is newly given to a member ends at its share, rounded up. All together that is room for every range. */
  ownLimit(index: number): number {
    return roundedUp(this.ownShare[index]!);
  }

  /** A copy may adopt its range up to half way to the bound: members that stand at the bound would all give something away at the next join. */
  ownAdoptLimit(index: number): number {
    return Math.max(this.ownLimit(index), Math.floor(((1 + this.rules.bound) / 2) * this.ownShare[index]!));
  }

  /** A newcomer takes from members above this first. */
  ownBound(index: number): number {
    return Math.max(this.ownLimit(index), Math.floor(this.rules.bound * this.ownShare[index]!));
  }

  /** What a member has is taken from it above this: the bound rounded up, since a bound that falls below a whole number would else make many members give at once. */
  ownCap(index: number): number {
    return roundedUp(this.rules.bound * this.ownShare[index]!);
  }

  /** Ranges without an owner go to members with less than this first. */
  ownLow(index: number): number {
    const share = this.ownShare[index]!;
    return Math.min(Math.floor(share), Math.ceil(this.rules.low * share));
  }

  /**
   * A member with less than this is given more, though somebody must lose it. Up to one range less than `ownLow`, so that a share that grows past
   * a whole number makes members needy that only ranges without an owner need to help.
   */
  ownFeedLow(index: number): number {
    const share = this.ownShare[index]!;
    return Math.min(Math.floor(share), Math.max(1, Math.floor(this.rules.low * share)));
  }

  holdLimit(index: number): number {
    return roundedUp(this.holdShare[index]!);
  }

  holdCap(index: number): number {
    return Math.max(this.holdLimit(index), Math.floor(this.rules.heldBound * this.holdShare[index]!));
  }

  /** For the sake of another zone. */
  holdZoneCap(index: number): number {
    return Math.max(this.holdLimit(index), Math.floor(this.rules.zoneBound * this.holdShare[index]!));
  }

  holdLow(index: number): number {
    const share = this.holdShare[index]!;
    return Math.min(Math.floor(share), Math.ceil(this.rules.low * share));
  }
}

function roundedUp(share: number): number {
  return share < NEGLIGIBLE ? 0 : Math.ceil(share);
}

function numbered(labels: readonly string[]): { readonly codes: Int32Array; readonly count: number } {
  const codes = new Map<string, number>();
  for (const label of labels) if (!codes.has(label)) codes.set(label, codes.size);
  return { codes: Int32Array.from(labels, (label) => codes.get(label)!), count: codes.size };
}
