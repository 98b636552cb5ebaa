/**
 * A database for tests: rows in a Map, and a loader that counts, can be held and can be made to fail. What a load reads it reads when it is called, as a query does:
 * held and let go later, it brings the old rows.
 */
import type { LoadContext } from '../cache/types.ts';

/** A call of the loader that is held. */
export interface HeldLoad<K extends string> {
  readonly ids: readonly K[];
  /** Aborted when the library has given the load up. */
  readonly signal: AbortSignal;
  /** Brings the rows as they were when it was called. */
  release(): void;
  fail(error: unknown): void;
}

export class TestSource<K extends string, V> {
  readonly rows: Map<K, V>;
  /** Calls of the loader, and ids that they asked for. */
  calls = 0;
  ids: K[] = [];
  readonly held: HeldLoad<K>[] = [];
  #holding = false;
  #failures: unknown[] = [];

  constructor(rows: Iterable<readonly [K, V]> = []) {
    this.rows = new Map(rows);
  }

  /** Hand this to `bw.cache` as `load`. */
  readonly load = (ids: readonly K[], { signal }: LoadContext): Promise<(V | null)[]> => {
    this.calls += 1;
    this.ids.push(...ids);
    if (this.#failures.length > 0) return Promise.reject(this.#failures.shift());
    const rows = ids.map((id) => this.rows.get(id) ?? null);
    if (!this.#holding) return Promise.resolve(rows);
    return new Promise((resolve, reject) => {
      this.held.push({ ids: [...ids], signal, release: () => resolve(rows), fail: reject });
    });
  };

  /** From now on calls wait, in `held`, until they are let go. */
  hold(): void {
    this.#holding = true;
  }

  /** Lets all that are held go, and holds no more. */
  release(): void {
    this.#holding = false;
    for (const load of this.held.splice(0)) load.release();
  }

  /** The next call rejects with `error`, the one after it with the next one's, and so on. */
  failNext(error: unknown): void {
    this.#failures.push(error);
  }

  /** Forgets what was counted. */
  reset(): void {
    this.calls = 0;
    this.ids = [];
  }
}
