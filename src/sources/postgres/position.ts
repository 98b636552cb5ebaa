/**
 * How far the primary's log has come, by moments: the questions that were asked, and the answers. A commit that was over before a question was sent is at or before its answer.
 *
 * One question is on its way at a time. Who comes while it is may not have its answer, which may be from before him; all who come until it is back share the next one. So
 * however many loads ask, the primary sees one small statement at a time.
 */
import { performance } from 'node:perf_hooks';
import { aborted } from '../port.ts';
import type { Statement } from './statement.ts';

const POSITION = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::text";
const MOST_ANSWERS = 64;
/** Longest that one question may take: it is many loads' question, and ends with none of their signals. */
const ANSWER_MS = 2_000;

interface Answer {
  readonly askedAtMs: number;
  readonly at: bigint;
}

export class PrimaryPosition {
  readonly #primary: Statement;
  /** Of growing moments. */
  #answers: Answer[] = [];
  #underWay: Promise<bigint> | null = null;
  #next: Promise<bigint> | null = null;
  asked = 0;

  constructor(primary: Statement) {
    this.#primary = primary;
  }

  /** A position that covers all commits before `momentMs`, the lowest that is known; null = ask. */
  known(momentMs: number): bigint | null {
    return this.#answers.find(({ askedAtMs }) => askedAtMs >= momentMs)?.at ?? null;
  }

  /** As {@link known}, by a question sent after now. @throws BreakwaterError what it failed with; `SOURCE_ABORTED` for this caller alone */
  async after(momentMs: number, signal: AbortSignal | undefined): Promise<bigint> {
    const known = this.known(momentMs);
    if (known !== null) return known;
    if (this.#underWay === null) this.#underWay = this.#ask();
    else if (this.#next === null) {
      const over = (): Promise<bigint> => {
        this.#next = null;
        this.#underWay = this.#ask();
        return this.#underWay;
      };
      this.#next = this.#underWay.then(over, over);
      this.#next.catch(() => {});
    }
    const answer = this.#next ?? this.#underWay;
    return signal === undefined ? await answer : await unlessAborted(answer, signal, this.#primary.name);
  }

  async #ask(): Promise<bigint> {
    this.asked += 1;
    const askedAtMs = performance.now();
    try {
      const { rows } = await this.#primary.read(POSITION, [], AbortSignal.timeout(ANSWER_MS));
      const at = BigInt(rows[0]![0] as string);
      this.#answers.push({ askedAtMs, at });
      if (this.#answers.length > MOST_ANSWERS) this.#thin();
      return at;
    } finally {
      if (this.#next === null) this.#underWay = null;
    }
  }

  /** The newer half stays, of the older one every other answer. */
  #thin(): void {
    this.#answers = this.#answers.filter((_, index) => index % 2 === 0 || index > MOST_ANSWERS / 2);
  }
}

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal, name: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(aborted(name, signal));
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    const done = (): void => signal.removeEventListener('abort', onAbort);
    promise.then(
      (value) => {
        done();
        resolve(value);
      },
      (error: unknown) => {
        done();
        reject(error);
      },
    );
  });
}
