/**
 * What the protocol needs of a member's memory: the entries of one range at a time, as bytes that only the memory understands.
 *
 * The node puts the engine behind it, the simulator a map. Effects and entries are opaque here: the protocol says who may apply what in which order, never what
 * a key is.
 */
export interface RangeStore {
  /** A copy does what the owner did. */
  apply(range: number, effect: Uint8Array): void;
  /** Everything of the range goes. What remains must be what an empty member would answer: misses. */
  clear(range: number): void;
  /** A synchronisation begins: what is there now stays, but is not confirmed. What is applied or put from now on is. */
  beginSync(range: number): void;
  /** Entries of the owner, as of the last effect applied. */
  put(range: number, entries: readonly Uint8Array[]): void;
  /** Whatever was not confirmed since `beginSync` goes: the owner does not have it. */
  endSync(range: number): void;
  /** The range is about to be cut: `cut` will be asked with the same numbers. What can be done for many ranges at once is done for all that are announced. */
  prepare(range: number, since: number): void;
  /**
   * The next entries of the range behind `cursor` (0: from the beginning), so few that it takes well below a millisecond. null: it is not ready to say, and has come nearer to it; ask again.
   * @param since grows with each synchronisation of the range: whatever was there when this one began, and still is, is in one of its cuts
   */
  cut(range: number, cursor: number, since: number): Cut | null;
}

export interface Cut {
  readonly entries: readonly Uint8Array[];
  /** Behind them; -1 = these were the last. */
  readonly cursor: number;
}
