/**
 * A cluster in this process: real machines (`node/cluster-node.ts`) with their real drivers, answering over real sockets, and links between them that are function calls. Time is the real one and what
 * a test adds to it, so that a year can pass; members are killed, cut off from
 * the others, and told to leave.
 */
import type { Clock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import type { Member } from '../../src/cluster/member.ts';
import type { Message } from '../../src/cluster/messages.ts';
import { Ranges } from '../../src/cluster/ranges.ts';
import type { Timing } from '../../src/cluster/timing.ts';
import { slotOf } from '../../src/hash/slot.ts';
import { ClusterNode } from '../../src/node/cluster-node.ts';
import type { NodeSession } from '../../src/node/node-session.ts';
import type { ReplyWriter } from '../../src/resp/writer.ts';
import { ClusterDriver } from '../../src/server/cluster/driver.ts';
import { LatencyMeter } from '../../src/server/latency.ts';
import { type ListenedNode, RespListener } from '../../src/server/resp-listener.ts';
import { Ticker } from '../../src/server/ticker.ts';
import { eventually } from '../server/support.ts';

const PATIENCE_MS = 120_000;
const RANGES = 16;
/**
 * Three members and their clients share one thread, which a busy machine stops for hundreds of milliseconds at a time. With the defaults of a real cluster that is a lost lease after another, and what is
 * counted as a stall makes each wait for silence many times as long: the tests took minutes where a second of work was to be done.
 */
const UNHURRIED: Partial<Timing> = { leaseMs: 3000, takeoverMs: 4500, ackMs: 1000, writeMs: 5000, stallMs: 1000 };

export class LiveMember implements ListenedNode<NodeSession> {
  readonly id: string;
  readonly machine: ClusterNode;
  readonly driver: ClusterDriver;
  readonly listener: RespListener<NodeSession>;
  /** Messages to and from it are lost. */
  isCut = false;
  isAlive = true;
  port = 0;
  readonly #ticker: Ticker;

  constructor(
    self: Member,
    members: readonly Member[],
    clock: Clock,
    timing: Partial<Timing>,
    send: (from: LiveMember, to: string, message: Message) => void,
  ) {
    this.id = self.id;
    const index = members.indexOf(self);
    this.machine = new ClusterNode({
      node: {
        memoryBytes: 32 * 1024 ** 2,
        eviction: 'tinylfu',
        random: new SeededRandom(100 + index),
        startMs: clock.now(),
        version: 'test',
      },
      cluster: {
        self: self.id,
        members,
        voters: members.map(({ id }) => id),
        rangeCount: RANGES,
        copies: 2,
        timing,
        isFounder: index === 0,
        isDurable: false,
        restored: null,
        hasForgotten: false,
      },
    });
    this.listener = new RespListener<NodeSession>(this, clock, new LatencyMeter(), {
      maxClients: 1000,
      stallTimeoutMs: 600_000,
      idleTimeoutMs: 0,
      clientMemoryBytes: 256 * 1024 ** 2,
    });
    this.driver = new ClusterDriver({
      doors: this.machine,
      nowMs: () => clock.now(),
      send: (to, message) => send(this, to, message),
      flush: () => {},
      tickLinks: () => {},
      write: null,
      onEvent: () => {},
      onTurn: () => {
        if (this.machine.hasPushes) this.listener.schedulePushes();
      },
      onFailure: (error) => {
        throw error;
      },
    });
    this.#ticker = new Ticker(
      () => performance.now(),
      () => this.driver.onTick(),
      () => {},
    );
  }

  async start(): Promise<void> {
    this.port = await this.listener.listen(0, '127.0.0.1');
    this.#ticker.start();
  }

  hear(from: string, message: Message): void {
    if (this.isAlive) this.driver.onMessage(from, message);
  }

  async kill(): Promise<void> {
    this.isAlive = false;
    this.#ticker.stop();
    this.driver.stop();
    await this.listener.close(0);
  }

  // -- ListenedNode

  openSession(...args: Parameters<ClusterNode['openSession']>): NodeSession {
    return this.machine.openSession(...args);
  }

  closeSession(session: NodeSession): void {
    this.machine.closeSession(session);
    this.driver.settle();
  }

  onRequest(
    session: NodeSession,
    chunk: Uint8Array,
    start: number,
    end: number,
    nowMs: number,
    out: ReplyWriter,
  ): void {
    this.machine.onRequest(session, chunk, start, end, nowMs, out);
    this.driver.settle();
  }

  get hasPushes(): boolean {
    return this.machine.hasPushes;
  }

  takePushed(): NodeSession[] {
    return this.machine.takePushed();
  }

  onPush(session: NodeSession, out: ReplyWriter): boolean {
    return this.machine.onPush(session, out);
  }
}

export class LiveCluster {
  readonly members: readonly LiveMember[];
  readonly #ranges = new Ranges(RANGES);
  #aheadMs = 0;

  private constructor(count: number, timing: Partial<Timing>) {
    const startedMs = Date.now() - performance.now();
    const clock: Clock = { now: () => startedMs + performance.now() + this.#aheadMs };
    const facts = Array.from(
      { length: count },
      (_, index): Member => ({
        id: String(index + 1).repeat(40),
        host: '127.0.0.1',
        port: 0,
        httpPort: 0,
        linkPort: 0,
        zone: '',
        machine: '',
        weight: 1,
        incarnation: 1,
      }),
    );
    this.members = facts.map((self) => new LiveMember(self, facts, clock, timing, this.#send));
  }

  /** Resolves when every range has its owner and its copies. */
  static async start(count = 3, timing: Partial<Timing> = UNHURRIED): Promise<LiveCluster> {
    const cluster = new LiveCluster(count, timing);
    await Promise.all(cluster.members.map((member) => member.start()));
    for (const { machine } of cluster.members) {
      for (const { id, port } of cluster.members) {
        const known = machine.guard.members.get(id)!;
        machine.onMember({ ...known, port });
      }
    }
    await cluster.settled();
    return cluster;
  }

  /** All members as seeds. */
  get url(): `breakwater://${string}` {
    return `breakwater://${this.members.map(({ port }) => `127.0.0.1:${port}`).join(',')}`;
  }

  get alive(): readonly LiveMember[] {
    return this.members.filter(({ isAlive }) => isAlive);
  }

  /** The member that owns the key, as it knows itself. */
  ownerOf(key: string): LiveMember | null {
    const bytes = Buffer.from(key);
    const slot = slotOf(bytes, 0, bytes.length);
    return this.alive.find(({ machine }) => machine.guard.isOwned(this.#ranges.of(slot))) ?? null;
  }

  /** More time than the real one. Resolves when every range has an owner again that holds its lease. */
  async advance(ms: number): Promise<void> {
    this.#aheadMs += ms;
    await this.ownedBy(this.alive);
  }

  /** Every range has an owner that holds its lease, and all its copies are in sync. */
  async settled(): Promise<void> {
    const all = Array.from({ length: RANGES }, (_, range) => range);
    await eventually(
      () => {
        const { alive } = this;
        return all.every((range) =>
          alive.some(({ machine }) => {
            const primary = machine.core.primaries[range];
            if (primary === null || primary === undefined || !machine.guard.isOwned(range)) return false;
            return primary.record.inSync.length >= Math.min(2, alive.length);
          }),
        );
      },
      () =>
        `the cluster is whole: ${this.alive.map(({ id, machine }) => `${id[0]} owns ${machine.ownedCount}, ok ${machine.isOk}`).join('; ')}`,
      PATIENCE_MS,
    );
  }

  /** Every range has an owner that holds its lease, and it is one of these. */
  async ownedBy(members: readonly LiveMember[]): Promise<void> {
    await eventually(
      () =>
        Array.from({ length: RANGES }, (_, range) => range).every((range) =>
          members.some(({ isAlive, machine }) => isAlive && machine.guard.isOwned(range)),
        ),
      () => `all is owned: ${this.alive.map(({ id, machine }) => `${id[0]} owns ${machine.ownedCount}`).join('; ')}`,
      PATIENCE_MS,
    );
  }

  async close(): Promise<void> {
    await Promise.all(this.alive.map((member) => member.kill()));
  }

  readonly #send = (from: LiveMember, to: string, message: Message): void => {
    setImmediate(() => {
      const peer = this.members.find(({ id }) => id === to);
      if (peer === undefined || !peer.isAlive || !from.isAlive || peer.isCut || from.isCut) return;
      peer.hear(from.id, message);
    });
  };
}
