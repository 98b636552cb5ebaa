/** The guard's settings: their meaning, their defaults, and the check that they make sense together. */
import { BreakwaterError } from '../../base/errors.ts';
import { type BackoffOptions, DEFAULT_BACKOFF } from './backoff.ts';
import { type BreakerOptions, DEFAULT_BREAKER } from './breaker.ts';

/** What a user may set; everything has a default. */
export interface GuardOptions {
  /** Name of the source, for error messages and metrics. Default `source`. */
  readonly name?: string;
  /**
   * Most calls at the source at once, from this process. Default 20. Divide what the database can bear by the number of
   * processes; a pool of connections smaller than this moves the queue into the pool, where nobody sees it.
   */
  readonly concurrency?: number;
  /** How many of them background refreshes may hold. Default half, at least 1. */
  readonly backgroundConcurrency?: number;
  /** Most calls that wait for a slot; beyond that they are shed at once. Default 1000. 0: nobody waits. */
  readonly maxQueue?: number;
  /** After so many foreground calls in a row one waiting background call goes. Default 16. */
  readonly backgroundEvery?: number;
  /** Most calls started a second. Default: no limit. */
  readonly ratePerSecond?: number;
  /** How many of them may start at once after a quiet time. Default a tenth of a second's worth, at least 1. */
  readonly burst?: number;
  /** A call has settled, waiting included, after this. Default 15 s. Raise it and callers hang longer in an outage. */
  readonly deadlineMs?: number;
  /** A call at the source is aborted and its caller answered after this. Default 10 s. */
  readonly hardTimeoutMs?: number;
  /**
   * An aborted call that the source has not settled this long after its abort is declared abandoned and gives up its slot.
   * Default 60 s. Keep the source's own limit (`statement_timeout`) below hardTimeoutMs + this, and nothing that is
   * abandoned is still running. `Infinity`: never.
   */
  readonly abandonAfterMs?: number;
  /** How many calls can be abandoned at a time: the source sees at most `concurrency + maxAbandoned`. Default `concurrency`. */
  readonly maxAbandoned?: number;
  /** Circuit breaker; `false`: none. */
  readonly breaker?: Partial<BreakerOptions> | false;
  /** Back-off by key; `false`: none. */
  readonly backoff?: Partial<BackoffOptions> | false;
  /** Whether what a call threw says that the source is in trouble. Default: everything does. */
  readonly isFailure?: (error: unknown) => boolean;
}

/** The options with every default filled in. */
export interface GuardSettings {
  readonly name: string;
  readonly concurrency: number;
  readonly backgroundConcurrency: number;
  readonly maxQueue: number;
  readonly backgroundEvery: number;
  /** `Infinity`: no limit. */
  readonly ratePerSecond: number;
  readonly burst: number;
  readonly deadlineMs: number;
  readonly hardTimeoutMs: number;
  readonly abandonAfterMs: number;
  readonly maxAbandoned: number;
  readonly breaker: BreakerOptions | null;
  readonly backoff: BackoffOptions | null;
  readonly isFailure: (error: unknown) => boolean;
}

/**
 * Merges `options` over the defaults and checks them.
 * @throws BreakwaterError `GUARD_OPTION_INVALID`
 */
export function guardSettings(options: GuardOptions): GuardSettings {
  const concurrency = options.concurrency ?? 20;
  const ratePerSecond = options.ratePerSecond ?? Number.POSITIVE_INFINITY;
  const name = options.name ?? 'source';
  // Others are reckoned from these.
  wholeFrom(1, concurrency, name, 'concurrency');
  above(0, ratePerSecond, name, 'ratePerSecond');
  const settings: GuardSettings = {
    name,
    concurrency,
    backgroundConcurrency: options.backgroundConcurrency ?? Math.max(1, Math.floor(concurrency / 2)),
    maxQueue: options.maxQueue ?? 1000,
    backgroundEvery: options.backgroundEvery ?? 16,
    ratePerSecond,
    burst: options.burst ?? Math.max(1, Math.floor(ratePerSecond / 10)),
    deadlineMs: options.deadlineMs ?? 15_000,
    hardTimeoutMs: options.hardTimeoutMs ?? 10_000,
    abandonAfterMs: options.abandonAfterMs ?? 60_000,
    maxAbandoned: options.maxAbandoned ?? concurrency,
    breaker: options.breaker === false ? null : { ...DEFAULT_BREAKER, ...options.breaker },
    backoff: options.backoff === false ? null : { ...DEFAULT_BACKOFF, ...options.backoff },
    isFailure: options.isFailure ?? (() => true),
  };
  check(settings);
  return settings;
}

function check(settings: GuardSettings): void {
  const { name } = settings;
  wholeFrom(1, settings.backgroundConcurrency, name, 'backgroundConcurrency');
  wholeFrom(0, settings.maxQueue, name, 'maxQueue');
  wholeFrom(1, settings.backgroundEvery, name, 'backgroundEvery');
  wholeFrom(0, settings.maxAbandoned, name, 'maxAbandoned');
  above(0, settings.deadlineMs, name, 'deadlineMs');
  above(0, settings.hardTimeoutMs, name, 'hardTimeoutMs');
  above(0, settings.abandonAfterMs, name, 'abandonAfterMs');
  if (typeof settings.burst !== 'number' || !(settings.burst >= 1))
    refuse(name, 'burst', 'a number of at least 1', settings.burst);
  const { breaker, backoff } = settings;
  if (breaker !== null) {
    above(0, breaker.windowMs, name, 'breaker.windowMs');
    above(0, breaker.openMs, name, 'breaker.openMs');
    above(0, breaker.maxOpenMs, name, 'breaker.maxOpenMs');
    wholeFrom(1, breaker.minimumCalls, name, 'breaker.minimumCalls');
    wholeFrom(1, breaker.consecutiveFailures, name, 'breaker.consecutiveFailures');
    wholeFrom(1, breaker.probes, name, 'breaker.probes');
    if (!(breaker.failureRatio > 0 && breaker.failureRatio <= 1)) {
      refuse(name, 'breaker.failureRatio', 'a share above 0 and at most 1', breaker.failureRatio);
    }
  }
  if (backoff !== null) {
    wholeFrom(1, backoff.after, name, 'backoff.after');
    above(0, backoff.baseMs, name, 'backoff.baseMs');
    above(0, backoff.maxMs, name, 'backoff.maxMs');
    wholeFrom(2, backoff.maxKeys, name, 'backoff.maxKeys');
  }
}

/** `Infinity` is a whole number here: "no limit". */
function wholeFrom(least: number, value: number, name: string, option: string): void {
  // The type first: bigints and symbols do not compare with numbers, they throw.
  if (typeof value === 'number' && (Number.isInteger(value) || value === Number.POSITIVE_INFINITY) && value >= least)
    return;
  refuse(name, option, `a whole number of at least ${least}`, value);
}

function above(least: number, value: number, name: string, option: string): void {
  if (typeof value !== 'number' || !(value > least)) refuse(name, option, `a number above ${least}`, value);
}

function refuse(name: string, option: string, expected: string, received: unknown): never {
  throw new BreakwaterError(
    'GUARD_OPTION_INVALID',
    `cannot guard ${name}: ${option} must be ${expected}, received ${typeof received === 'number' ? received : typeof received}`,
  );
}
