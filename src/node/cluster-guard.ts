/**
 * What commands ask of the cluster at each key (`commands/cluster-face.ts`), out of the protocol's core: may this member answer for the slot, and who does if it may not.
 *
 * A GET asks, so the answer is kept: how long the lease lasts that a range is served under, until anything happens that could end it sooner (`changed`). What is kept is never longer than what the core
 * itself would say at that moment.
 */
import type { ClusterCore } from '../cluster/core.ts';
import type { Member, NodeId } from '../cluster/member.ts';
import type { SpreadKind, SpreadName } from '../cluster/messages.ts';
import type { Ranges } from '../cluster/ranges.ts';
import { asMember, type Roster } from '../cluster/roster.ts';
import { SlotMap } from '../cluster/slot-map.ts';
import type { Timing } from '../cluster/timing.ts';
import {
  type ClusterFace,
  type ClusterView,
  COPIED,
  CUT_OFF,
  ELSEWHERE,
  type Forwarded,
  FROZEN,
  type MemberFace,
  type MemberView,
  OWNED,
  type ReplicationView,
  UNOWNED,
  UNSURE,
} from '../commands/cluster-face.ts';
import type { Session } from '../commands/session.ts';
import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import { clusterViewOf, type Heard } from './cluster-view.ts';
import type { Gutter } from './gutter.ts';
import { replicationOf } from './replication-view.ts';

const NEVER = Number.NEGATIVE_INFINITY;
/** A member of whom so many heartbeats are missing is shown as suspected. */
const SUSPECTED_HEARTBEATS = 3;

export class ClusterGuard implements ClusterFace {
  /** The moment of the door that was entered last, not rounded: leases are judged by it. */
  nowMs = 0;
  framesSent = 0;
  framesReceived = 0;
  readonly #core: ClusterCore;
  readonly #ranges: Ranges;
  readonly #timing: Timing;
  /** By range: it is ours to serve until then. */
  readonly #untilMs: Float64Array;
  readonly #shift: number;
  /** Set by the node. */
  onSpread: ((name: SpreadName) => void) | null = null;
  readonly member: MemberFace;
  onForward: ((command: Forwarded) => void) | null = null;
  gutter: Gutter | null = null;
  onHold: ((session: Session, range: number) => boolean) | null = null;
  onWait: ((count: number, timeoutMs: number) => void) | null = null;
  /** All of what is ours is ours to serve until then. */
  #vouchesUntilMs = NEVER;
  #cutOffMs = 0;
  #watchedMs = NEVER;
  #isCurrent = false;
  #map: SlotMap;
  #view: ClusterView | null = null;
  #viewOf = -1;
  #viewHealth = '';

  constructor(core: ClusterCore, ranges: Ranges, members: readonly Member[], timing: Timing) {
    this.#core = core;
    this.#ranges = ranges;
    this.#timing = timing;
    this.#untilMs = new Float64Array(ranges.count).fill(NEVER);
    this.#shift = 31 - Math.clz32(ranges.slotsPerRange);
    this.#map = SlotMap.empty(ranges, members);
    this.member = {
      drain: (isDrained) => {
        core.isDrained = isDrained;
      },
      move: (slot, to) => core.move(ranges.of(slot), to, this.nowMs),
      rebalance: () => core.rebalance(this.nowMs),
      forget: (id) => core.changeRoster({ kind: 'forget', id }, this.nowMs),
      pardon: (id) => core.changeRoster({ kind: 'pardon', id }, this.nowMs),
      voters: (add, remove) => core.changeRoster({ kind: 'voters', add, remove }, this.nowMs),
    };
  }

  get members(): ReadonlyMap<NodeId, Member> {
    return this.#map.members;
  }

  /** Something happened after which an answer may be another. */
  changed(): void {
    if (!this.#isCurrent) return;
    this.#isCurrent = false;
    this.#untilMs.fill(NEVER);
    this.#vouchesUntilMs = NEVER;
  }

  onMember(member: Member): void {
    if (!this.#map.members.has(member.id)) return;
    const map = this.#map.withMember(member);
    if (map === this.#map) return;
    this.#map = map;
    this.#view = null;
  }

  /** Who came is known by its link alone until it says more. */
  onRoster({ members }: Roster): void {
    const ids = new Set(members.map(({ id }) => id));
    let map = this.#map;
    for (const member of members) if (!map.members.has(member.id)) map = map.withMember(asMember(member));
    for (const id of map.members.keys()) if (!ids.has(id)) map = map.withoutMember(id);
    this.#map = map;
    this.#view = null;
    this.changed();
  }

  /**
   * For how long there has been no majority: to be called at each tick. A member counts as cut off when that has lasted for T, stalls and jumps of the clock left out: those are over sooner, and until then who asks does
   * better to look for the one who takes over.
   */
  watch(): void {
    const gapMs = this.nowMs - this.#watchedMs;
    this.#watchedMs = this.nowMs;
    if (this.isOk) this.#cutOffMs = 0;
    else this.#cutOffMs += gapMs > this.#timing.stallMs ? this.#timing.tickMs : gapMs;
  }

  stateOf(slot: number): number {
    const range = slot >>> this.#shift;
    return this.nowMs < this.#untilMs[range]! ? OWNED : this.#ask(range);
  }

  copyLagMs(slot: number): number {
    return this.#core.copyLagMs(slot >>> this.#shift, this.nowMs);
  }

  /** Does it own the range and hold its lease? */
  isOwned(range: number): boolean {
    return this.nowMs < this.#untilMs[range]! || this.#ask(range) === OWNED;
  }

  get isVouching(): boolean {
    if (this.nowMs < this.#vouchesUntilMs) return true;
    let untilMs = Number.POSITIVE_INFINITY;
    for (const primary of this.#core.primaries) {
      if (primary === null) continue;
      if (!this.isOwned(primary.range)) return false;
      untilMs = Math.min(untilMs, this.#untilMs[primary.range]!);
    }
    this.#isCurrent = true;
    this.#vouchesUntilMs = untilMs;
    return true;
  }

  /** Where a client is sent. null: nobody, or one who has not been heard of lately: who asks again later is sent to the next. */
  ownerOf(slot: number): MemberView | null {
    const owner = this.#core.ownerOf(this.#ranges.of(slot));
    if (owner === null || this.#core.views.silenceOf(owner, this.nowMs) >= this.#timing.leaseMs) return null;
    return this.view.members.find(({ id }) => id === owner) ?? null;
  }

  spread(kind: SpreadKind, name: Uint8Array, start: number, length: number): void {
    // A copy: the request's bytes are gone when others are told.
    this.onSpread?.({ kind, name: new Uint8Array(name.subarray(start, start + length)) });
  }

  wait(count: number, timeoutMs: number): void {
    this.onWait?.(count, timeoutMs);
  }

  get replication(): ReplicationView {
    return replicationOf(this.#core.primaries, this.#map.members, this.nowMs);
  }

  answerAside(command: string, session: Session, args: Args, out: ReplyWriter): boolean {
    return this.gutter?.answer(command, session, args, out, this.nowMs) === true;
  }

  forward(command: Forwarded): void {
    this.onForward?.(command);
  }

  hold(session: Session, slot: number): boolean {
    const range = slot >>> this.#shift;
    return this.#core.isChanging(range, this.nowMs) && this.onHold?.(session, range) === true;
  }

  get isOk(): boolean {
    return this.#core.views.hasMajority(this.nowMs);
  }

  get view(): ClusterView {
    const { self } = this.#core;
    const health = [...this.#map.members.keys()].map((id) => this.#healthOf(id)).join(' ') + this.isOk;
    if (this.#view !== null && this.#viewOf === this.#core.recordChanges && this.#viewHealth === health)
      return this.#view;
    this.#map = this.#map.withRecords(this.#core.views.chosen.map(({ range }) => this.#core.recordOf(range)));
    this.#viewOf = this.#core.recordChanges;
    this.#viewHealth = health;
    this.#view = clusterViewOf(this.#map, (member) => this.#heard(member), {
      self,
      isOk: this.isOk,
      framesSent: this.framesSent,
      framesReceived: this.framesReceived,
    });
    return this.#view;
  }

  #ask(range: number): number {
    const route = this.#core.route(range, true, this.nowMs);
    switch (route.kind) {
      case 'serve':
        this.#isCurrent = true;
        this.gutter?.clear(this.nowMs);
        this.#untilMs[range] = this.#core.views.leasedUntilMs(range, this.#core.primaries[range]!.record.ballot);
        return OWNED;
      case 'serve-copy':
        return COPIED;
      case 'moved':
        return ELSEWHERE;
      case 'try-again':
        return FROZEN;
      case 'down':
        return UNOWNED;
      case 'minority':
        this.watch();
        return this.#core.primaries[range] !== null && this.#cutOffMs >= this.#timing.takeoverMs ? CUT_OFF : UNSURE;
    }
  }

  #healthOf(id: NodeId): Heard['health'] {
    const silentMs = this.#core.views.silenceOf(id, this.nowMs);
    if (silentMs >= this.#timing.takeoverMs) return 'failed';
    return silentMs >= SUSPECTED_HEARTBEATS * this.#timing.heartbeatMs ? 'suspected' : 'online';
  }

  #heard({ id }: Member): Heard {
    return { health: this.#healthOf(id), pingSentMs: 0, pongReceivedMs: 0 };
  }
}
