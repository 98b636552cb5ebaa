/**
 * Who knows everything, and says what was wrong: the truth of every row, what was invalidated and acknowledged when, who served what, which records were made. Times are the world's.
 *
 * The numbers are those of the invariants in docs/cluster.md.
 */
import { type Ballot, compareBallots, formatBallot } from '../../src/base/ballot.ts';
import { GIVEN_AWAY, HANDED_OVER } from '../../src/cluster/core.ts';
import type { OwnershipRecord } from '../../src/cluster/record.ts';
import type { World } from '../world/world.ts';
import type { Host } from './host.ts';
import type { Setup } from './plan.ts';

const MOST_VIOLATIONS = 20;

export class Judge {
  readonly violations: string[] = [];
  /** By key: the version that is in the database. */
  readonly committed: number[];
  /** By key and version: since when nobody may be given it. */
  readonly #forbiddenMs: number[][];
  readonly #world: World;
  readonly #setup: Setup;
  readonly #hosts: readonly Host[];
  /** Every record that was ever told to a voter, by range and ballot. */
  readonly #records = new Map<string, string>();
  readonly counts = {
    reads: 0,
    hits: 0,
    copyHits: 0,
    gutterHits: 0,
    misses: 0,
    unserved: 0,
    acknowledged: 0,
    unacknowledged: 0,
    fills: 0,
    refusedFills: 0,
    reigns: 0,
    takeovers: 0,
    emptyReigns: 0,
    handOvers: 0,
    longestChain: 0,
  };

  constructor(world: World, setup: Setup, hosts: readonly Host[]) {
    this.#world = world;
    this.#setup = setup;
    this.#hosts = hosts;
    const keys = setup.ranges * setup.keysPerRange;
    this.committed = Array.from({ length: keys }, () => 1);
    this.#forbiddenMs = Array.from({ length: keys }, () => []);
  }

  violate(invariant: number, text: string): void {
    const line = `(${invariant}) at ${this.#world.nowMs.toFixed(3)}: ${text}`;
    this.#world.trace.say(() => `*** ${line}`);
    if (this.violations.length < MOST_VIOLATIONS) this.violations.push(line);
  }

  /** Somebody changes the row: from now on the database has this version. */
  commit(key: number): number {
    this.committed[key]! += 1;
    return this.committed[key]!;
  }

  /** The caller was told that `version` is in force: nothing older may be given to a read that starts later. */
  acknowledged(key: number, version: number): void {
    const forbidden = this.#forbiddenMs[key]!;
    for (let older = version - 1; older >= 1 && forbidden[older] === undefined; older -= 1) {
      forbidden[older] = this.#world.nowMs;
    }
    this.counts.acknowledged += 1;
  }

  forbiddenMs(key: number, version: number): number {
    return this.#forbiddenMs[key]![version] ?? Number.POSITIVE_INFINITY;
  }

  /** (1) A read that began at `startMs` was answered with this version. */
  read(key: number, version: number, startMs: number, from: 'owner' | 'copy' | 'gutter', who: string): void {
    this.counts.hits += 1;
    if (from === 'copy') this.counts.copyHits += 1;
    if (from === 'gutter') this.counts.gutterHits += 1;
    if (version > this.committed[key]!) this.violate(1, `k${key}: version ${version} was never committed (${who})`);
    const forbiddenMs = this.forbiddenMs(key, version);
    const allowedMs = from === 'gutter' ? this.#setup.gutterMs * 1.02 + 1 : 0;
    if (forbiddenMs + allowedMs >= startMs) return;
    this.violate(
      1,
      `${who} answered k${key} = version ${version} from its ${from} to a read begun at ${startMs.toFixed(3)}; that was invalidated, acknowledged at ${forbiddenMs.toFixed(3)}`,
    );
  }

  /** (2) A member answers for a range as its owner: nobody else may be able to at this moment. */
  serves(host: Host, range: number): void {
    for (const other of this.#hosts) {
      if (other !== host && other.isLeased(range)) {
        this.violate(2, `${host.name} and ${other.name} both hold range ${range}`);
      }
    }
  }

  /** (2) As `serves`, for everybody and every range, at any moment. */
  sample(): void {
    for (let range = 0; range < this.#setup.ranges; range += 1) {
      let holder: Host | null = null;
      for (const host of this.#hosts) {
        if (!host.isLeased(range)) continue;
        if (holder !== null) this.violate(2, `${holder.name} and ${host.name} both hold range ${range}`);
        holder = host;
      }
    }
  }

  /** (2) One record a ballot, whoever tells it to whomever. */
  told(record: OwnershipRecord): void {
    const name = `${record.range} ${formatBallot(record.ballot)}`;
    const text = `${record.owner} ${record.inSync.join(' ')}`;
    const known = this.#records.get(name);
    if (known === undefined) this.#records.set(name, text);
    else if (known !== text) this.violate(2, `two records of ballot ${name}: ${known}, and ${text}`);
  }

  /** (2) At one member, in one life, the ballot of a range only grows. */
  grows(host: Host, range: number, before: Ballot, after: Ballot): void {
    if (compareBallots(after, before) < 0) {
      this.violate(2, `${host.name}: range ${range} went from ${formatBallot(before)} back to ${formatBallot(after)}`);
    }
  }

  /** (3) The owner is about to acknowledge: no copy of the committed set may have anything older. */
  settles(owner: Host, range: number, keys: readonly number[], versions: readonly number[]): void {
    const primary = owner.core?.primaries[range];
    if (primary === undefined || primary === null) return;
    for (const host of this.#hosts) {
      if (host.memory === null || !primary.record.inSync.includes(host.id)) continue;
      // Another one may reign by now, and have gone on from what was applied before.
      if (host.core !== null && compareBallots(host.core.copies.reignOf(range), primary.reign) > 0) continue;
      keys.forEach((key, index) => {
        const held = host.memory!.get(range, key);
        if (held !== null && held < versions[index]!) {
          this.violate(
            3,
            `${owner.name} acknowledges k${key} version ${versions[index]}, and ${host.name}, in sync, has version ${held}`,
          );
        }
      });
    }
  }

  /** (4) A reign begins: out of the set that it replaces, or empty; and with nothing that was invalidated. */
  reigns(host: Host, range: number, basis: OwnershipRecord, isEmpty: boolean, how: string): void {
    this.counts.reigns += 1;
    if (how === 'takeover') this.counts.takeovers += 1;
    if (isEmpty) this.counts.emptyReigns += 1;
    const held = isEmpty ? [...host.memory!.entries(range)].length : 0;
    if (held > 0) this.violate(4, `${host.name} begins range ${range} empty, with ${held} entries`);
    if (!isEmpty && !basis.inSync.includes(host.id)) {
      this.violate(4, `${host.name} keeps its content of range ${range} and is not in the set of what it replaces`);
    }
    this.holds(host, range, 'begins to reign');
  }

  ends(why: string): void {
    if (why === HANDED_OVER || why === GIVEN_AWAY) this.counts.handOvers += 1;
  }

  /** Whoever may serve the range from this moment on has nothing that was invalidated. */
  holds(host: Host, range: number, why: string): void {
    for (const [key, version] of host.memory!.entries(range)) {
      if (this.forbiddenMs(key, version) < this.#world.nowMs) {
        this.violate(4, `${host.name} ${why} over range ${range} with k${key} version ${version}, invalidated before`);
      }
    }
  }

  /** (4) A fill is stored: what it stores was not invalidated before. */
  stores(host: Host, key: number, version: number): void {
    this.counts.fills += 1;
    if (this.forbiddenMs(key, version) < this.#world.nowMs) {
      this.violate(4, `${host.name} stores a fill of k${key} version ${version}, invalidated before`);
    }
  }

  /** (5) Everything was healed a while ago. */
  converged(): void {
    const { ranges, copies } = this.#setup;
    for (let range = 0; range < ranges; range += 1) {
      const owners = this.#hosts.filter((host) => host.isLeased(range));
      if (owners.length !== 1) {
        this.violate(5, `range ${range} has ${owners.length} owners: ${owners.map(({ name }) => name).join(' ')}`);
        continue;
      }
      const owner = owners[0]!;
      const { record } = owner.core!.primaries[range]!;
      if (record.inSync.length !== copies) {
        this.violate(
          5,
          `range ${range} of ${owner.name} has ${record.inSync.length} members in its set, not ${copies}`,
        );
      }
      for (const host of this.#hosts) {
        const known = host.core!.views.chosen[range]!;
        if (compareBallots(known.ballot, record.ballot) !== 0) {
          this.violate(
            5,
            `${host.name} thinks that range ${range} has ballot ${formatBallot(known.ballot)}, it has ${formatBallot(record.ballot)}`,
          );
        }
        if (host === owner || !record.inSync.includes(host.id)) continue;
        for (const [key, version] of host.memory!.entries(range)) {
          const held = owner.memory!.get(range, key);
          if (held !== version && !(held === null && host.memory!.isEnding(key))) {
            this.violate(5, `${host.name} has k${key} = ${version}, its owner ${owner.name} has ${held}`);
          }
        }
      }
    }
  }
}
