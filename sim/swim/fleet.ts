/**
 * Some hundred or thousand members that exchange membership news, and nothing else, over a network that loses and delays. The machines are the production code's
 * (`src/cluster/swim`), bytes are counted as `src/wire` writes them; time is virtual, and one seed gives one history.
 *
 * It is lighter than `world/`: no computers, no clocks that are wrong, no promises; a heap of events. A member can be stalled (called for nothing until it wakes, then for everything that
 * has come, timers first, as after a pause of a process) or crash.
 */
import { SeededRandom } from '../../src/base/random.ts';
import type { Member, NodeId } from '../../src/cluster/member.ts';
import type { SwimMessage } from '../../src/cluster/swim/messages.ts';
import type { SwimRules } from '../../src/cluster/swim/rules.ts';
import { Swim, type SwimOutput } from '../../src/cluster/swim/swim.ts';
import { FrameWriter } from '../../src/wire/frame-writer.ts';
import { writeMessage } from '../../src/wire/messages.ts';

export interface FleetOptions {
  readonly members: number;
  readonly seed: number;
  /** Share of the messages that never arrive. Default 0. */
  readonly loss?: number;
  /** Each message takes between these. Default 0.5 to 5 ms. */
  readonly delayMs?: readonly [number, number];
  readonly rules?: Partial<SwimRules>;
}

export interface News {
  readonly atMs: number;
  readonly at: NodeId;
  readonly about: NodeId;
  readonly state: string;
}

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

export class Host {
  readonly member: Member;
  swim: Swim;
  isDown = false;
  stalledUntilMs = 0;
  sentMessages = 0;
  sentBytes = 0;
  wakesAtMs = Number.POSITIVE_INFINITY;

  constructor(member: Member, swim: Swim) {
    this.member = member;
    this.swim = swim;
  }
}

export class Fleet {
  readonly hosts = new Map<NodeId, Host>();
  readonly news: News[] = [];
  nowMs = 0;
  /** Nothing gets from one to the other while this says so. */
  isCut: (from: NodeId, to: NodeId) => boolean = () => false;
  readonly #options: Required<FleetOptions>;
  readonly #random: SeededRandom;
  readonly #heap: Event[] = [];
  #order = 0;

  /** All know each other already. */
  constructor(options: FleetOptions) {
    this.#options = { loss: 0, delayMs: [0.5, 5], rules: {}, ...options };
    this.#random = new SeededRandom(options.seed);
    const members = Array.from({ length: options.members }, (_, n) => memberOf(n));
    for (const member of members) this.start(member, members);
  }

  get live(): Host[] {
    return [...this.hosts.values()].filter(({ isDown }) => !isDown);
  }

  start(member: Member, known: readonly Member[]): Host {
    const random = new SeededRandom(this.#random.nextUint32());
    const host = new Host(member, new Swim(member, known, random, this.nowMs, this.#options.rules));
    this.hosts.set(member.id, host);
    this.#wake(host);
    return host;
  }

  crash(host: Host): void {
    host.isDown = true;
  }

  /** Called for nothing until then. */
  stall(host: Host, forMs: number): void {
    host.stalledUntilMs = this.nowMs + forMs;
  }

  leave(host: Host): void {
    this.#take(host, host.swim.leave(this.nowMs));
  }

  at(atMs: number, run: () => void): void {
    this.#order += 1;
    push(this.#heap, { atMs, order: this.#order, run });
  }

  run(untilMs: number): void {
    while (this.#heap.length > 0 && this.#heap[0]!.atMs <= untilMs) {
      const event = pop(this.#heap);
      this.nowMs = event.atMs;
      event.run();
    }
    this.nowMs = untilMs;
  }

  nextFloat(): number {
    return this.#random.nextFloat();
  }

  #wake(host: Host): void {
    const atMs = Math.max(host.swim.nextTickMs, this.nowMs, host.stalledUntilMs);
    if (atMs >= host.wakesAtMs) return;
    host.wakesAtMs = atMs;
    this.at(atMs, () => {
      // An earlier moment may have been asked for since, and a stall may have begun.
      if (host.isDown || host.wakesAtMs !== atMs) return;
      host.wakesAtMs = Number.POSITIVE_INFINITY;
      if (this.nowMs >= host.stalledUntilMs) this.#take(host, host.swim.tick(this.nowMs));
      this.#wake(host);
    });
  }

  #take(host: Host, outputs: readonly SwimOutput[]): void {
    for (const output of outputs) {
      if (output.kind === 'news') {
        this.news.push({ atMs: this.nowMs, at: host.member.id, about: output.id, state: output.state });
      } else this.#send(host, output.to.id, output.message);
    }
  }

  #send(from: Host, to: NodeId, message: SwimMessage): void {
    const frame = new FrameWriter();
    writeMessage(frame, message);
    from.sentMessages += 1;
    from.sentBytes += frame.length;
    const { loss, delayMs } = this.#options;
    // What is exchanged whole goes over a connection: slower when packets are lost, but not lost.
    if (message.kind !== 'swim-sync' && this.#random.nextFloat() < loss) return;
    const delay = delayMs[0] + this.#random.nextFloat() * (delayMs[1] - delayMs[0]);
    this.at(this.nowMs + delay, () => this.#deliver(from, to, message));
  }

  #deliver(from: Host, to: NodeId, message: SwimMessage): void {
    const host = this.hosts.get(to);
    if (host === undefined || host.isDown || this.isCut(from.member.id, to)) return;
    if (this.nowMs < host.stalledUntilMs) {
      // Behind the timers that are due at the same moment.
      this.at(host.stalledUntilMs + 0.001, () => this.#deliver(from, to, message));
      return;
    }
    this.#take(host, host.swim.receive(from.member, message, this.nowMs));
    this.#wake(host);
  }
}

export function memberOf(n: number): Member {
  const id = (Math.imul(n + 1, 0x9e37_79b1) >>> 0).toString(16).padStart(8, '0').repeat(5);
  const ports = { port: 7379, httpPort: 8379, linkPort: 17_379 };
  return { id, host: `10.0.${n >> 8}.${n & 255}`, ...ports, zone: '', machine: '', weight: 1, incarnation: 1 };
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

function push(heap: Event[], event: Event): void {
  let at = heap.length;
  heap.push(event);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!isBefore(event, heap[parent]!)) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = event;
}

function pop(heap: Event[]): Event {
  const first = heap[0]!;
  const last = heap.pop()!;
  if (heap.length === 0) return first;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
    if (!isBefore(heap[child]!, last)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
  return first;
}
