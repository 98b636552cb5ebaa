/**
 * Time that moves when a test says so. One clock for the library, its timers and a node in memory: TTLs, deadlines, back-offs and the feed's pings pass in the order in
 * which they would, without waiting, and the same in every run.
 */
import { type Clock, ManualClock } from '../base/clock.ts';
import { drainPromises, ManualScheduler, type Scheduler } from '../base/scheduler.ts';
import { type Duration, parseDurationMs } from '../base/units.ts';

/** A round number, so that ages in a test can be read. */
const START_MS = Date.UTC(2030, 0, 1);
/** Of the event loop, that something without delay may take: there, back, and once more for who was woken by it. */
const TURNS = 8;

export class TestClock {
  readonly #manual: ManualScheduler;
  /** @internal */
  readonly clock: Clock;
  /** @internal What needs no time (a delay of 0) happens by itself, in a later turn of the event loop: an application's promises do not wait for `advance`. */
  readonly scheduler: Scheduler = {
    setTimer: (delayMs, fire) => {
      if (delayMs <= 0) setImmediate(() => this.#manual.advance(0));
      return this.#manual.setTimer(delayMs, fire);
    },
    afterInput: (fire) => this.scheduler.setTimer(0, fire),
  };

  /** @param startMs milliseconds since the epoch; default the beginning of 2030 */
  constructor(startMs: number = START_MS) {
    this.#manual = new ManualScheduler(new ManualClock(startMs));
    this.clock = this.#manual.clock;
  }

  /** Milliseconds since the epoch. */
  now(): number {
    return this.clock.now();
  }

  /**
   * Moves time forward and fires what falls due, each timer at its own moment and after all that the one before set in motion. Do not await a `get` that waits for a
   * timer before this is called: nothing else moves this clock.
   */
  async advance(by: Duration): Promise<void> {
    await this.#manual.run(parseDurationMs(by, 'by of advance'));
    await this.settle();
  }

  /** Lets everything happen that needs no time: promises, what is on its way to a node in memory and back. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < TURNS; turn += 1) await drainPromises();
  }

  /** Timers that are set. */
  get pending(): number {
    return this.#manual.pending;
  }
}
