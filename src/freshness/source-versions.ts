/**
 * Source versions: may a `set` that says which version of the row it carries replace what is there, whatever order the sets arrive in?
 *
 * Two processes that write the same key through cannot be kept in order by anything but the source itself:
 *
 *   1. A updates the row to version 7 and sends set(7).   2. B updates it to version 8 and sends set(8).
 *   3. set(8) arrives and is stored.                       4. set(7), held up on its way, arrives: every reader gets what B has replaced.
 *
 * While the entry of step 3 is there, the comparison is one of two integers, and it is kept with the entry. The hard part is the entry that left: after
 * step 3 the key is deleted, evicted or expires, and set(7) finds nothing to be compared with. So what left is remembered here, in a bounded
 * table of (key, version). Answers:
 *
 *   STORE    newer than what is there or was there last; or nothing is known of the key and nothing was forgotten that it could have been
 *   SAME     this very version is there: nothing is to be done (idempotent)
 *   OLDER    a newer one is there, or was: nothing is done. What is there stays, loads under way stay good.
 *   UNSURE   it cannot be told. The caller does not store, deletes what the key has and voids its loads: the next reader loads. (Leaving the
 *            entry would be wrong: if the set was the newer one, it is stale.)
 *
 * How a version left decides about the *same* version: after an eviction or an expiry it may come back, as long as nothing has changed since. After a
 * delete, a write without a version or a fill of the key, an invalidation of its namespace or, if the entry had tags, of any tag (which ones is not
 * remembered), it cannot be told: UNSURE.
 *
 * The table is a ring: when it comes round, the key that left longest ago is forgotten. What was forgotten lives on in a floor per namespace, the highest
 * version forgotten there: a set that is not above it, of a key of which nothing is known, is UNSURE. Of an LSN, which rises over the whole
 * database, the floor takes in only what really is late. Of versions that count per row it also meets young rows, and such a floor for ever
 * would refuse their sets for ever. So a floor holds what was forgotten in this window of {@link HOLD_MS} and in the one before: the
 * memory of a version that left is at least HOLD_MS long, however many leave, and longer while the table has room. Later than that, a
 * late set is stored. The time is this member's own and only says how long it remembers; no two clocks are compared.
 *
 * Per namespace, because versions of different tables are not comparable. Namespaces share {@link FLOORS} cells by hash: two in one cell may cost each
 * other sets, and a set not stored is a miss.
 *
 * A load that filled the key carries no version; a versioned set above the last known version replaces it. A delete carries none either:
 * nothing tells set(7) after "update to 8, delete" of a key that had no versioned entry that it is late. `plainSet: holdoff` is for that.
 * Of the entries that a FLUSHALL removes, and over a restart, nothing is remembered.
 *
 * Layout, made with the first versioned entry that leaves; 41 bytes a row:
 *   hash f64 | number f64 | high u32, low u32 | changed u8, tagged u8, used u8 | cell u16 | next i32, previous i32 | + heads i32 a row
 * Costs: O(1) expected, nothing allocated. A key is known by 53 bits of hash: a collision refuses a set, at 1 in 10^11 a full table.
 * Invariants: used rows are exactly those in chains; `size` counts them.
 */
import { assert } from '../base/assert.ts';

export const STORE = 1;
export const SAME = 2;
export const OLDER = 3;
export const UNSURE = 4;
/** Of the memory alone: the same version as the one that left unchanged, at {@link SourceVersions.leftAt}. */
export const AGAIN = 5;
export type SourceVerdict = typeof STORE | typeof SAME | typeof OLDER | typeof UNSURE;

/** Longer than any write that is still on its way: the library's own give up after seconds. */
export const HOLD_MS = 60_000;
/** Cells of floors. */
const FLOORS = 1024;
const DEFAULT_CAPACITY = 65_536;
const NONE = -1;

/** Of two versions as halves: below 0, 0 or above 0. */
export function compareSource(aHigh: number, aLow: number, bHigh: number, bLow: number): number {
  return aHigh === bHigh ? aLow - bLow : aHigh - bHigh;
}

export class SourceVersions {
  /** Keys remembered. */
  size = 0;
  /** Keys forgotten because the table came round. */
  forgotten = 0;
  /** Sets by answer, indexed by the verdict. */
  readonly verdicts = new Float64Array(5);
  /** After AGAIN: the number of the last invalidation when that version left, and whether its entry had tags. */
  leftAt = 0;
  leftTagged = false;

  readonly #capacity: number;
  readonly #mask: number;
  readonly #holdMs: number;
  #rows: Rows | null = null;
  #turn = 0;

  /** @param capacity keys remembered, a power of two */
  constructor(capacity = DEFAULT_CAPACITY, holdMs = HOLD_MS) {
    assert(
      capacity >= 1 && (capacity & (capacity - 1)) === 0,
      'the table of source versions has a power of two of rows',
    );
    this.#capacity = capacity;
    this.#mask = capacity - 1;
    this.#holdMs = holdMs;
  }

  /**
   * A version of a key left, or was not stored although it was the newest.
   * @param key 53 bits of hash of the key; `namespace` of its namespace
   * @param changed the truth has changed since: the same version may not come back
   * @param tagged the entry had tags
   * @param number of the member's last invalidation
   */
  note(
    key: number,
    namespace: number,
    high: number,
    low: number,
    changed: boolean,
    tagged: boolean,
    number: number,
    nowMs: number,
  ): void {
    this.#rows ??= new Rows(this.#capacity);
    const rows = this.#rows;
    const known = this.#find(key);
    if (known !== NONE) {
      const order = compareSource(high, low, rows.high[known]!, rows.low[known]!);
      // The rows say what was there last, and that only rises.
      if (order < 0) return;
      const flag = changed || (order === 0 && rows.changed[known] === 1);
      this.#unlink(known);
      this.#write(key, namespace, high, low, flag, tagged, number, nowMs);
      return;
    }
    this.#write(key, namespace, high, low, changed, tagged, number, nowMs);
  }

  /** The key was deleted, or written without a version: what left before may not come back. */
  changed(key: number): void {
    const row = this.#rows === null ? NONE : this.#find(key);
    if (row !== NONE) this.#rows!.changed[row] = 1;
  }

  /**
   * What the memory says (a verdict, or {@link AGAIN}) about a set of a key that has no live versioned entry.
   * @param isThere the key has a live entry without a version
   */
  judge(key: number, namespace: number, high: number, low: number, isThere: boolean, nowMs: number): number {
    const rows = this.#rows;
    if (rows === null) return STORE;
    const row = this.#find(key);
    if (row !== NONE) {
      const order = compareSource(high, low, rows.high[row]!, rows.low[row]!);
      if (order < 0) return OLDER;
      if (order > 0) return STORE;
      this.leftAt = rows.number[row]!;
      this.leftTagged = rows.tagged[row] === 1;
      return rows.changed[row] === 0 && !isThere ? AGAIN : UNSURE;
    }
    const window = Math.floor(nowMs / this.#holdMs);
    for (let age = 0; age < 2; age += 1) {
      const at = floorAt(cellOf(namespace), window - age);
      if (rows.floorWindow[at] !== window - age) continue;
      if (compareSource(high, low, rows.floorHigh[at]!, rows.floorLow[at]!) <= 0) return UNSURE;
    }
    return STORE;
  }

  /** Forgets everything, floors included. */
  reset(): void {
    this.#rows = null;
    this.size = 0;
  }

  /** Bytes of the typed arrays: 0 until a versioned entry leaves. */
  get sizeBytes(): number {
    return this.#rows === null ? 0 : this.#capacity * 41 + FLOORS * 2 * 16;
  }

  /** Checks the whole structure. O(capacity). */
  invariants(): void {
    const rows = this.#rows;
    let chained = 0;
    for (let bucket = 0; rows !== null && bucket < this.#capacity; bucket += 1) {
      let before = NONE;
      for (let row = rows.heads[bucket]!; row !== NONE; row = rows.next[row]!) {
        assert(
          rows.used[row] === 1 && rows.previous[row] === before,
          'a chained row is in use and knows its predecessor',
        );
        assert(((rows.hash[row]! >>> 0) & this.#mask) === bucket, 'a row hangs in the bucket of its hash');
        before = row;
        chained += 1;
        assert(chained <= this.#capacity, 'a chain has no loop');
      }
    }
    assert(chained === this.size, 'size counts the rows in use');
  }

  #find(key: number): number {
    const rows = this.#rows!;
    for (let row = rows.heads[(key >>> 0) & this.#mask]!; row !== NONE; row = rows.next[row]!) {
      if (rows.hash[row] === key) return row;
    }
    return NONE;
  }

  #write(
    key: number,
    namespace: number,
    high: number,
    low: number,
    changed: boolean,
    tagged: boolean,
    number: number,
    nowMs: number,
  ): void {
    const rows = this.#rows!;
    const row = this.#turn;
    this.#turn = (row + 1) & this.#mask;
    if (rows.used[row] === 1) this.#forget(row, nowMs);
    const bucket = (key >>> 0) & this.#mask;
    const head = rows.heads[bucket]!;
    rows.hash[row] = key;
    rows.number[row] = number;
    rows.high[row] = high;
    rows.low[row] = low;
    rows.changed[row] = changed ? 1 : 0;
    rows.tagged[row] = tagged ? 1 : 0;
    rows.cell[row] = cellOf(namespace);
    rows.used[row] = 1;
    rows.previous[row] = NONE;
    rows.next[row] = head;
    if (head !== NONE) rows.previous[head] = row;
    rows.heads[bucket] = row;
    this.size += 1;
  }

  #forget(row: number, nowMs: number): void {
    const rows = this.#rows!;
    const window = Math.floor(nowMs / this.#holdMs);
    const at = floorAt(rows.cell[row]!, window);
    const high = rows.high[row]!;
    const low = rows.low[row]!;
    if (rows.floorWindow[at] !== window || compareSource(high, low, rows.floorHigh[at]!, rows.floorLow[at]!) > 0) {
      rows.floorWindow[at] = window;
      rows.floorHigh[at] = high;
      rows.floorLow[at] = low;
    }
    this.forgotten += 1;
    this.#unlink(row);
  }

  #unlink(row: number): void {
    const rows = this.#rows!;
    const previous = rows.previous[row]!;
    const next = rows.next[row]!;
    if (previous === NONE) rows.heads[(rows.hash[row]! >>> 0) & this.#mask] = next;
    else rows.next[previous] = next;
    if (next !== NONE) rows.previous[next] = previous;
    rows.used[row] = 0;
    this.size -= 1;
  }
}

/** The typed arrays, made when there is something to remember. */
class Rows {
  readonly hash: Float64Array;
  readonly number: Float64Array;
  readonly high: Uint32Array;
  readonly low: Uint32Array;
  readonly changed: Uint8Array;
  readonly tagged: Uint8Array;
  readonly used: Uint8Array;
  readonly cell: Uint16Array;
  readonly next: Int32Array;
  readonly previous: Int32Array;
  readonly heads: Int32Array;
  readonly floorHigh = new Uint32Array(2 * FLOORS);
  readonly floorLow = new Uint32Array(2 * FLOORS);
  /** Which window a floor is of. */
  readonly floorWindow = new Float64Array(2 * FLOORS).fill(-2);

  constructor(capacity: number) {
    this.hash = new Float64Array(capacity);
    this.number = new Float64Array(capacity);
    this.high = new Uint32Array(capacity);
    this.low = new Uint32Array(capacity);
    this.changed = new Uint8Array(capacity);
    this.tagged = new Uint8Array(capacity);
    this.used = new Uint8Array(capacity);
    this.cell = new Uint16Array(capacity);
    this.next = new Int32Array(capacity);
    this.previous = new Int32Array(capacity);
    this.heads = new Int32Array(capacity).fill(NONE);
  }
}

/** Where the floor of a cell for this window stands: windows take turns in two places. */
function floorAt(cell: number, window: number): number {
  return 2 * cell + Math.abs(window % 2);
}

function cellOf(namespace: number): number {
  return (namespace >>> 0) & (FLOORS - 1);
}
