/**
 * What clients are not told, for the log. In an outage thousands of requests fail in the same way: one line for each kind of failure every ten seconds, with how
 * many there were. A kind is a code, and what was done where (`write product`): who is sent to the log by an answer finds the line of its kind, whatever else fails by that code.
 */
import { BreakwaterError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';

const EVERY_MS = 10_000;
/** Kinds that are told apart. */
const MOST_KINDS = 1_000;
const KIND_LENGTH = 100;

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
    const name = `${code} ${what.slice(0, KIND_LENGTH).split(':', 1)[0]}`;
    const kind = this.#kinds.get(name);
    if (kind !== undefined && nowMs - kind.saidAtMs < EVERY_MS) {
      kind.unsaid += 1;
      return;
    }
    const unsaid = kind?.unsaid ?? 0;
    if (this.#kinds.size >= MOST_KINDS) this.#kinds.clear();
    this.#kinds.set(name, { saidAtMs: nowMs, unsaid: 0 });
    this.#log.warn(`cannot ${what}`, { code, error: messageOf(error), ...(unsaid > 0 && { alsoSince: unsaid }) });
  }
}
