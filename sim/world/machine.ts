/**
 * A computer with one program on it: a clock that is wrong, timers that obey it, and the ways in which it stops.
 *
 *   clock   now = offset + rate * true time. An offset of an hour is an operator's mistake, a rate of 1 % a bad crystal. It never goes back, as the
 *           production clock does not; after a crash the program comes back on a new `Machine`, with another offset.
 *   paused  frozen (SIGSTOP, a long collection, a stopped container) while the world goes on. Then, as in Node.js: overdue timers first, in the order of their due
 *           times, then what arrived meanwhile, then what waits for input to have been read (`afterInput`).
 *   dead    nothing that belongs to it runs ever again. Its promises stay where they are.
 */
import type { Clock } from '../../src/base/clock.ts';
import type { Scheduler, Timer } from '../../src/base/scheduler.ts';
import type { SimEvent, World } from './world.ts';

const EPOCH_MS = 1_700_000_000_000;

class MachineTimer implements Timer {
  event: SimEvent | null = null;
  fire: (() => void) | null;

  constructor(fire: () => void) {
    this.fire = fire;
  }

  cancel(): void {
    this.fire = null;
    if (this.event !== null) this.event.run = null;
  }
}

export class Machine {
  readonly name: string;
  readonly world: World;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  state: 'up' | 'paused' | 'dead' = 'up';
  #offsetMs: number;
  readonly #rate: number;
  #pausedSinceMs = 0;
  #pausedMs = 0;
  #overdue: (() => void)[] = [];
  #arrived: (() => void)[] = [];

  /** @param offsetMs added to the true time @param rate milliseconds of its clock in one of the world's */
  constructor(world: World, name: string, offsetMs = 0, rate = 1) {
    this.world = world;
    this.name = name;
    this.#offsetMs = EPOCH_MS + offsetMs;
    this.#rate = rate;
    this.clock = { now: () => this.#offsetMs + this.world.nowMs * this.#rate };
    this.scheduler = {
      setTimer: (delayMs, fire) => this.#setTimer(delayMs, fire),
      afterInput: (fire) => this.#setTimer(0, fire),
    };
  }

  /** For how long it has been frozen in all. */
  get pausedMs(): number {
    return this.#pausedMs + (this.state === 'paused' ? this.world.nowMs - this.#pausedSinceMs : 0);
  }

  /** Something arrives now: handled at once, or when the machine runs again, or never. */
  deliver(handle: () => void): void {
    if (this.state === 'up') handle();
    else if (this.state === 'paused') this.#arrived.push(handle);
  }

  pause(): void {
    if (this.state !== 'up') return;
    this.state = 'paused';
    this.#pausedSinceMs = this.world.nowMs;
  }

  resume(): void {
    if (this.state !== 'paused') return;
    this.#pausedMs += this.world.nowMs - this.#pausedSinceMs;
    this.state = 'up';
    for (const fire of this.#overdue.splice(0)) this.world.after(0, () => this.#late(fire));
    for (const handle of this.#arrived.splice(0)) this.world.after(0, () => this.deliver(handle));
  }

  /** Its clock is suddenly ahead, as after the sleep of a virtual machine. Timers that should have fired meanwhile fire when they were to. */
  jump(aheadMs: number): void {
    this.#offsetMs += Math.max(0, aheadMs);
  }

  kill(): void {
    this.state = 'dead';
    this.#overdue = [];
    this.#arrived = [];
  }

  #late(fire: () => void): void {
    if (this.state === 'up') fire();
    else if (this.state === 'paused') this.#overdue.push(fire);
  }

  #setTimer(delayMs: number, fire: () => void): Timer {
    const timer = new MachineTimer(fire);
    if (delayMs === Number.POSITIVE_INFINITY) return timer;
    const { world } = this;
    const dueMs = this.clock.now() + Math.max(0, delayMs);
    let atMs = Math.max(world.nowMs, (dueMs - this.#offsetMs) / this.#rate);
    // Never early, and these numbers have a resolution: 0.00024 ms.
    while (this.#offsetMs + atMs * this.#rate < dueMs) atMs += 0.0005;
    timer.event = world.at(atMs, () => this.#late(() => timer.fire?.()));
    return timer;
  }
}
