/**
 * The server's one timer. Everything that happens "now and then" hangs on it: the node's background work (expiry, sweeps), the
 * listeners' idle and stalled clients, the once-a-second sample of the status page. A timer per connection would cost more than
 * the connection.
 *
 * The node says after each tick how soon it wants the next one (0 = at once, there is more to do); it is asked again no later
 * than `MAX_WAIT_MS` and no sooner than `MIN_WAIT_MS`, so that background work never takes over the loop.
 */
const MAX_WAIT_MS = 100;
const MIN_WAIT_MS = 1;
const SECOND_MS = 1000;

export class Ticker {
  readonly #onTick: () => number;
  readonly #onSecond: () => void;
  readonly #nowMs: () => number;
  #timer: NodeJS.Timeout | null = null;
  #nextSecondMs: number;
  #running = false;

  /**
   * @param nowMs a monotonic clock, ms
   * @param onTick does a bounded piece of work; returns ms until it wants to be called again
   */
  constructor(nowMs: () => number, onTick: () => number, onSecond: () => void) {
    this.#nowMs = nowMs;
    this.#onTick = onTick;
    this.#onSecond = onSecond;
    this.#nextSecondMs = nowMs() + SECOND_MS;
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#timer = setTimeout(this.#fire, MIN_WAIT_MS);
  }

  /** Something is urgent: the next tick comes now, and those after it when they are wanted. */
  wake(): void {
    if (!this.#running || this.#timer === null) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#fire, MIN_WAIT_MS);
  }

  stop(): void {
    this.#running = false;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  readonly #fire = (): void => {
    const wanted = this.#onTick();
    const now = this.#nowMs();
    if (now >= this.#nextSecondMs) {
      this.#onSecond();
      // A loop that was blocked for minutes does not make up for the seconds it lost.
      this.#nextSecondMs = Math.max(this.#nextSecondMs + SECOND_MS, now);
    }
    if (!this.#running) return; // stopped by what it called
    this.#timer = setTimeout(this.#fire, Math.min(MAX_WAIT_MS, Math.max(MIN_WAIT_MS, wanted)));
  };
}
