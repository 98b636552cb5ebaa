/**
 * What must be acknowledged by the store (invalidations, deletes, sets), as seen from outside: one span, one event when it was, another when it was
 * not, and a count of both. Everything that is sent to the store and may not be lost goes through here.
 */
import type { Clock } from '../../base/clock.ts';
import type { CacheStore } from '../../stores/store.ts';
import type { Watch } from './watch.ts';

export interface Invalidated {
  /** null: across caches. */
  readonly cache: string | null;
  /** For people, as in `delete user:42`. */
  readonly what: string;
  readonly keys: readonly string[];
  readonly tags?: readonly string[];
  readonly namespaces?: readonly string[];
}

interface Ports {
  readonly watch: Watch;
  readonly store: CacheStore;
  readonly ports: { readonly clock: Clock };
}

const NONE: readonly string[] = Object.freeze([]);

/** Sends an invalidation with `run`; settles as that does. */
export async function invalidating<T>(
  { watch, store, ports }: Ports,
  { cache, what, keys, tags = NONE, namespaces = NONE }: Invalidated,
  run: () => Promise<T>,
): Promise<T> {
  const context = {
    cache,
    store: store.kind,
    keys: keys.length,
    tags: tags.length,
    namespaces: namespaces.length,
  };
  const beganMs = ports.clock.now();
  try {
    const result = await watch.trace({ kind: 'invalidate', context }, run);
    watch.counts.invalidations += 1;
    if (watch.hears('invalidate')) {
      watch.tell('invalidate', { keys, tags, namespaces, durationMs: ports.clock.now() - beganMs });
    }
    return result;
  } catch (error) {
    lost(watch, what, error);
    throw error;
  }
}

/** The same for a `set`. */
export async function setting<T>(
  { watch, store }: Ports,
  cache: string,
  key: string,
  run: () => Promise<T>,
): Promise<T> {
  try {
    return await watch.trace({ kind: 'set', context: { cache, store: store.kind, keys: 1 } }, run);
  } catch (error) {
    lost(watch, `set ${key}`, error);
    throw error;
  }
}

function lost(watch: Watch, what: string, error: unknown): void {
  watch.counts.unacknowledged += 1;
  if (watch.hears('unacknowledged')) watch.tell('unacknowledged', { what, error });
}
