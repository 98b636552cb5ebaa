/**
 * The memory of a simulated member: a small exact model of what the engine and `freshness/` do, one map a range. It goes through the same port as the engine will (`RangeStore`).
 *
 * Modelled: values as versions of their row; one tag a key; leases of misses, voided by whatever touches the key, by a tag and by a new reign; evictions of an owner (shipped) and of a copy (not).
 * Not modelled: bytes, sizes, TTLs, memory that runs full, partial effects.
 */
import type { RangeStore } from '../../src/cluster/range-store.ts';
import type { JudgedMemory } from './host.ts';

const DELETE = 1;
const STORE = 2;
const TAG = 3;
const DROP = 4;

interface Entry {
  version: number;
  isConfirmed: boolean;
}

interface Part {
  readonly entries: Map<number, Entry>;
  /** Key -> number of the token that may fill it. */
  readonly tokens: Map<number, number>;
  isSyncing: boolean;
}

/** In one part of a synchronisation: few, so that it takes several. */
const CUT = 2;

export const TAGS = 3;

export function tagOf(key: number): number {
  return key % TAGS;
}

export class ModelStore implements RangeStore, JudgedMemory {
  readonly parts: Part[];
  #tokens = 0;

  constructor(rangeCount: number) {
    this.parts = Array.from({ length: rangeCount }, () => ({
      entries: new Map<number, Entry>(),
      tokens: new Map<number, number>(),
      isSyncing: false,
    }));
  }

  get(range: number, key: number): number | null {
    return this.parts[range]!.entries.get(key)?.version ?? null;
  }

  *entries(range: number): Iterable<readonly [number, number]> {
    for (const [key, { version }] of this.parts[range]!.entries) yield [key, version];
  }

  isEnding(): boolean {
    return false;
  }

  // -- what an owner does: each returns the effect for the copies

  delete(range: number, key: number): Uint8Array {
    const part = this.parts[range]!;
    part.entries.delete(key);
    part.tokens.delete(key);
    return effect(DELETE, key, 0);
  }

  set(range: number, key: number, version: number): Uint8Array {
    const part = this.parts[range]!;
    part.tokens.delete(key);
    part.entries.set(key, { version, isConfirmed: true });
    return effect(STORE, key, version);
  }

  /** Null: the token was voided, or is not known. */
  fill(range: number, key: number, token: number, version: number): Uint8Array | null {
    const part = this.parts[range]!;
    if (part.tokens.get(key) !== token) return null;
    return this.set(range, key, version);
  }

  invalidateTag(range: number, tag: number): Uint8Array {
    const part = this.parts[range]!;
    for (const key of part.tokens.keys()) if (tagOf(key) === tag) part.tokens.delete(key);
    this.#dropTag(part, tag);
    return effect(TAG, tag, 0);
  }

  evict(range: number, key: number): Uint8Array {
    this.parts[range]!.entries.delete(key);
    return effect(DROP, key, 0);
  }

  grant(range: number, key: number): number {
    this.#tokens += 1;
    this.parts[range]!.tokens.set(key, this.#tokens);
    return this.#tokens;
  }

  /** A new reign: no token of the one before is known. */
  voidTokens(range: number): void {
    this.parts[range]!.tokens.clear();
  }

  // -- what a copy is told

  apply(range: number, body: Uint8Array): void {
    const part = this.parts[range]!;
    const key = body[1]!;
    switch (body[0]) {
      case STORE:
        part.entries.set(key, { version: versionOf(body, 2), isConfirmed: true });
        break;
      case TAG:
        this.#dropTag(part, key);
        break;
      default:
        part.entries.delete(key);
    }
  }

  clear(range: number): void {
    const part = this.parts[range]!;
    part.entries.clear();
    part.tokens.clear();
  }

  beginSync(range: number): void {
    const part = this.parts[range]!;
    part.isSyncing = true;
    for (const entry of part.entries.values()) entry.isConfirmed = false;
  }

  put(range: number, entries: readonly Uint8Array[]): void {
    const part = this.parts[range]!;
    for (const bytes of entries) part.entries.set(bytes[0]!, { version: versionOf(bytes, 1), isConfirmed: true });
  }

  prepare(): void {}

  endSync(range: number): void {
    const part = this.parts[range]!;
    part.isSyncing = false;
    for (const [key, { isConfirmed }] of part.entries) if (!isConfirmed) part.entries.delete(key);
  }

  /** The cursor is the key behind which to go on, plus one: keys that come and go do not move it. */
  cut(range: number, cursor: number): { entries: Uint8Array[]; cursor: number } {
    const keys = [...this.parts[range]!.entries.keys()].filter((key) => key >= cursor).sort((a, b) => a - b);
    const taken = keys.slice(0, CUT);
    const entries = taken.map((key) => {
      const { version } = this.parts[range]!.entries.get(key)!;
      return Uint8Array.of(key, version & 255, version >> 8);
    });
    return { entries, cursor: keys.length > CUT ? taken.at(-1)! + 1 : -1 };
  }

  /** What is there, as text. */
  digest(range: number): string {
    return [...this.parts[range]!.entries]
      .sort(([a], [b]) => a - b)
      .map(([key, { version }]) => `${key}=${version}`)
      .join(' ');
  }

  #dropTag(part: Part, tag: number): void {
    for (const key of part.entries.keys()) if (tagOf(key) === tag) part.entries.delete(key);
  }
}

function effect(kind: number, key: number, version: number): Uint8Array {
  return Uint8Array.of(kind, key, version & 255, version >> 8);
}

function versionOf(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}

/** For people. */
export function describeEffect(body: Uint8Array): string {
  const key = body[1]!;
  switch (body[0]) {
    case STORE:
      return `k${key}=v${versionOf(body, 2)}`;
    case TAG:
      return `tag ${key}`;
    case DROP:
      return `evict k${key}`;
    default:
      return `del k${key}`;
  }
}
