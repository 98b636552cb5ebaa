/**
 * What is not acknowledged: keys, tags and namespaces, each once, at most `maxEntries` of them together. Pure; the clock's time is an argument.
 *
 *     registered --retried, acknowledged--> gone
 *         |  ^
 *         |  +-- registered again: the same entry, a later number. A retry that was under way does not settle it any more.
 *         +----- folded: no room. It becomes part of something wider.
 *
 * **Nothing is dropped, it gets coarser.** Without room for one more, the keys of the namespace that has most of them become one invalidation of that
 * namespace. Where that frees nothing, the tags become invalidations of all namespaces that this process knows. Only when that frees nothing either (more
 * namespaces than entries) is one refused, and its caller is told.
 *
 * Why widening is right: invalidating too much costs misses. Why it may not be undone: which keys a namespace stood for is not known any more.
 *
 * A key whose namespace is registered is in it; but the namespace's retry may have been applied before the key was changed, so the namespace counts as registered
 * again.
 */

export type Kind = 'key' | 'tag' | 'namespace';

export interface Item {
  readonly kind: Kind;
  readonly name: string;
  /** Since when it is not acknowledged, ms of the clock. */
  readonly sinceMs: number;
  /** Of its last registration. */
  sequence: number;
}

/** What changed in the set, for the journal. */
export interface Change {
  readonly op: 'add' | 'remove';
  readonly kind: Kind;
  readonly name: string;
}

export class Pending {
  readonly #maxEntries: number;
  /** By {@link idOf}; in the order in which they are to be retried. */
  readonly #items = new Map<string, Item>();
  readonly #keysOf = new Map<string, Set<Item>>();
  #tags = 0;
  #namespaces = 0;
  #sequence = 0;
  /** What a tag may cover. */
  readonly #known = new Set<string>();
  #changes: Change[] = [];
  /** Rises whenever a tag is settled: what was read before that may carry it. */
  tagsSettled = 0;
  readonly counts = { folded: 0, refused: 0 };

  constructor(maxEntries: number) {
    this.#maxEntries = maxEntries;
  }

  get size(): number {
    return this.#items.size;
  }

  get tags(): number {
    return this.#tags;
  }

  get namespaces(): number {
    return this.#namespaces;
  }

  /** The number of the last registration. */
  get sequence(): number {
    return this.#sequence;
  }

  /** A cache of this name is declared in this process. */
  know(namespace: string): void {
    this.#known.add(namespace);
  }

  /** Anything may be meant: all that is known. */
  addKnown(nowMs: number): void {
    for (const namespace of this.#known) this.add('namespace', namespace, nowMs);
  }

  oldestSinceMs(): number | null {
    let oldest: number | null = null;
    for (const { sinceMs } of this.#items.values()) if (oldest === null || sinceMs < oldest) oldest = sinceMs;
    return oldest;
  }

  /** False: there is no room, and it could not be made. */
  add(kind: Kind, name: string, nowMs: number): boolean {
    if (this.#again(kind, name)) return true;
    while (this.#items.size >= this.#maxEntries) {
      if (this.#foldKeys() || this.#foldTags()) {
        if (this.#again(kind, name)) return true;
      } else if (kind === 'key' && this.#keysOf.has(namespaceOf(name))) {
        // No more entries than before, and one key more in them.
        this.counts.folded += 1;
        this.#put('namespace', namespaceOf(name), nowMs);
        return true;
      } else if (kind === 'tag' && this.#tagIsCovered()) {
        this.#foldTag();
        return true;
      } else {
        this.counts.refused += 1;
        return false;
      }
    }
    this.#put(kind, name, nowMs);
    return true;
  }

  /** Must the key not be served, whatever its tags? */
  withholdsKey(key: string): boolean {
    if (this.#items.size === 0) return false;
    return this.#items.has(`k${key}`) || (this.#namespaces > 0 && this.#items.has(`n${namespaceOf(key)}`));
  }

  withholdsTags(tags: readonly string[]): boolean {
    return this.#tags > 0 && tags.some((tag) => this.#items.has(`t${tag}`));
  }

  /** The next `most` to be retried. */
  take(most: number): Item[] {
    const batch: Item[] = [];
    for (const item of this.#items.values()) {
      if (batch.length >= most) break;
      batch.push(item);
    }
    return batch;
  }

  /** Their retry failed: the others come first now. */
  postpone(items: readonly Item[]): void {
    for (const item of items) {
      const id = idOf(item.kind, item.name);
      if (this.#items.get(id) !== item) continue;
      this.#items.delete(id);
      this.#items.set(id, item);
    }
  }

  /** The store acknowledged `name` by a call that began when `sequence` was the last: gone, unless it was registered after that. True: it is gone. */
  settle(kind: Kind, name: string, sequence: number): boolean {
    const item = this.#items.get(idOf(kind, name));
    if (item === undefined || item.sequence > sequence) return false;
    this.#remove(item);
    if (kind === 'tag') this.tagsSettled += 1;
    return true;
  }

  /** All of them, by kind. */
  list(): { readonly keys: string[]; readonly tags: string[]; readonly namespaces: string[] } {
    return byKind(this.#items.values());
  }

  /** What changed since the last call. */
  takeChanges(): readonly Change[] {
    const changes = this.#changes;
    this.#changes = [];
    return changes;
  }

  #again(kind: Kind, name: string): boolean {
    const item =
      this.#items.get(idOf(kind, name)) ?? (kind === 'key' ? this.#items.get(`n${namespaceOf(name)}`) : undefined);
    if (item === undefined) return false;
    this.#sequence += 1;
    item.sequence = this.#sequence;
    return true;
  }

  #put(kind: Kind, name: string, sinceMs: number): void {
    this.#sequence += 1;
    const item: Item = { kind, name, sinceMs, sequence: this.#sequence };
    let since = sinceMs;
    if (kind === 'namespace') {
      // Its keys are in it.
      for (const key of [...(this.#keysOf.get(name) ?? [])]) {
        since = Math.min(since, key.sinceMs);
        this.#remove(key);
      }
      this.#namespaces += 1;
    } else if (kind === 'tag') this.#tags += 1;
    else {
      const namespace = namespaceOf(name);
      const keys = this.#keysOf.get(namespace);
      if (keys === undefined) this.#keysOf.set(namespace, new Set([item]));
      else keys.add(item);
    }
    this.#items.set(idOf(kind, name), since === sinceMs ? item : { ...item, sinceMs: since });
    this.#changes.push({ op: 'add', kind, name });
  }

  #remove(item: Item): void {
    const { kind, name } = item;
    this.#items.delete(idOf(kind, name));
    if (kind === 'tag') this.#tags -= 1;
    else if (kind === 'namespace') this.#namespaces -= 1;
    else {
      const namespace = namespaceOf(name);
      const keys = this.#keysOf.get(namespace);
      keys?.delete(item);
      if (keys?.size === 0) this.#keysOf.delete(namespace);
    }
    this.#changes.push({ op: 'remove', kind, name });
  }

  /** The namespace with most keys becomes one entry. False: none has two. */
  #foldKeys(): boolean {
    let largest: string | null = null;
    let most = 1;
    for (const [namespace, { size }] of this.#keysOf) {
      if (size <= most) continue;
      most = size;
      largest = namespace;
    }
    if (largest === null) return false;
    const oldest = [...this.#keysOf.get(largest)!].reduce((ms, { sinceMs }) => Math.min(ms, sinceMs), Infinity);
    this.counts.folded += most;
    this.#put('namespace', largest, oldest);
    return true;
  }

  /** All tags become all known namespaces. False: there would not be fewer entries. */
  #foldTags(): boolean {
    if (this.#known.size === 0) return false;
    let freed = this.#tags;
    for (const namespace of this.#known) {
      if (this.#items.has(`n${namespace}`)) continue;
      freed += (this.#keysOf.get(namespace)?.size ?? 0) - 1;
    }
    if (freed <= 0) return false;
    let oldest = Number.POSITIVE_INFINITY;
    let folded = 0;
    for (const item of [...this.#items.values()]) {
      if (item.kind !== 'tag') continue;
      oldest = Math.min(oldest, item.sinceMs);
      folded += 1;
      this.#remove(item);
    }
    // What was read while they were pending may carry them.
    this.tagsSettled += 1;
    this.counts.folded += folded;
    for (const namespace of this.#known)
      if (!this.#again('namespace', namespace)) this.#put('namespace', namespace, oldest);
    return true;
  }

  /** Is everything known registered already? */
  #tagIsCovered(): boolean {
    if (this.#known.size === 0) return false;
    for (const namespace of this.#known) if (!this.#items.has(`n${namespace}`)) return false;
    return true;
  }

  #foldTag(): void {
    for (const namespace of this.#known) this.#again('namespace', namespace);
    this.counts.folded += 1;
  }
}

export function byKind(items: Iterable<Item>): { keys: string[]; tags: string[]; namespaces: string[] } {
  const lists = { key: [] as string[], tag: [] as string[], namespace: [] as string[] };
  for (const { kind, name } of items) lists[kind].push(name);
  return { keys: lists.key, tags: lists.tag, namespaces: lists.namespace };
}

/** What stands before the first `:`. */
export function namespaceOf(key: string): string {
  return key.slice(0, Math.max(0, key.indexOf(':')));
}

function idOf(kind: Kind, name: string): string {
  return `${kind[0]}${name}`;
}
