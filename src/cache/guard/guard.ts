/**
 * The guard: what stands between the cache and a source. Everything before it (tiers, flights, leases, stale values) makes
 * loads rare; the guard makes their number *bounded*, also on the day when all of that fails at once. With the whole L2
 * gone, the database sees no more than the cap, ever.
 *
 * What a call passes, in this order; each "no" is typed (`errors.ts`) and given at once:
 *
 *     back-off      this key failed a moment ago: the remembered error
 *     breaker       the source fails altogether: GUARD_CIRCUIT_OPEN
 *     queue         bounded, foreground first: GUARD_QUEUE_FULL, and GUARD_DEADLINE when the turn does not come in time
 *     rate          a token bucket, and the rest that the source itself asked for (`SourceBusyError`): GUARD_RATE_LIMITED when the turn cannot come in time
 *     slot          the concurrency cap; then the call runs, with an AbortSignal
 *     hard timeout  the signal is aborted, the caller gets a GuardTimeoutError, and the *slot stays held* until the source
 *                   has really let go (`limiter.ts` says why)
 *
 * The life of a call; a caller is answered when it leaves `waiting` or `running`, a slot is held from `running` on:
 *
 *     waiting --> running --> done                            settled at the source
 *        |           |
 *        |           +------> lingering --> done              cut off (timeout, deadline, caller's abort), settled later
 *        |                        |
 *        |                        +-------> abandoned --> done
 *        +------> done                                        shed, or the caller gave up
 *
 * Promises: every call settles by its deadline; a waiter leaves no trace; when a slot and a token are there and somebody may
 * use them, nobody waits. What it does not do: it knows nothing of values and does not join callers of one key (that is a
 * flight's business), so a key's back-off is exact only with one flight per key in front. A loader that calls the guard
 * that it runs under waits for a slot while holding one: give nested sources guards of their own.
 */
import { assert } from '../../base/assert.ts';
import type { Clock } from '../../base/clock.ts';
import type { Random } from '../../base/random.ts';
import type { Scheduler, Timer } from '../../base/scheduler.ts';
import { listen } from '../abort.ts';
import { BackoffTable, type RememberedFailure } from './backoff.ts';
import { type BreakerState, CircuitBreaker, type Outcome } from './breaker.ts';
import { type Call, type GuardRequest, newCall, type SourceCall } from './call.ts';
import { GuardShedError, GuardTimeoutError, type ShedCode, SourceBusyError, shedSentence } from './errors.ts';
import { Limiter } from './limiter.ts';
import { type GuardOptions, type GuardSettings, guardSettings } from './options.ts';
import { type Priority, WaitQueue } from './queue.ts';
import { type GuardStats, newCounters } from './stats.ts';
import { TokenBucket } from './token-bucket.ts';

/** Time, later and chance, as everywhere in `cache/`. */
export interface GuardPorts {
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly random: Random;
  /** Told of every transition of the breaker. Must not throw. */
  readonly onBreaker?: (from: BreakerState, to: BreakerState) => void;
}

/** No source keeps us away for longer by one word. */
const LONGEST_REST_MS = 60_000;

export class Guard {
  readonly #settings: GuardSettings;
  readonly #ports: GuardPorts;
  readonly #breaker: CircuitBreaker | null;
  readonly #backoff: BackoffTable | null;
  readonly #bucket: TokenBucket | null;
  readonly #limiter: Limiter;
  readonly #queue: WaitQueue<Call>;
  /** Called when the next token is due, if somebody waits for it. */
  #tokenTimer: Timer | null = null;
  /** Running and lingering calls, for `close`. */
  readonly #holding = new Set<Call>();
  /** Due to be abandoned, but there were too many already. */
  readonly #overdue = new Set<Call>();
  /** Before this nothing is begun: the source said so. */
  #restUntilMs = Number.NEGATIVE_INFINITY;
  #closed = false;

  #lingering = 0;
  readonly #counters = newCounters();

  /** @throws BreakwaterError `GUARD_OPTION_INVALID` */
  constructor(options: GuardOptions, ports: GuardPorts) {
    const settings = guardSettings(options);
    this.#settings = settings;
    this.#ports = ports;
    this.#breaker =
      settings.breaker === null ? null : new CircuitBreaker(settings.breaker, ports.random, ports.onBreaker);
    this.#backoff = settings.backoff === null ? null : new BackoffTable(settings.backoff, ports.random);
    this.#bucket =
      settings.ratePerSecond === Number.POSITIVE_INFINITY
        ? null
        : new TokenBucket(settings.ratePerSecond, settings.burst);
    this.#limiter = new Limiter(settings.concurrency, settings.backgroundConcurrency, settings.maxAbandoned);
    this.#queue = new WaitQueue(settings.maxQueue, settings.backgroundEvery);
  }

  /**
   * Calls the source when its turn comes. `source` runs in this very tick when nothing stands in the way.
   *
   * Settles with what the call settles with, or rejects by its deadline: with a `GuardShedError` (the source was not asked), a
   * `GuardTimeoutError` (it was), the remembered error of one of its keys, or the reason of the caller's signal.
   */
  run<T>(source: SourceCall<T>, request: GuardRequest = {}): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const nowMs = this.#ports.clock.now();
      // The promise is of T because `source` is; inside, the guard looks at no value.
      const call = newCall(source, request, this.#settings, nowMs, resolve as (value: unknown) => void, reject);
      this.#admit(call, request.signal);
    });
  }

  /** The failure that a load of `key` would be answered with now, or null. Batches leave such keys out. */
  remembered(key: string): RememberedFailure | null {
    return this.#backoff === null ? null : this.#backoff.check(key, this.#ports.clock.now());
  }

  /** For batches whose call succeeded as a whole but not for `key`: opens the key's back-off window. */
  noteFailure(key: string, error: unknown): void {
    if (!this.#noteRest(error)) this.#backoff?.failed(key, error, this.#ports.clock.now());
  }

  /** Sheds everybody who waits and aborts everything that runs. What is called afterwards is shed. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#tokenTimer?.cancel();
    this.#shedAllWaiting('GUARD_CLOSED');
    for (const call of [...this.#holding]) {
      if (call.state === 'running') this.#cutOff(call, this.#shedError('GUARD_CLOSED'), 'neutral');
      // Nobody waits for what lingers, and its slot is of no use any more.
      call.timer?.cancel();
    }
  }

  /** Most calls at once. */
  get concurrency(): number {
    return this.#settings.concurrency;
  }

  stats(): GuardStats {
    return {
      breaker: this.#breaker === null ? 'none' : this.#breaker.state(this.#ports.clock.now()),
      breakerOpenings: this.#breaker?.openings ?? 0,
      running: this.#limiter.held,
      lingering: this.#lingering,
      abandoned: this.#limiter.abandoned,
      queuedForeground: this.#queue.count('foreground'),
      queuedBackground: this.#queue.count('background'),
      backoffKeys: this.#backoff?.size ?? 0,
      ...this.#counters,
      shed: { ...this.#counters.shed },
    };
  }

  // -- in

  #admit(call: Call, signal: AbortSignal | undefined): void {
    if (signal?.aborted === true) {
      this.#counters.cancelled += 1;
      this.#answer(call, signal.reason);
      return;
    }
    // A late timer may have left a turn unclaimed: those who came before go first.
    this.#dispatch();
    const nowMs = this.#ports.clock.now();
    if (this.#refuse(call, nowMs)) return;
    if (signal !== undefined) this.#listen(call, signal);
    if (this.#limiter.admits(call.priority) && this.#waitMs(nowMs) === 0) {
      this.#start(call, nowMs);
    } else {
      this.#enqueue(call, nowMs);
    }
  }

  /** Answers `call` if the source is not to be asked for it now. Asked on arrival and again when its turn comes. */
  #refuse(call: Call, nowMs: number): boolean {
    if (this.#closed) {
      this.#shedOne(call, 'GUARD_CLOSED');
      return true;
    }
    if (nowMs >= call.deadlineAtMs) {
      this.#shedOne(call, 'GUARD_DEADLINE');
      return true;
    }
    if (this.#backoff !== null) {
      for (const key of call.keys) {
        const failure = this.#backoff.check(key, nowMs);
        if (failure === null) continue;
        this.#counters.backedOff += 1;
        this.#answer(call, failure.error);
        return true;
      }
    }
    if (this.#breaker !== null && !this.#breaker.admits(nowMs)) {
      this.#shedOne(call, 'GUARD_CIRCUIT_OPEN');
      return true;
    }
    return false;
  }

  #enqueue(call: Call, nowMs: number): void {
    if (nowMs + this.#leastWaitMs(call.priority, nowMs) > call.deadlineAtMs) {
      this.#shedOne(call, 'GUARD_RATE_LIMITED');
      return;
    }
    const displaced = this.#queue.join(call);
    if (displaced !== null) this.#shedOne(displaced, 'GUARD_QUEUE_FULL');
    if (displaced === call) return;
    call.state = 'waiting';
    call.timer = this.#ports.scheduler.setTimer(call.deadlineAtMs - nowMs, () => {
      this.#queue.leave(call);
      this.#shedOne(call, 'GUARD_DEADLINE');
    });
    this.#awaitToken(nowMs);
  }

  /** By the rate and the source's own wish: how long nobody may begin. 0 = now. */
  #waitMs(nowMs: number): number {
    const restMs = Math.max(0, this.#restUntilMs - nowMs);
    return this.#bucket === null ? restMs : Math.max(restMs, this.#bucket.waitMs(nowMs));
  }

  /** By the rate alone: when the turn of one who joins now comes, if all before it stay. */
  #leastWaitMs(priority: Priority, nowMs: number): number {
    const before = priority === 'foreground' ? this.#queue.count('foreground') : this.#queue.length;
    return this.#waitMs(nowMs) + before * (this.#bucket?.intervalMs ?? 0);
  }

  #listen(call: Call, signal: AbortSignal): void {
    const onAbort = (): void => {
      this.#counters.cancelled += 1;
      if (call.state === 'waiting') {
        this.#queue.leave(call);
        this.#answer(call, signal.reason);
      } else {
        assert(call.state === 'running', 'only a call that was not answered listens');
        this.#cutOff(call, signal.reason, 'neutral');
      }
    };
    call.unlisten = listen(signal, onAbort);
  }

  // -- turns

  /** Starts whoever may start. Called whenever a slot or a token came free. */
  #dispatch(): void {
    while (this.#queue.length > 0 && this.#limiter.admits('foreground')) {
      const nowMs = this.#ports.clock.now();
      const backgroundMayGo = this.#limiter.admits('background');
      const call = this.#queue.peek(backgroundMayGo);
      if (call === null) return;
      if (this.#waitMs(nowMs) > 0) {
        this.#awaitToken(nowMs);
        return;
      }
      this.#queue.take(backgroundMayGo);
      call.timer?.cancel();
      if (!this.#refuse(call, nowMs)) this.#start(call, nowMs);
    }
  }

  /** Wakes up when the next token is due, if it is a token that the first in the queue waits for. */
  #awaitToken(nowMs: number): void {
    const waitMs = this.#waitMs(nowMs);
    if ((this.#bucket === null && waitMs === 0) || this.#tokenTimer !== null || this.#closed) return;
    // Not for a slot: whoever leaves one dispatches.
    if (!this.#limiter.admits('foreground') || this.#queue.peek(this.#limiter.admits('background')) === null) return;
    this.#tokenTimer = this.#ports.scheduler.setTimer(waitMs, () => {
      this.#tokenTimer = null;
      this.#dispatch();
    });
  }

  #start(call: Call, nowMs: number): void {
    call.permit = this.#breaker === null ? 0 : this.#breaker.acquire(nowMs);
    assert(this.#breaker === null || call.permit > 0, 'the breaker was asked just before');
    const tookToken = this.#bucket === null || this.#bucket.tryTake(nowMs);
    assert(tookToken, 'the bucket was asked just before');
    this.#limiter.enter(call.priority);
    this.#holding.add(call);
    this.#counters.started += 1;
    this.#counters.peakAtSource = Math.max(this.#counters.peakAtSource, this.#limiter.atSource);
    call.state = 'running';
    call.startedAtMs = nowMs;
    const controller = new AbortController();
    call.controller = controller;
    const limitMs = Math.min(call.hardTimeoutMs, call.deadlineAtMs - nowMs);
    call.timer = this.#ports.scheduler.setTimer(limitMs, () => this.#timeOut(call));

    let result: Promise<unknown>;
    try {
      result = Promise.resolve(call.source({ signal: controller.signal }));
    } catch (error) {
      result = Promise.reject(error);
    }
    result.then(
      (value) => this.#settled(call, true, value),
      (error: unknown) => this.#settled(call, false, error),
    );
  }

  // -- out

  /** The source has let go of `call`. */
  #settled(call: Call, success: boolean, result: unknown): void {
    const { state } = call;
    call.timer?.cancel();
    this.#holding.delete(call);
    this.#overdue.delete(call);
    call.state = 'done';
    if (state === 'abandoned') {
      this.#limiter.returned();
      this.#abandonOverdue();
    } else {
      this.#limiter.leave(call.priority);
    }
    if (state === 'lingering') this.#lingering -= 1;
    if (state === 'running') {
      call.unlisten?.();
      if (success) {
        this.#counters.succeeded += 1;
        this.#note(call, 'success', undefined);
        call.resolve(result);
      } else {
        this.#counters.failed += 1;
        const isFailure = !this.#noteRest(result) && this.#settings.isFailure(result);
        this.#note(call, isFailure ? 'failure' : 'neutral', result);
        call.reject(result);
      }
    }
    this.#dispatch();
  }

  #timeOut(call: Call): void {
    this.#counters.timedOut += 1;
    const error = new GuardTimeoutError(this.#settings.name, this.#ports.clock.now() - call.startedAtMs);
    this.#cutOff(call, error, 'failure');
  }

  /** Answers the caller of a running call and aborts the call; its slot stays held. */
  #cutOff(call: Call, error: unknown, outcome: Outcome): void {
    call.timer?.cancel();
    call.state = 'lingering';
    this.#lingering += 1;
    this.#note(call, outcome, error);
    call.unlisten?.();
    call.reject(error);
    if (!this.#closed) {
      call.timer = this.#ports.scheduler.setTimer(
        this.#settings.abandonAfterMs,
        () => {
          this.#overdue.add(call);
          this.#abandonOverdue();
          this.#dispatch();
        },
        { keepAlive: false },
      );
    }
    // Last: listeners run within `abort` and may call the guard again.
    call.controller?.abort(error);
  }

  #abandonOverdue(): void {
    for (const call of this.#overdue) {
      if (!this.#limiter.tryAbandon(call.priority)) return;
      this.#overdue.delete(call);
      call.state = 'abandoned';
      this.#lingering -= 1;
    }
  }

  /** Tells breaker and back-off how a call ended, once, when its caller is answered. */
  #note(call: Call, outcome: Outcome, error: unknown): void {
    const nowMs = this.#ports.clock.now();
    if (this.#backoff !== null && outcome !== 'neutral') {
      for (const key of call.keys) {
        if (outcome === 'success') this.#backoff.succeeded(key);
        else this.#backoff.failed(key, error, nowMs);
      }
    }
    if (this.#breaker === null) return;
    this.#breaker.settle(call.permit, outcome, nowMs);
    if (!this.#breaker.admits(nowMs)) this.#shedAllWaiting('GUARD_CIRCUIT_OPEN');
  }

  /** True: the source asked for a rest, and gets it. */
  #noteRest(error: unknown): boolean {
    if (!(error instanceof SourceBusyError)) return false;
    const untilMs = this.#ports.clock.now() + Math.min(LONGEST_REST_MS, Math.max(0, error.retryAfterMs));
    this.#restUntilMs = Math.max(this.#restUntilMs, untilMs);
    return true;
  }

  // -- no

  #shedAllWaiting(code: ShedCode): void {
    for (let call = this.#queue.take(true); call !== null; call = this.#queue.take(true)) this.#shedOne(call, code);
  }

  /** Answers a call that never ran. */
  #shedOne(call: Call, code: ShedCode): void {
    this.#counters.shed[code] += 1;
    this.#answer(call, this.#shedError(code));
  }

  #answer(call: Call, error: unknown): void {
    assert(!call.queued, 'who is answered waits no more');
    call.timer?.cancel();
    call.unlisten?.();
    call.state = 'done';
    call.reject(error);
  }

  #shedError(code: ShedCode): GuardShedError {
    const { name, maxQueue, ratePerSecond } = this.#settings;
    const isResting = this.#restUntilMs > this.#ports.clock.now();
    const sentence = shedSentence(code, name, { maxQueue, ratePerSecond, isResting });
    return new GuardShedError(code, sentence, this.#retryAfterMs(code));
  }

  #retryAfterMs(code: ShedCode): number | null {
    const nowMs = this.#ports.clock.now();
    if (code === 'GUARD_CIRCUIT_OPEN') return this.#breaker?.retryAfterMs(nowMs) ?? null;
    return code === 'GUARD_RATE_LIMITED' ? this.#leastWaitMs('background', nowMs) : null;
  }
}
