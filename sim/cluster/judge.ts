/**
 * Who knows everything, and says what was wrong: the truth of every row, what was invalidated and acknowledged when, who served what, which records were made. Times are the world's.
 *
 * The numbers are those of the invariants in docs/cluster.md.
 */
import { type Ballot, compareBallots, formatBallot } from '../../src/base/ballot.ts';
import { GIVEN_AWAY, HANDED_OVER } from '../../src/cluster/core.ts';
import { NO_BALLOT, type OwnershipRecord } from '../../src/cluster/record.ts';
import { homesOf, type Roster } from '../../src/cluster/roster.ts';
import type { Resyncs } from '../../src/cluster/streams.ts';
import type { World } from '../world/world.ts';
import type { Host } from './host.ts';
import type { Setup } from './plan.ts';

const MOST_VIOLATIONS = 20;
/** Of who was forgotten: until its lease is over, and until an owner without it has a record. */
const FORGOTTEN_MS = 4000;

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
  /** The newest that anybody knows to be chosen; null: the founding one. */
  roster: Roster | null = null;
  /** Since when it is known that they are. */
  readonly #forgottenMs = new Map<string, number>();
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
    partialResyncs: 0,
    fullResyncs: 0,
    comparedCopies: 0,
    joins: 0,
    revotes: 0,
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
  read(
    key: number,
    version: number,
    startMs: number,
    from: 'owner' | 'copy' | 'gutter',
    who: string,
    staleMs: number,
  ): void {
    this.counts.hits += 1;
    if (from === 'copy') this.counts.copyHits += 1;
    if (from === 'gutter') this.counts.gutterHits += 1;
    if (version > this.committed[key]!) this.violate(1, `k${key}: version ${version} was never committed (${who})`);
    const forbiddenMs = this.forbiddenMs(key, version);
    const allowedMs = from === 'gutter' ? this.#setup.gutterMs * 1.02 + 1 : from === 'copy' ? staleMs : 0;
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
      if (holder !== null) this.#checkForgotten(range, holder);
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

  // -- who the members are

  /** (2) One roster a ballot. */
  toldRoster(roster: Roster): void {
    const name = `roster ${formatBallot(roster.ballot)}`;
    const text = JSON.stringify([roster.members, roster.forgotten, roster.homes]);
    const known = this.#records.get(name);
    if (known === undefined) this.#records.set(name, text);
    else if (known !== text) this.violate(2, `two rosters of ballot ${name}: ${known}, and ${text}`);
  }

  /** (2) Somebody knows that it is chosen: nobody got lost in it. (7) Who came moves its share and no more. */
  knows(roster: Roster): void {
    const before = this.roster;
    if (before !== null && compareBallots(roster.ballot, before.ballot) <= 0) return;
    this.roster = roster;
    if (roster.seats !== null && compareBallots(roster.seats.since, before?.seats?.since ?? NO_BALLOT) !== 0) {
      this.counts.revotes += 1;
      const was = before?.seats?.voters ?? this.#hosts.slice(0, this.#setup.voters).map(({ id }) => id);
      const { voters } = roster.seats;
      const came = voters.filter((id) => !was.includes(id)).length;
      const went = was.filter((id) => !voters.includes(id)).length;
      if (came > 1 || went > 1) this.violate(2, `${came} voters came and ${went} went at once`);
    }
    const ids = new Set(roster.members.map(({ id }) => id));
    const forgotten = new Set(roster.forgotten);
    for (const id of forgotten) if (!this.#forgottenMs.has(id)) this.#forgottenMs.set(id, this.#world.nowMs);
    for (const id of this.#forgottenMs.keys()) if (!forgotten.has(id)) this.#forgottenMs.delete(id);
    if (before === null) return;
    for (const { id } of before.members) {
      if (!ids.has(id) && !forgotten.has(id)) {
        this.violate(
          2,
          `${nameOfId(id)} was a member of roster ${formatBallot(before.ballot)}, and is lost in ${formatBallot(roster.ballot)}`,
        );
      }
    }
    const [newcomer, another] = roster.members.filter(({ id }) => !before.members.some((each) => each.id === id));
    if (newcomer === undefined || another !== undefined || roster.members.length !== before.members.length + 1) return;
    this.counts.joins += 1;
    const { ranges } = this.#setup;
    let moved = 0;
    for (let range = 0; range < ranges; range += 1) {
      const home = homesOf(roster, range)[0];
      if (home === homesOf(before, range)[0]) continue;
      moved += 1;
      if (home !== newcomer.id)
        this.violate(7, `${nameOfId(newcomer.id)} joins, and range ${range} is to move to another`);
    }
    if (moved > Math.max(1, (1.2 / roster.members.length) * ranges)) {
      this.violate(
        7,
        `${nameOfId(newcomer.id)} joins as one of ${roster.members.length}, and ${moved} of ${ranges} ranges are to move`,
      );
    }
  }

  isMember(host: Host): boolean {
    return this.roster === null
      ? host.index < this.#setup.members
      : this.roster.members.some(({ id }) => id === host.id);
  }

  resynced(how: keyof Resyncs): void {
    if (how === 'partial') this.counts.partialResyncs += 1;
    else if (how === 'full') this.counts.fullResyncs += 1;
    else this.counts.comparedCopies += 1;
  }

  /** (4) Who was forgotten a while ago owns nothing, and whoever owns counts on it no more. */
  #checkForgotten(range: number, holder: Host): void {
    if (this.#forgottenMs.size === 0) return;
    for (const [id, sinceMs] of this.#forgottenMs) {
      if (this.#world.nowMs - sinceMs < FORGOTTEN_MS) continue;
      if (holder.id === id)
        this.violate(4, `${holder.name} was forgotten at ${sinceMs.toFixed(0)}, and owns range ${range}`);
      const { record } = holder.core!.primaries[range]!;
      if (record.inSync.includes(id)) {
        this.violate(
          4,
          `${nameOfId(id)} was forgotten at ${sinceMs.toFixed(0)}, and ${holder.name} counts on it in range ${range}`,
        );
      }
    }
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
    const { ranges } = this.#setup;
    const members = this.#hosts.filter((host) => this.isMember(host) && host.core !== null);
    const copies = Math.min(this.#setup.copies, members.length);
    for (const { name, core } of members) {
      if (this.roster === null || compareBallots(core!.membership.known.ballot, this.roster.ballot) === 0) continue;
      this.violate(
        5,
        `${name} knows the roster ${formatBallot(core!.membership.known.ballot)}, there is ${formatBallot(this.roster.ballot)}`,
      );
    }
    const { seats = null } = this.roster ?? {};
    for (const { name, id, core } of members) {
      const isVoter = seats === null ? core!.views.voters.includes(id) : seats.voters.includes(id);
      const phase = core!.voter?.phase ?? 'out';
      if (isVoter !== (phase === 'voting')) this.violate(5, `${name} is ${isVoter ? 'a' : 'no'} voter, and ${phase}`);
    }
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
      for (const host of members) {
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

function nameOfId(id: string): string {
  return `m${Number.parseInt(id.slice(-6), 16)}`;
}
