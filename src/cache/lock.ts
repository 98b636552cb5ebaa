/**
 * A lock over all processes of one store: who has it, until when it surely has it, and a number for those who must not believe it.
 *
 *   1. A acquires with ttl 10 s at its own moment t. The store holds it from the arrival, later than t: until t + 10 s it is surely A's.
 *   2. A is paused for a minute (garbage collection, a suspended machine). The lock ends; B acquires, with a higher token.
 *   3. A goes on, and does not know. Nothing in A can know: whatever it checks, it may be paused right behind the check.
 *
 * So a lock makes it *unlikely* that two work at once, which saves work. Where two at once would be wrong, the resource has to decide: hand it the
 * `token`, and let it refuse one below the highest that it has seen. `signal` is aborted when the lock is, or may be, lost: judged by this process's monotonic
 * clock from the *sending* of the last acquisition or renewal that was acknowledged. Rates of clocks are trusted, clocks are not.
 */
import { BreakwaterError } from '../base/errors.ts';
import type { Timer } from '../base/scheduler.ts';
import { type Duration, parseDurationMs } from '../base/units.ts';
import type { StoreLocks } from '../stores/locks.ts';
import { checkNames, checkSignal, duration, invalid } from './checks.ts';
import { show } from './key.ts';
import type { FlightPorts } from './loads.ts';

export interface LockOptions {
  /** How long it is held without a renewal: at least 10 ms, at most a day. No default: it is how long others wait when this process dies. */
  readonly ttl: Duration;
  /** How long to wait for it while another has it. Default 0: not at all. */
  readonly wait?: Duration | undefined;
  /** Renew it in the background, every third of `ttl`, until it is released. Default false: then the work has to end within `ttl`. */
  readonly renew?: boolean | undefined;
  /** Ends the waiting for it; a lock that is held is not touched. */
  readonly signal?: AbortSignal | undefined;
}

const OPTIONS = ['ttl', 'wait', 'renew', 'signal'] as const;
const SHORTEST_TTL_MS = 10;
const LONGEST_TTL_MS = 86_400_000;
const MAX_NAME_CHARACTERS = 128;
/** What a store says of itself, and no answer about this lock. */
const TOLD_AS_IT_IS: ReadonlySet<string> = new Set(['STORE_NO_ROOM', 'STORE_CLOSED', 'LOCK_UNAVAILABLE']);
const FIRST_POLL_MS = 10;
const LONGEST_POLL_MS = 250;
/** Where the store tells when a lock is given back, asking is for those that expire, and for what got lost. */
const TOLD_POLL_MS = 1_000;

/** What locks are made with. */
export interface LockParts {
  readonly locks: StoreLocks;
  readonly ports: FlightPorts;
  readonly writeTimeoutMs: number;
  /** A new id that nobody can guess. */
  readonly newOwner: () => string;
  readonly waiters: LockWaiters;
}

/** Who of this process waits for which lock. */
export class LockWaiters {
  readonly #waiting = new Map<string, Set<() => void>>();

  /** The lock may be had: whoever waits asks. */
  wake(name: string): void {
    for (const ask of this.#waiting.get(name) ?? []) ask();
  }

  wakeAll(): void {
    for (const name of this.#waiting.keys()) this.wake(name);
  }

  add(name: string, ask: () => void): () => void {
    const all = this.#waiting.get(name) ?? new Set();
    this.#waiting.set(name, all.add(ask));
    return () => {
      all.delete(ask);
      if (all.size === 0 && this.#waiting.get(name) === all) this.#waiting.delete(name);
    };
  }
}

/** A lock that is held; release it with {@link release}, or by `await using`. */
export class Lock implements AsyncDisposable {
  readonly name: string;
  /** Larger than every token of this name that was granted before: for the resource to compare. docs/guide/12-locks.md says how far that goes. */
  readonly token: number;
  readonly #parts: LockParts;
  readonly #owner: string;
  readonly #ttlMs: number;
  readonly #lost = new AbortController();
  readonly #onEnd: (lock: Lock) => void;
  #goodUntilMs: number;
  #expiry: Timer | null = null;
  #renewal: Timer | null = null;
  #isReleased = false;

  /** @internal Use `bw.lock`. */
  constructor(
    parts: LockParts,
    name: string,
    owner: string,
    token: number,
    ttlMs: number,
    sentAtMs: number,
    renews: boolean,
    onEnd: (lock: Lock) => void,
  ) {
    this.#parts = parts;
    this.name = name;
    this.#owner = owner;
    this.token = token;
    this.#ttlMs = ttlMs;
    this.#onEnd = onEnd;
    this.#goodUntilMs = sentAtMs + ttlMs;
    this.#watch();
    if (renews) this.#renewLater();
  }

  /** Aborted (`LOCK_LOST`) when the lock is lost or may be, and when it is released. Hand it to the work. */
  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  /** Whether it is surely held at this moment, by the clock: a process that was paused sees it here before `signal` is aborted. */
  get isHeld(): boolean {
    if (!this.#isOver && this.#parts.ports.clock.now() >= this.#goodUntilMs) this.#lose('its time is over');
    return !this.#isOver;
  }

  /**
   * Holds it for another `ttl` from now. False: it is lost, and `signal` is aborted. Rejects when the store did not answer: then it is held as long as before.
   */
  async renew(): Promise<boolean> {
    if (!this.isHeld) return false;
    const { locks, ports, writeTimeoutMs } = this.#parts;
    const sentAtMs = ports.clock.now();
    const timeoutMs = Math.max(1, Math.min(writeTimeoutMs, this.#goodUntilMs - sentAtMs));
    const isRenewed = await locks.renew(this.name, this.#owner, this.#ttlMs, { timeoutMs });
    if (this.#isOver) return false;
    if (!isRenewed) {
      this.#lose('another has taken it, or the store has forgotten it');
      return false;
    }
    this.#goodUntilMs = Math.max(this.#goodUntilMs, sentAtMs + this.#ttlMs);
    this.#watch();
    return this.isHeld;
  }

  /** Gives it back; whether it was still this one's. Twice is once. Rejects when the store did not answer: then others wait for its `ttl`. */
  async release(): Promise<boolean> {
    if (this.#isReleased) return false;
    this.#isReleased = true;
    const wasHeld = this.isHeld;
    this.#end(new BreakwaterError('LOCK_LOST', `the lock ${show(this.name)} was released`));
    const { locks, writeTimeoutMs } = this.#parts;
    return (await locks.release(this.name, this.#owner, { timeoutMs: writeTimeoutMs })) && wasHeld;
  }

  /** As {@link release}, without its errors: the lock ends with its `ttl` then. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.release().catch(() => false);
  }

  get #isOver(): boolean {
    return this.#lost.signal.aborted;
  }

  #watch(): void {
    this.#expiry?.cancel();
    const { clock, scheduler } = this.#parts.ports;
    const fire = (): void => {
      this.#expiry = null;
      if (this.isHeld) this.#watch();
    };
    this.#expiry = scheduler.setTimer(this.#goodUntilMs - clock.now(), fire, { keepAlive: false });
  }

  #renewLater(): void {
    const fire = (): void => {
      this.#renewal = null;
      this.renew().then(
        (isHeld) => {
          if (isHeld) this.#renewLater();
        },
        () => {
          // Again, until its time is over: the store may be back by then.
          if (this.isHeld) this.#renewLater();
        },
      );
    };
    this.#renewal = this.#parts.ports.scheduler.setTimer(this.#ttlMs / 3, fire, { keepAlive: false });
  }

  #lose(why: string): void {
    this.#end(new BreakwaterError('LOCK_LOST', `the lock ${show(this.name)} is lost, or may be: ${why}`));
  }

  #end(reason: BreakwaterError): void {
    this.#expiry?.cancel();
    this.#renewal?.cancel();
    if (this.#isOver) return;
    this.#onEnd(this);
    this.#lost.abort(reason);
  }
}

/** `bw.lock`. @throws BreakwaterError `LOCK_HELD`, `LOCK_UNACKNOWLEDGED`, `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`; the signal's reason */
export async function acquireLock(
  parts: LockParts,
  name: string,
  options: LockOptions,
  closed: () => BreakwaterError | null,
  onEnd: (lock: Lock) => void,
): Promise<Lock> {
  checkNames(options, OPTIONS, 'lock');
  if (
    typeof name !== 'string' ||
    name.length === 0 ||
    name.length > MAX_NAME_CHARACTERS ||
    /\p{Surrogate}/u.test(name)
  ) {
    throw invalid('the name of a lock', `well-formed text of 1 to ${MAX_NAME_CHARACTERS} characters`, name);
  }
  const ttlMs = duration(options.ttl, 'ttl', 'lock', SHORTEST_TTL_MS, LONGEST_TTL_MS);
  const waitMs = options.wait === undefined ? 0 : parseDurationMs(options.wait, 'wait of lock');
  const renews: unknown = options.renew ?? false;
  if (typeof renews !== 'boolean') throw invalid('renew of lock', 'a boolean', renews);
  const { signal } = options;
  checkSignal(signal, 'lock');
  signal?.throwIfAborted();
  const { locks, ports, newOwner, writeTimeoutMs, waiters } = parts;
  let owner = newOwner();
  const deadlineMs = ports.clock.now() + waitMs;
  for (let asked = 0; ; asked += 1) {
    const sentAtMs = ports.clock.now();
    const timeoutMs = Math.max(1, Math.min(writeTimeoutMs, ttlMs));
    const answer = await locks.acquire(name, owner, ttlMs, { timeoutMs }).catch((error: unknown) => {
      // It may have been granted: nobody should wait for it.
      giveBack(parts, name, owner);
      if (error instanceof BreakwaterError && TOLD_AS_IT_IS.has(error.code)) throw error;
      const why = error instanceof Error ? error.message : String(error);
      const message = `cannot acquire the lock ${show(name)}: the store did not acknowledge it: ${why}`;
      throw new BreakwaterError('LOCK_UNACKNOWLEDGED', message, { cause: error });
    });
    const reason = closed();
    if (reason !== null || signal?.aborted === true) {
      if (answer.kind === 'granted') giveBack(parts, name, owner);
      throw reason ?? signal?.reason;
    }
    const nowMs = ports.clock.now();
    if (answer.kind === 'granted') {
      if (nowMs < sentAtMs + ttlMs) return new Lock(parts, name, owner, answer.token, ttlMs, sentAtMs, renews, onEnd);
      // Its answer took longer than its time. Another owner from here on, which the giving back cannot hit.
      giveBack(parts, name, owner);
      owner = newOwner();
    }
    if (nowMs >= deadlineMs) {
      const held =
        answer.kind === 'held'
          ? `another holds it, for ${Math.ceil(answer.waitMs)} ms at most unless it is renewed`
          : 'its time was over before the answer came';
      throw new BreakwaterError('LOCK_HELD', `cannot acquire the lock ${show(name)} within ${waitMs} ms: ${held}`);
    }
    const longestMs = locks.listen === undefined ? Math.min(FIRST_POLL_MS * 2 ** asked, LONGEST_POLL_MS) : TOLD_POLL_MS;
    const untilFreeMs = answer.kind === 'held' ? answer.waitMs : 0;
    // Spread, so that a hundred who wait do not ask at once.
    const pollMs = Math.min(untilFreeMs, longestMs) * (0.75 + ports.random.nextFloat() / 2) + 1;
    await pause(parts, name, Math.min(pollMs, deadlineMs - nowMs), signal, waiters);
    const over = closed();
    if (over !== null) throw over;
    signal?.throwIfAborted();
  }
}

function pause(
  { ports }: LockParts,
  name: string,
  ms: number,
  signal: AbortSignal | undefined,
  waiters: LockWaiters,
): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      timer.cancel();
      forget();
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = ports.scheduler.setTimer(ms, end);
    const forget = waiters.add(name, end);
    signal?.addEventListener('abort', end, { once: true });
  });
}

/** Best effort. */
function giveBack({ locks, writeTimeoutMs }: LockParts, name: string, owner: string): void {
  locks.release(name, owner, { timeoutMs: writeTimeoutMs }).catch(() => false);
}
