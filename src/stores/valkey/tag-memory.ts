/**
 * Which tags a key had last, so that a read can ask about them before it has seen the entry: one round trip instead of two. A guess, never
 * believed: the entry's own tags decide, and are asked about when the guess lacks one.
 *
 * Two maps in turn: when the young one is full it becomes the old one, and what is looked up there moves up. So the memory is bounded and
 * forgetting is free, where a single map with its oldest key deleted each time slows down with its size.
 */
import { namespaceName } from './survey.ts';

const MOST_NAMESPACES = 1024;

export class TagMemory {
  readonly #capacity: number;
  #young = new Map<string, readonly string[]>();
  #old = new Map<string, readonly string[]>();
  /** Whose keys had tags: dozens, since they are declared in code. Null: more than that, any may have. */
  #namespaces: Set<string> | null = new Set();

  /** @param capacity keys with tags remembered, at most; at least half as many */
  constructor(capacity = 16_384) {
    this.#capacity = capacity;
  }

  /** Whether a key of this namespace (as `namespaceName` writes it) ever had tags. A batch asks once, where a look for each of its keys costs as much as reading them. */
  mayHave(namespace: string): boolean {
    return this.#namespaces === null || this.#namespaces.has(namespace);
  }

  get(key: string): readonly string[] {
    if (this.#young.size + this.#old.size === 0) return NONE;
    const tags = this.#young.get(key);
    if (tags !== undefined) return tags;
    const older = this.#old.get(key);
    if (older !== undefined) this.set(key, older);
    return older ?? NONE;
  }

  set(key: string, tags: readonly string[]): void {
    if (tags.length === 0) {
      if (this.#young.size > 0) this.#young.delete(key);
      if (this.#old.size > 0) this.#old.delete(key);
      return;
    }
    this.#young.set(key, tags);
    if (this.#namespaces !== null) {
      this.#namespaces.add(namespaceName(key));
      if (this.#namespaces.size > MOST_NAMESPACES) this.#namespaces = null;
    }
    if (this.#young.size <= this.#capacity / 2) return;
    this.#old = this.#young;
    this.#young = new Map();
  }
}

const NONE: readonly string[] = [];
