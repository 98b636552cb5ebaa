/** What `warm` needs of a cache: which ids are missing, and how they are loaded in a slot of the guard. */
import type { CacheStore } from '../stores/store.ts';
import { checkNames, invalid } from './checks.ts';
import type { Packing } from './codec/packing.ts';
import type { DataSource, IdQuery } from './data-source.ts';
import type { Permit } from './flight.ts';
import { GuardShedError, SourceBusyError } from './guard/errors.ts';
import type { FlightPorts } from './loads.ts';
import type { Outage } from './outage.ts';
import type { Source } from './source.ts';
import type { Warmed, WarmParts } from './warm.ts';

export interface WarmingCache<K extends string> {
  readonly name: string;
  readonly maxBatch: number;
  readonly loadTimeoutMs: number;
  readonly readTimeoutMs: number;
  readonly store: CacheStore;
  readonly outage: Outage;
  readonly packing: Packing;
  readonly source: Source;
  readonly ports: FlightPorts;
  /** @throws BreakwaterError `CACHE_KEY_INVALID` */
  keyOf(id: K): string;
  warm(ids: readonly K[], permit: Permit): Promise<Warmed[]>;
}

export function warmPartsOf<K extends string>(cache: WarmingCache<K>): WarmParts<K> {
  const { name, store, outage, packing, source, ports, readTimeoutMs: timeoutMs } = cache;
  return {
    name,
    maxBatch: cache.maxBatch,
    scheduler: ports.scheduler,
    nowMs: () => ports.clock.now(),
    missing: async (ids) => {
      const keys = ids.map((id) => cache.keyOf(id));
      try {
        const found = await store.read(keys, { lease: false, timeoutMs });
        outage.succeeded();
        return ids.filter((_, index) => {
          const one = found[index]!;
          return one.kind === 'miss' || !packing.isFresh(one);
        });
      } catch (error) {
        outage.failed(ports.clock.now(), error);
        throw error;
      }
    },
    load: async (ids, signal) => {
      let warmed: Warmed[] | null = null;
      const request = {
        priority: 'background',
        hardTimeoutMs: cache.loadTimeoutMs + timeoutMs,
        deadlineMs: cache.loadTimeoutMs + timeoutMs + source.queueTimeoutMs,
        signal,
      } as const;
      const inSlot = async (slot: { readonly signal: AbortSignal }): Promise<void> => {
        const permit: Permit = { signal: slot.signal, calls: [], error: undefined };
        warmed = await cache.warm(ids, permit);
        // For the guard, which counts it.
        if (permit.error !== undefined) throw permit.error;
      };
      try {
        await source.guard.run(inSlot, request);
      } catch (error) {
        if (signal.aborted || error instanceof GuardShedError || error instanceof SourceBusyError) throw error;
        return warmed ?? ids.map(() => ({ error }));
      }
      const cold = (warmed as Warmed[] | null)?.find((one) => isStoreAway(one));
      if (cold !== undefined) throw (cold as { readonly error: unknown }).error;
      return warmed ?? [];
    },
  };
}

function isStoreAway(one: Warmed): boolean {
  return typeof one !== 'string' && (one.error as { readonly code?: unknown } | null)?.code === 'STORE_UNAVAILABLE';
}

/**
 * What is to be warmed: the caller's ids, or what the source has of them.
 * @throws BreakwaterError `CACHE_OPTION_INVALID`, `CACHE_OPTION_UNKNOWN`
 */
export function idsToWarm<K extends string>(
  given: unknown,
  source: DataSource<unknown> | undefined,
  name: string,
  signal: AbortSignal | undefined,
): Iterable<K> | AsyncIterable<K> {
  const where = `warm of cache "${name}"`;
  if (typeof given === 'object' && given !== null) {
    if (Symbol.asyncIterator in given || Symbol.iterator in given) return given as Iterable<K>;
    checkNames(given, ['sql', 'after', 'page'], where);
    if (source?.ids !== undefined) {
      return source.ids(given as IdQuery, signal === undefined ? {} : { signal }) as AsyncIterable<K>;
    }
    throw invalid(where, 'an iterable of ids: the cache was declared with no source that can tell its ids', given);
  }
  throw invalid(where, 'an iterable of ids, or { sql }', given);
}
