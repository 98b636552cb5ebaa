/**
 * The life of a stream that is followed, whichever way its changes come: attempts, one after the other until it is stopped; what they found out, for stats; and what
 * is told of it.
 *
 *     starting --> active | standby --> waiting (an attempt has failed) --> active | standby ... --> stopped
 *
 * An attempt ends by failing, or because it was stopped. There is no failure after which it does not try on: rights come back, tables are migrated, servers return.
 */
import { BreakwaterError, messageOf } from '../../../base/errors.ts';
import { Histogram } from '../../../base/histogram.ts';
import { jittered, pause } from '../../../cache/changes/pause.ts';
import type { ChangeRun, ChangeStats, ChangeTarget } from '../../../cache/changes/port.ts';
import { Deferred } from '../../../cache/waiting.ts';
import { type Doubt, type IntakeCounts, noIntake } from './intake.ts';
import type { Settings } from './options.ts';

/** What waiting does not cure: `ready` rejects with these. */
const LASTING: ReadonlySet<string> = new Set([
  'CHANGES_SERVER_OLD',
  'CHANGES_WAL_LEVEL',
  'CHANGES_NOT_ALLOWED',
  'CHANGES_DATABASE_UNKNOWN',
  'CHANGES_SLOTS_EXHAUSTED',
  'CHANGES_SLOT_FOREIGN',
  'CHANGES_SLOT_MISSING',
  'CHANGES_PUBLICATION_MISSING',
  'CHANGES_PUBLICATION_INCOMPLETE',
  'CHANGES_NO_IDENTITY',
  'CHANGES_TABLE_UNSUPPORTED',
  'CHANGES_TABLE_TWICE',
  'CHANGES_TRIGGERS_MISSING',
  'SOURCE_TABLE_UNKNOWN',
  'SOURCE_COLUMN_UNKNOWN',
  'SOURCE_PG_MISSING',
]);
const BACK_OFF = { baseMs: 100, capMs: 5_000 };
/** Least time between two events about the mapping of one table. */
const TELL_MS = 1_000;

/** One attempt: connects, and reads until it fails or `signal` fires. */
export type Attempt = (run: Run, signal: AbortSignal) => Promise<void>;

/** What the attempt that is under way knows, for stats. */
export interface Gauges {
  lagMs(): number | null;
  lagBytes: number | null;
  retainedBytes: number | null;
  safeBytes: number | null;
  position: string | null;
}

const NOTHING_KNOWN: Gauges = {
  lagMs: () => null,
  lagBytes: null,
  retainedBytes: null,
  safeBytes: null,
  position: null,
};

export class Run implements ChangeRun {
  readonly ready: Promise<void>;
  readonly settings: Settings;
  readonly target: ChangeTarget;
  gauges: Gauges = NOTHING_KNOWN;
  isCovered = false;
  /** Has this run ever been active or standby? From then on a table that has gone does not keep the others from being followed. */
  hasBegun = false;
  readonly counts: IntakeCounts & {
    keys: number;
    tags: number;
    namespaces: number;
    gaps: number;
    activations: number;
    failures: number;
  } = {
    ...noIntake(),
    keys: 0,
    tags: 0,
    namespaces: 0,
    gaps: 0,
    activations: 0,
    failures: 0,
  };
  readonly #delays = new Histogram();
  readonly #ready = new Deferred<void>();
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;
  readonly #toldMs = new Map<string, number>();
  #state: ChangeStats['state'] = 'starting';
  #lastError: string | null = null;
  #attempts = 0;

  constructor(settings: Settings, target: ChangeTarget, attempt: Attempt) {
    this.settings = settings;
    this.target = target;
    this.ready = this.#ready.promise;
    this.#done = this.#follow(attempt);
  }

  async stop(): Promise<void> {
    this.#abort.abort(new BreakwaterError('CHANGES_STOPPED', 'the changes are not followed any more'));
    await this.#done;
  }

  stats(): ChangeStats {
    const { unreadable, gaps, ...counts } = this.counts;
    const { lagMs, ...gauges } = this.gauges;
    const delays = this.#delays;
    return {
      state: this.#state,
      isCovered: this.isCovered,
      lagMs: lagMs(),
      ...gauges,
      ...counts,
      gaps: gaps + unreadable,
      delayMs:
        delays.count === 0
          ? null
          : { p50: delays.quantile(0.5) / 1000, p99: delays.quantile(0.99) / 1000, max: delays.max / 1000 },
      lastError: this.#lastError,
    };
  }

  // -- for attempts

  /** This process reads, and all that might have been missed is invalidated. */
  activated(isCovered: boolean): void {
    this.counts.activations += 1;
    this.isCovered = isCovered;
    this.#enter('active');
    this.#ready.resolve();
  }

  /** @param isCovered whoever reads invalidates all that is declared here */
  standsBy(isCovered: boolean): void {
    this.isCovered = isCovered;
    if (this.#state !== 'standby') this.#enter('standby');
    if (isCovered) this.#ready.resolve();
  }

  /** From commit to acknowledgement, ms. */
  delayed(ms: number): void {
    this.#delays.record(ms * 1000);
  }

  /** Something is wrong, and the attempt goes on. */
  failed(error: unknown): void {
    this.counts.failures += 1;
    this.#lastError = messageOf(error);
    this.target.tell({ what: 'lost', namespaces: [], reason: messageOf(error), error });
  }

  tell({ what, namespaces, reason, error }: Doubt): void {
    const nowMs = this.target.clock.now();
    if (what === 'mapping') {
      const about = namespaces.join();
      if (nowMs - (this.#toldMs.get(about) ?? Number.NEGATIVE_INFINITY) < TELL_MS) return;
      this.#toldMs.set(about, nowMs);
    }
    this.target.tell({ what, namespaces, reason, error });
  }

  /** Invalidates whole namespaces because something may have been missed. */
  async doubt(namespaces: readonly string[], reason: string, signal: AbortSignal): Promise<'acknowledged' | 'queued'> {
    const outcome = await this.target.invalidate({ namespaces }, signal);
    this.counts.namespaces += namespaces.length;
    this.target.tell({ what: 'gap', namespaces, reason, error: undefined });
    return outcome;
  }

  // -- the life

  async #follow(attempt: Attempt): Promise<void> {
    const { signal } = this.#abort;
    // Not within the constructor: who opens it has not got it yet.
    await Promise.resolve();
    while (!signal.aborted) {
      // What an attempt leaves open must end with it.
      const own = new AbortController();
      const onStop = (): void => own.abort(signal.reason);
      signal.addEventListener('abort', onStop, { once: true });
      const before = this.counts.activations;
      try {
        await attempt(this, own.signal);
      } catch (error) {
        if (!signal.aborted) this.#attemptFailed(error);
      } finally {
        signal.removeEventListener('abort', onStop);
        own.abort(signal.reason ?? new BreakwaterError('CHANGES_STOPPED', 'the attempt to follow the changes is over'));
      }
      if (signal.aborted) break;
      this.isCovered = false;
      this.#state = 'waiting';
      // One that worked for a while begins its back-off anew.
      this.#attempts = this.counts.activations > before ? 0 : this.#attempts + 1;
      const waitMs = jittered(this.#attempts, BACK_OFF, this.target.random);
      await pause(this.target.scheduler, waitMs, signal).catch(() => undefined);
    }
    this.isCovered = false;
    this.gauges = NOTHING_KNOWN;
    this.#enter('stopped');
    this.#ready.reject(signal.reason);
  }

  #attemptFailed(error: unknown): void {
    this.failed(error);
    if (error instanceof BreakwaterError && LASTING.has(error.code)) this.#ready.reject(error);
  }

  #enter(state: 'active' | 'standby' | 'stopped'): void {
    this.#state = state;
    if (state !== 'stopped') this.hasBegun = true;
    this.target.tell({ what: state, namespaces: [], reason: null, error: undefined });
  }
}
