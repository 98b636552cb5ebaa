/**
 * One virtual time for everything that is simulated: a heap of events, and between any two of them all promises that can run have run.
 *
 * The code under test is production code, so it awaits. After each event the world drains what the event set in motion: promise reactions and
 * `process.nextTick`, to the last one, before the next event, wherever in virtual time that lies. So "the end of this tick" is a thing that exists here as it does
 * in Node.js, and the order of everything follows from the seed.
 *
 * How it drains. Awaiting `setImmediate` after each event would do, at about 5 microseconds of the real event loop a time, and a schedule has thousands of events.
 * `process._tickCallback` is what Node.js itself calls when a callback has returned: it runs ticks and microtasks until there are none, in 0.3 microseconds,
 * *synchronously*. It is old, undocumented and still there (20, 22, 24); {@link World.runSlowly} does without it and must end with the same trace
 * (test/sim/determinism.test.ts compares). It cannot run inside a microtask, so a run begins from a macrotask: {@link fromMacrotask}.
 *
 * Time here is the true time, in milliseconds from 0. Nobody in the world can read it: machines have clocks of their own (`machine.ts`).
 */
import { assert } from '../../src/base/assert.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { Trace } from './trace.ts';

/** Something that will happen. */
export interface SimEvent {
  readonly atMs: number;
  /** Among events of one moment: the order in which they were set. */
  readonly order: number;
  /** null = called off. */
  run: (() => void) | null;
}

/** A run that does this many things has gone round in circles; of a thousand members it has not. */
const MOST_EVENTS = 2_000_000;

const { _tickCallback: tickCallback } = process as unknown as { readonly _tickCallback?: () => void };

/** Runs every promise reaction and tick that is due, and all that those bring about. */
export function drain(): void {
  assert(tickCallback !== undefined, 'this Node.js has no process._tickCallback: use runSlowly');
  tickCallback.call(process);
}

/** Calls `run` from the event loop itself, outside of every promise, where `drain` works. */
export function fromMacrotask<T>(run: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    setImmediate(() => {
      try {
        resolve(run());
      } catch (error) {
        reject(error);
      }
    });
  });
}

export class World {
  /** The true time, milliseconds since the beginning. */
  nowMs = 0;
  /** Chance of everything that the plan does not fix: delays, splits, losses. */
  readonly random: SeededRandom;
  readonly trace: Trace;
  events = 0;
  mostEvents = MOST_EVENTS;
  #order = 0;
  readonly #heap: SimEvent[] = [];

  constructor(seed: number, isRecording = false) {
    this.random = new SeededRandom(seed);
    this.trace = new Trace(() => this.nowMs, isRecording);
  }

  /** `run` happens at `atMs`, or now if that is past; behind everything that was set for the same moment before. */
  at(atMs: number, run: () => void): SimEvent {
    this.#order += 1;
    const event: SimEvent = { atMs: Math.max(atMs, this.nowMs), order: this.#order, run };
    this.#push(event);
    return event;
  }

  after(delayMs: number, run: () => void): SimEvent {
    return this.at(this.nowMs + delayMs, run);
  }

  /** Uniform in [from, to). */
  between(fromMs: number, toMs: number): number {
    return fromMs + this.random.nextFloat() * (toMs - fromMs);
  }

  chance(probability: number): boolean {
    return this.random.nextFloat() < probability;
  }

  /** Lets time pass until `untilMs`, or until `isOver`, which is asked after each event. */
  run(untilMs: number, isOver: () => boolean = never): void {
    drain();
    while (!isOver()) {
      const event = this.#next(untilMs);
      if (event === null) break;
      event.run?.();
      drain();
    }
  }

  /** As {@link run}, for code that makes no promises: nothing is drained, and it may be called from anywhere. */
  runPure(untilMs: number, isOver: () => boolean = never): void {
    while (!isOver()) {
      const event = this.#next(untilMs);
      if (event === null) break;
      event.run?.();
    }
  }

  /** As {@link run}, by the ordinary means of Node.js. */
  async runSlowly(untilMs: number, isOver: () => boolean = never): Promise<void> {
    await turn();
    while (!isOver()) {
      const event = this.#next(untilMs);
      if (event === null) break;
      await turn(event.run);
    }
  }

  /** The next event that was not called off, its time being now; null: none until then, and that is the time now. */
  #next(untilMs: number): SimEvent | null {
    for (let event = this.#heap[0]; event !== undefined && event.atMs <= untilMs; event = this.#heap[0]) {
      this.#pop();
      if (event.run === null) continue;
      this.nowMs = event.atMs;
      this.events += 1;
      assert(this.events < this.mostEvents, 'the world goes round in circles');
      return event;
    }
    if (untilMs !== Number.POSITIVE_INFINITY && untilMs > this.nowMs) this.nowMs = untilMs;
    return null;
  }

  #push(event: SimEvent): void {
    const heap = this.#heap;
    let i = heap.length;
    heap.push(event);
    while (i > 0) {
      const parent = (i - 1) >>> 1;
      if (!isBefore(event, heap[parent]!)) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    const { length } = heap;
    if (length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= length) break;
      if (child + 1 < length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
      if (!isBefore(heap[child]!, last)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
  }
}

function isBefore(a: SimEvent, b: SimEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

function never(): boolean {
  return false;
}

/** Runs `first` out of no promise (there, what `process.nextTick` is given would come behind all promises and not before them), then all that follows from it. */
function turn(first: (() => void) | null = null): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(() => {
      first?.();
      setImmediate(resolve);
    });
  });
}
