/**
 * Notes in the store that a key's write is queued, with what was written, for the processes that do not have it in their queue:
 *
 *     product:42              the cache's entry: may be evicted, expire, be invalidated at any time
 *     bw-pending:product:42   the note: version, value. Set with the write, taken away when the database has it
 *
 * An entry that is missing is loaded, and the database still has the old row. So who loads looks at the notes before it is asked and *after* it has answered (behind.ts), and
 * takes the note's value where the database does not have that write yet. Reads that hit never look.
 *
 * Notes are ordered by the store itself (a `set` with a version never replaces a later one): a note of version v is set as 2v, and taken away by setting an empty one as
 * 2v + 1, which lets the note of a later write stand, and keeps a late one of this write out.
 *
 * A note is a hint and never the truth: it may outlive its write (the process died between the database's commit and the end), and then the database says so.
 * One that was lost (evicted, the store restarted) is set again by the process whose queue has the write, within a second or so.
 */
import type { CacheStore, SetOutcome } from '../../stores/store.ts';

export const NOTES = 'bw-pending';

/** Of an empty note: longer than any load that was under way. */
const CLEARED_MS = 60_000;
/** Before the entry in a note. */
export const NOTE_HEADER_BYTES = 9;
const EMPTY = 0;
const QUEUED = 1;

export interface Note {
  readonly version: number;
  /** The cache's entry, as it is in the store. */
  readonly packed: Uint8Array;
}

export class Notes {
  readonly #store: CacheStore;
  readonly #prefix: string;
  readonly #holdMs: number;

  /** @param holdMs how long a note outlives its process */
  constructor(store: CacheStore, cache: string, holdMs: number) {
    this.#store = store;
    this.#prefix = `${NOTES}:${cache}:`;
    this.#holdMs = holdMs;
  }

  put(id: string, version: number, packed: Uint8Array, timeoutMs: number): Promise<SetOutcome> {
    return this.#set(id, version, QUEUED, packed, 2n * BigInt(version), this.#holdMs, timeoutMs);
  }

  clear(id: string, version: number, timeoutMs: number): Promise<SetOutcome> {
    return this.#set(id, version, EMPTY, new Uint8Array(0), 2n * BigInt(version) + 1n, CLEARED_MS, timeoutMs);
  }

  /** Those that there are. */
  async read(ids: readonly string[], timeoutMs: number): Promise<Map<string, Note>> {
    const found = new Map<string, Note>();
    if (ids.length === 0) return found;
    const keys = ids.map((id) => this.#prefix + id);
    const results = await this.#store.read(keys, { lease: false, timeoutMs });
    results.forEach((result, index) => {
      if (result.kind !== 'hit' || result.value.length < NOTE_HEADER_BYTES || result.value[0] !== QUEUED) return;
      const { buffer, byteOffset } = result.value;
      const version = Number(new DataView(buffer, byteOffset).getBigUint64(1));
      found.set(ids[index]!, { version, packed: result.value.subarray(NOTE_HEADER_BYTES) });
    });
    return found;
  }

  #set(
    id: string,
    version: number,
    kind: number,
    packed: Uint8Array,
    order: bigint,
    ttlMs: number,
    timeoutMs: number,
  ): Promise<SetOutcome> {
    const bytes = new Uint8Array(NOTE_HEADER_BYTES + packed.length);
    bytes[0] = kind;
    new DataView(bytes.buffer).setBigUint64(1, BigInt(version));
    bytes.set(packed, NOTE_HEADER_BYTES);
    return this.#store.set(this.#prefix + id, bytes, { ttlMs, tags: [], version: order }, { timeoutMs });
  }
}
