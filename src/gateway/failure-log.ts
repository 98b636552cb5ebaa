/**
 * What clients are not told, for the log. In an outage thousands of requests fail in the same way: one line for each kind of failure every ten seconds, with how
 * many there were.
 */
import { BreakwaterError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';

const EVERY_MS = 10_000;
/** Kinds that are told apart: codes of ours, so never as many. */
const MOST_KINDS = 100;

export class FailureLog {
  readonly #log: Log;
  readonly #now: () => number;
  readonly #kinds = new Map<string, { saidAtMs: number; unsaid: number }>();

  constructor(log: Log, now: () => number = () => performance.now()) {
    this.#log = log;
    this.#now = now;
  }

  /** @param what e.g. `load product:42` */
  note(what: string, error: unknown): void {
    const code = error instanceof BreakwaterError ? error.code : 'INTERNAL';
    const nowMs = this.#now();
    const kind = this.#kinds.get(code);
    if (kind !== undefined && nowMs - kind.saidAtMs < EVERY_MS) {
      kind.unsaid += 1;
      return;
    }
    const unsaid = kind?.unsaid ?? 0;
    if (this.#kinds.size >= MOST_KINDS) this.#kinds.clear();
    this.#kinds.set(code, { saidAtMs: nowMs, unsaid: 0 });
    this.#log.warn(`cannot ${what}`, { code, error: messageOf(error), ...(unsaid > 0 && { alsoSince: unsaid }) });
  }
}
