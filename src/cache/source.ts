/**
 * A source: the database behind one or several caches, and the guard in front of it. What a database can bear is a fact about the
 * database, not about a cache, so caches that load from one database share one source:
 *
 *     const pg = bw.source('pg', { concurrency: 20, rate: 500 })
 *     bw.cache('user', { load: loadUsers, guard: pg })
 *     bw.cache('order', { load: loadOrders, guard: pg })
 *
 * A cache without one has a guard of its own with the defaults. The options here are the guard's (`guard/options.ts` says what each is and
 * costs) in the words of the public face: durations, checked names.
 *
 * A call that was cut off holds its slot until the loader has settled, so that the database never sees more than `concurrency` calls from this
 * process. A loader that ignores its `signal` and never settles would so take its slot for ever, and `concurrency` of them the whole source: such a call
 * is given up `abandonAfter` (60 s) after its abort, at most `maxAbandoned` of them at a time. Where no query may be given up, set `maxAbandoned: 0`; lost slots
 * then show in `stats()` as `lingering`, and callers are shed with a typed error.
 */
import { type Duration, parseDurationMs } from '../base/units.ts';
import { checkNames, invalid } from './checks.ts';
import type { BreakerState } from './guard/breaker.ts';
import { Guard, type GuardPorts } from './guard/guard.ts';
import type { GuardOptions } from './guard/options.ts';
import type { Watch } from './observe/watch.ts';

/** What stands in front of a source. Everything has a default. */
export interface SourceOptions {
  /** Most calls of loaders at once, from this process. Default 20. A batch is one call. */
  readonly concurrency?: number;
  /** How many of them may be reloads that nobody waits for. Default half, at least 1. */
  readonly backgroundConcurrency?: number;
  /** Most calls begun a second. Default: no limit. */
  readonly rate?: number;
  /** How many may begin at once after a quiet time. Default a tenth of `rate`, at least 1. */
  readonly burst?: number;
  /** Most calls that wait for their turn; more are shed at once (`GUARD_QUEUE_FULL`). Default 1,000. */
  readonly queue?: number;
  /** Longest that a call waits for its turn before it is shed (`GUARD_DEADLINE`). Default `"5s"`. */
  readonly queueTimeout?: Duration;
  /** Circuit breaker; `false` = none. */
  readonly breaker?: false | BreakerFace;
  /** How long a key that failed is answered with its error instead of being loaded again; `false` = not at all. */
  readonly backoff?: false | BackoffFace;
  /** How many calls that were cut off and never settle may give up their slots (after `abandonAfter`). Default `concurrency`; 0 = none, ever. */
  readonly maxAbandoned?: number;
  /** Default `"60s"`. */
  readonly abandonAfter?: Duration;
  /** Whether what a loader threw says that the source is in trouble. Default: everything does. */
  readonly isFailure?: (error: unknown) => boolean;
}

export interface BreakerFace {
  /** Length of the rolling window. Default `"10s"`. */
  readonly window?: Duration;
  /** Share of failures in it that opens the circuit. Default 0.5. */
  readonly failureRatio?: number;
  /** From so many calls in the window on. Default 20. */
  readonly minimumCalls?: number;
  /** So many failures in a row open it whatever the share. Default 10. */
  readonly consecutiveFailures?: number;
  /** How long the first opening lasts. Default `"1s"`, doubled with each failed probe. */
  readonly open?: Duration;
  /** Default `"30s"`. */
  readonly maxOpen?: Duration;
  /** How many probes must succeed to close it. Default 3. */
  readonly probes?: number;
}

export interface BackoffFace {
  /** How many failures in a row of a key open its first window; 1 = the first does. Default 2. */
  readonly after?: number;
  /** Length of the first window, give or take a fifth; doubled with each further failure. Default `"500ms"`. */
  readonly base?: Duration;
  /** Default `"30s"`. */
  readonly max?: Duration;
  /** How many failing keys are remembered. Default 10,000. */
  readonly maxKeys?: number;
}

const SOURCE = [
  'concurrency',
  'backgroundConcurrency',
  'rate',
  'burst',
  'queue',
  'queueTimeout',
  'breaker',
  'backoff',
  'maxAbandoned',
  'abandonAfter',
  'isFailure',
] as const;
const BREAKER = ['window', 'failureRatio', 'minimumCalls', 'consecutiveFailures', 'open', 'maxOpen', 'probes'] as const;
const BACKOFF = ['after', 'base', 'max', 'maxKeys'] as const;
const QUEUE_TIMEOUT_MS = 5_000;

/** A guarded source, made by `bw.source`. */
export class Source {
  readonly name: string;
  /** @internal */
  readonly guard: Guard;
  /** @internal Longest that a call waits for its turn. */
  readonly queueTimeoutMs: number;

  /** @internal @throws BreakwaterError `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`, `GUARD_OPTION_INVALID`, `DURATION_INVALID` */
  constructor(name: string, options: SourceOptions, ports: GuardPorts, watch: Watch) {
    this.name = name;
    checkNames(options, SOURCE, name);
    this.queueTimeoutMs = parseDurationMs(options.queueTimeout ?? QUEUE_TIMEOUT_MS, `queueTimeout of ${name}`);
    const { clock, scheduler, random } = ports;
    const onBreaker = (from: BreakerState, to: BreakerState): void => watch.tell('breaker', { source: name, from, to });
    this.guard = new Guard(guardOptions(name, options), { clock, scheduler, random, onBreaker });
  }
}

/** Checks without making anything, so that a mistake in shared defaults shows at once. */
export function guardOptions(name: string, options: SourceOptions): GuardOptions {
  checkNames(options, SOURCE, name);
  const { breaker, backoff, abandonAfter, isFailure } = options;
  if (breaker !== undefined && breaker !== false) checkNames(breaker, BREAKER, `breaker of ${name}`);
  if (backoff !== undefined && backoff !== false) checkNames(backoff, BACKOFF, `backoff of ${name}`);
  if (isFailure !== undefined && typeof isFailure !== 'function') {
    throw invalid(`isFailure of ${name}`, 'a function', isFailure);
  }
  const ms = (value: Duration | undefined, what: string): number | undefined =>
    value === undefined ? undefined : parseDurationMs(value, `${what} of ${name}`);
  return given({
    name,
    concurrency: options.concurrency,
    backgroundConcurrency: options.backgroundConcurrency,
    ratePerSecond: options.rate,
    burst: options.burst,
    maxQueue: options.queue,
    maxAbandoned: options.maxAbandoned,
    abandonAfterMs: ms(abandonAfter, 'abandonAfter'),
    isFailure,
    breaker:
      breaker === undefined || breaker === false
        ? breaker
        : given({
            windowMs: ms(breaker.window, 'breaker.window'),
            failureRatio: breaker.failureRatio,
            minimumCalls: breaker.minimumCalls,
            consecutiveFailures: breaker.consecutiveFailures,
            openMs: ms(breaker.open, 'breaker.open'),
            maxOpenMs: ms(breaker.maxOpen, 'breaker.maxOpen'),
            probes: breaker.probes,
          }),
    backoff:
      backoff === undefined || backoff === false
        ? backoff
        : given({
            after: backoff.after,
            baseMs: ms(backoff.base, 'backoff.base'),
            maxMs: ms(backoff.max, 'backoff.max'),
            maxKeys: backoff.maxKeys,
          }),
  });
}

/** Without the members that are undefined, which would hide a default. */
function given<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
