/**
 * When a write is acknowledged, by the namespace of its key. Reads, leases and takeovers know nothing of it.
 *
 *   safe    DEL, an overwrite, a nearer expiry: when every in-sync copy has applied it. First SETs and fills: at once. The default, and what `docs/cluster.md` promises
 *   async   everything at once, as Redis Cluster does. An owner that dies, or is cut off, within the moment between takes acknowledged deletes along: the copy that takes over serves what was deleted, until its TTL
 *           ends. For what may be old
 *   all     first SETs and fills wait for the copies too: what was acknowledged is lost only with every copy
 *
 * Tags, other namespaces and FLUSHALL reach every range at once; they, locks and counters are always `safe`.
 */
import { namespaceHash, namespaceOfKey } from '../freshness/names.ts';

export const WRITE_MODES = ['safe', 'async', 'all'] as const;
export type WriteMode = (typeof WRITE_MODES)[number];

export class WriteModes {
  readonly #byHash = new Map<number, WriteMode>();
  readonly #others: WriteMode;

  /** @param modes by namespace; `*` = every other. Default `safe` */
  constructor(modes: Readonly<Record<string, WriteMode>>) {
    const encoder = new TextEncoder();
    for (const [name, mode] of Object.entries(modes)) {
      if (name === '*') continue;
      const bytes = encoder.encode(name);
      this.#byHash.set(namespaceHash(bytes, 0, bytes.length), mode);
    }
    this.#others = modes['*'] ?? 'safe';
  }

  of(key: Uint8Array, start: number, length: number): WriteMode {
    if (this.#byHash.size === 0) return this.#others;
    return this.#byHash.get(namespaceOfKey(key, start, length)) ?? this.#others;
  }
}
