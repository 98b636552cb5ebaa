/**
 * One of up to a thousand members: the production core on a computer whose clock is right, with a disk that takes no time and a memory that holds nothing. It is driven as `sim/cluster/member-host.ts` drives it; what
 * is left out is what costs time a thousand times over: clients, a judge, contents.
 */
import { ClusterCore } from '../../src/cluster/core.ts';
import type { NodeId } from '../../src/cluster/member.ts';
import type { Message, VoterRow } from '../../src/cluster/messages.ts';
import type { ClusterEvent } from '../../src/cluster/outputs.ts';
import type { RangeStore } from '../../src/cluster/range-store.ts';
import { STANDING_RULES } from '../../src/cluster/standing.ts';
import { DEFAULT_TIMING } from '../../src/cluster/timing.ts';
import type { ScaleFleet } from './fleet.ts';

/** A copy of nothing is complete with its first part. */
const NOTHING: RangeStore = {
  apply: () => undefined,
  clear: () => undefined,
  beginSync: () => undefined,
  put: () => undefined,
  endSync: () => undefined,
  prepare: () => undefined,
  cut: () => ({ entries: [], cursor: -1 }),
};

/** Frames and their bytes, since the tally was made. */
export class Tally {
  sent = 0;
  sentBytes = 0;
  received = 0;
  receivedBytes = 0;
}

/** What a member did in a while, for timing it afterwards. */
export interface Journal {
  readonly sent: Message[];
  readonly received: Message[];
  /** Microseconds of processor time that the core took, in so many calls; what was asked of the operating system for that is in it. */
  coreUs: number;
  calls: number;
}

export class ScaleHost {
  readonly index: number;
  readonly id: NodeId;
  core: ClusterCore | null = null;
  tally = new Tally();
  journal: Journal | null = null;
  readonly #fleet: ScaleFleet;
  readonly #disk = new Map<number, VoterRow>();
  #life = 0;

  constructor(fleet: ScaleFleet, index: number, id: NodeId) {
    this.#fleet = fleet;
    this.index = index;
    this.id = id;
  }

  get isUp(): boolean {
    return this.core !== null;
  }

  get isVoter(): boolean {
    return this.index < this.#fleet.voterIds.length;
  }

  start(): void {
    const { world, ids, voterIds, rangeCount, copies, order } = this.#fleet;
    this.#life += 1;
    this.core = new ClusterCore({
      self: this.id,
      incarnation: this.#life,
      members: ids,
      voters: voterIds,
      rangeCount,
      copies,
      order,
      timing: DEFAULT_TIMING,
      store: NOTHING,
      isFounder: this.index === 0 && this.#life === 1,
      isDurable: this.isVoter,
      restored: this.isVoter ? [...this.#disk.values()] : null,
      hasForgotten: false,
      nowMs: world.nowMs,
      balance: STANDING_RULES,
    });
    this.#tick(this.core);
  }

  crash(): void {
    this.core = null;
  }

  /** Does it answer for the range at this moment? */
  serves(range: number): boolean {
    const primary = this.core?.primaries[range] ?? null;
    if (primary === null || primary.isFrozen) return false;
    return this.core!.views.isLeased(range, primary.record.ballot, this.#fleet.world.nowMs);
  }

  receive(from: NodeId, message: Message): void {
    const { core, journal } = this;
    if (core === null) return;
    journal?.received.push(message);
    const before = journal === null ? undefined : process.cpuUsage();
    core.onMessage(from, message, this.#fleet.world.nowMs);
    this.#note(before);
    this.#pump(core);
  }

  #tick(core: ClusterCore): void {
    if (core !== this.core) return;
    const { journal } = this;
    const { world } = this.#fleet;
    const before = journal === null ? undefined : process.cpuUsage();
    const waitMs = core.onTick(world.nowMs);
    this.#note(before);
    this.#pump(core);
    world.after(waitMs, () => this.#tick(core));
  }

  #note(before: NodeJS.CpuUsage | undefined): void {
    const { journal } = this;
    if (journal === null || before === undefined) return;
    const { user, system } = process.cpuUsage(before);
    journal.coreUs += user + system;
    journal.calls += 1;
  }

  #pump(core: ClusterCore): void {
    for (let out = core.take(); out.length > 0; out = core.take()) {
      for (const output of out) {
        switch (output.kind) {
          case 'send':
            this.journal?.sent.push(output.message);
            this.#fleet.send(this, output.to, output.message);
            break;
          case 'write':
            for (const row of output.rows) this.#disk.set(row.range, row);
            break;
          case 'event':
            this.#on(output.event);
            break;
          case 'settled':
            break;
        }
      }
    }
  }

  #on(event: ClusterEvent): void {
    if (event.kind === 'reign-began') this.#fleet.began(this, event.range, event.how, event.isEmpty);
  }
}
