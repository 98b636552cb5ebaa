/**
 * The members of `members-in-memory.ts` as a store reaches them: a network of microtasks, and one clock for members, library and timers that the test turns. Members can be away (connections are reset and refused), or hang
 * (connections stand, and nothing is answered).
 */
import { ManualClock } from '../../src/base/clock.ts';
import { drainPromises, ManualScheduler } from '../../src/base/scheduler.ts';
import type { Dial, DialTarget, Link, LinkEvents } from '../../src/client/link.ts';
import type { NodeSession } from '../../src/node/node-session.ts';
import { ReplyWriter } from '../../src/resp/writer.ts';
import { Client, type Cluster } from './members-in-memory.ts';

const STEP_MS = 5;

/** A session whose replies go over a link. */
class Dialled extends Client {
  onReply: (bytes: Uint8Array) => void = () => {};

  override read(out: ReplyWriter): void {
    if (out.length > 0) this.onReply(new Uint8Array(out.bytes.subarray(0, out.length)));
  }
}

class MemoryLink implements Link {
  readonly unsentBytes = 0;
  readonly member: number;
  readonly #members: DialledMembers;
  readonly #events: LinkEvents;
  readonly #client: Dialled;
  /** What waits while the member hangs, both ways. */
  readonly #held: (() => void)[] = [];
  #isOver = false;

  constructor(members: DialledMembers, member: number, events: LinkEvents) {
    this.member = member;
    this.#members = members;
    this.#events = events;
    this.#client = new Dialled(members.cluster, member);
    this.#client.onReply = (bytes) => this.#later(() => events.onBytes(bytes, bytes.length));
    queueMicrotask(() => {
      if (members.away.has(member)) this.reset();
      else if (!this.#isOver) events.onOpen();
    });
  }

  write(bytes: Uint8Array): boolean {
    const copy = new Uint8Array(bytes);
    this.#later(() => this.#members.receive(this.#client, copy));
    return true;
  }

  /** In the order of the calls. */
  #later(happen: () => void): void {
    queueMicrotask(() => {
      if (this.#isOver) return;
      if (this.#held.length > 0 || this.#members.hung.has(this.member)) this.#held.push(happen);
      else happen();
    });
  }

  resume(): void {
    for (const happen of this.#held.splice(0)) if (!this.#isOver) happen();
  }

  destroy(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#members.over(this, this.#client.session);
  }

  /** From the member's side. */
  reset(): void {
    if (this.#isOver) return;
    this.destroy();
    this.#events.onClose(new Error('connection reset'));
  }
}

export class DialledMembers {
  readonly cluster: Cluster;
  readonly scheduler: ManualScheduler;
  readonly away = new Set<number>();
  readonly hung = new Set<number>();
  readonly #links = new Set<MemoryLink>();

  constructor(cluster: Cluster) {
    this.cluster = cluster;
    this.scheduler = new ManualScheduler(new ManualClock(cluster.nowMs));
  }

  /** All of them as seeds. */
  get url(): string {
    return `breakwater://${this.cluster.nodes.map((_, index) => `10.0.0.${index + 1}:7379`).join(',')}`;
  }

  readonly dial: Dial = ({ host }: DialTarget, events: LinkEvents): Link => {
    const link = new MemoryLink(this, Number(host.split('.')[3]) - 1, events);
    this.#links.add(link);
    return link;
  };

  /** Its process is gone. */
  kill(member: number): void {
    this.cluster.dead.add(member);
    this.away.add(member);
    for (const link of [...this.#links]) if (link.member === member) link.reset();
  }

  /** Nobody hangs any more. */
  resume(): void {
    this.hung.clear();
    for (const link of [...this.#links]) link.resume();
  }

  /** Lets time pass, for everybody. */
  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += STEP_MS) {
      this.cluster.pass(STEP_MS);
      await drainPromises();
      await this.scheduler.run(STEP_MS);
      await drainPromises();
    }
  }

  /** What the promise brings, letting as much time pass as it takes. */
  async until<T>(promise: Promise<T>, atMostMs = 60_000): Promise<T> {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    promise.then(over, over);
    await drainPromises();
    for (let passed = 0; !isOver && passed < atMostMs; passed += STEP_MS) await this.pass(STEP_MS);
    if (!isOver) throw new Error(`not over after ${atMostMs} ms`);
    return await promise;
  }

  receive(client: Dialled, bytes: Uint8Array): void {
    if (this.cluster.dead.has(this.cluster.nodes.indexOf(client.node))) return;
    const out = new ReplyWriter();
    client.node.onRequest(client.session, bytes, 0, bytes.length, this.cluster.nowMs, out);
    client.read(out);
    this.cluster.settle();
  }

  over(link: MemoryLink, session: NodeSession): void {
    this.#links.delete(link);
    const { clients, nodes, dead } = this.cluster;
    clients.splice(
      clients.findIndex((client) => client.session === session),
      1,
    );
    if (!dead.has(link.member)) nodes[link.member]!.closeSession(session);
  }
}
