/**
 * What every row was when, so that each answer of the service can be judged: is it what the row says now, what it said a moment ago, or something that it must not
 * give any more?
 *
 * Each change gives a row an *edition*, a number of its own (kept in its column `stock`), so that an answer says which change it has seen. Of a change three moments are
 * noted, all by this process's clock:
 *
 *     sent            from here on an answer may have it
 *     committed       from here on an answer without it is *stale*: its age is counted
 *     covered         an invalidation of it was acknowledged: to the application that wrote it, or, of a change made in SQL, to the database by the reader of its change stream.
 *                     From here on an answer without it is *wrong*, unless it comes from another process's L1 within the bound that L1s are promised to keep
 *
 * Whether a change that failed was made nobody knows: both are right then, and its row is left alone from there on.
 */

/** The documented bound of L1s in front of a node, with room for nothing: the moments are taken on the safe side. */
export const L1_BOUND_MS = 250;
/** Changes of one row that are remembered. An answer older than all of them is wrong anyway. */
const REMEMBERED = 256;

interface Change {
  readonly edition: number;
  /** The process that it went through; null: in SQL, behind the application's back. */
  readonly through: number | null;
  committedAtMs: number | null;
  coveredAtMs: number | null;
  /** Of a change in SQL: its place in the database's log. */
  position: bigint | null;
}

export type Verdict =
  | { readonly kind: 'right'; readonly staleMs: number }
  | { readonly kind: 'wrong'; readonly why: string };

const FRESH: Verdict = { kind: 'right', staleMs: 0 };

export class Truth {
  readonly #initial: (id: number) => number;
  readonly #changes = new Map<number, Change[]>();
  readonly #busy = new Set<number>();
  /** Changes in SQL that are committed and not covered. */
  readonly #uncovered = new Set<Change>();
  #edition: number;

  /** @param initial the edition of a row that was never changed @param first larger than all of those */
  constructor(initial: (id: number) => number, first: number) {
    this.#initial = initial;
    this.#edition = first;
  }

  /** A change of `id` is about to be sent; null: there is one under way, or nobody knows what it is. */
  begin(id: number, through: number | null): number | null {
    if (this.#busy.has(id)) return null;
    this.#busy.add(id);
    this.#edition += 1;
    const changes = this.#changes.get(id) ?? [];
    if (changes.length === 0) this.#changes.set(id, changes);
    changes.push({ edition: this.#edition, through, committedAtMs: null, coveredAtMs: null, position: null });
    if (changes.length > REMEMBERED) changes.shift();
    return this.#edition;
  }

  /** It was committed, and `isCovered` says that its invalidation was acknowledged. */
  committed(id: number, edition: number, nowMs: number, isCovered: boolean): void {
    this.#busy.delete(id);
    const change = this.#of(id, edition);
    if (change === undefined) return;
    change.committedAtMs = nowMs;
    if (isCovered) change.coveredAtMs = nowMs;
  }

  /** It was committed in SQL, at or before this place in the log. */
  committedInSql(id: number, edition: number, nowMs: number, position: bigint): void {
    this.committed(id, edition, nowMs, false);
    const change = this.#of(id, edition);
    if (change === undefined) return;
    change.position = position;
    this.#uncovered.add(change);
  }

  /** All changes up to this place in the log are invalidated, and that was acknowledged. */
  coveredUpTo(position: bigint, nowMs: number): void {
    for (const change of this.#uncovered) {
      if (change.position! > position) continue;
      change.coveredAtMs = nowMs;
      this.#uncovered.delete(change);
    }
  }

  /** An answer that was asked for at `startedAtMs`, by way of process `through`. */
  judge(id: number, edition: number, startedAtMs: number, through: number): Verdict {
    const changes = this.#changes.get(id) ?? [];
    const seen = changes.findIndex((change) => change.edition === edition);
    if (seen < 0 && edition !== this.#initial(id)) {
      return { kind: 'wrong', why: `row ${id} was never of edition ${edition}, or long ago` };
    }
    if (seen === changes.length - 1) return FRESH;
    let staleMs = 0;
    for (let i = seen + 1; i < changes.length; i += 1) {
      const { committedAtMs, coveredAtMs, edition: newer, through: writer } = changes[i]!;
      if (committedAtMs !== null) staleMs = Math.max(staleMs, startedAtMs - committedAtMs);
      const boundMs = writer === through ? 0 : L1_BOUND_MS;
      if (coveredAtMs !== null && coveredAtMs + boundMs < startedAtMs) {
        const sinceMs = Math.round(startedAtMs - coveredAtMs);
        return {
          kind: 'wrong',
          why: `row ${id}: edition ${edition}, asked for ${sinceMs} ms after the invalidation of it by ${newer} was acknowledged`,
        };
      }
    }
    return { kind: 'right', staleMs };
  }

  #of(id: number, edition: number): Change | undefined {
    return this.#changes.get(id)?.find((change) => change.edition === edition);
  }
}
