/**
 * What a declaration says of its database: where rows come from, where they go, and how. `source` is short for the two members of a database that has both;
 * saying one thing twice is refused, since one of the two would have to be ignored.
 */
import { BreakwaterError } from '../../base/errors.ts';
import type { CacheStore } from '../../stores/store.ts';
import { invalid } from '../checks.ts';
import type { Loader, Sink } from '../data-source.ts';
import type { CacheOptions, WritePolicy } from '../types.ts';
import { type BehindOptions, type BehindSettings, behindSettings } from './behind-options.ts';

export interface Declared<K extends string, V> {
  readonly load: Loader<K, V>;
  readonly policy: WritePolicy;
  /** null: none was declared. */
  readonly sink: Sink<V> | null;
  /** null: another policy. */
  readonly behind: BehindSettings | null;
}

const POLICIES: readonly WritePolicy[] = ['aside', 'through', 'behind'];

/** @throws BreakwaterError `CACHE_OPTION_INVALID` */
export function declaredSource<K extends string, V, A>(
  { load, source, sink, policy = 'aside', behind, codec }: CacheOptions<K, V, A>,
  name: string,
  shared: { readonly store: CacheStore; readonly behind: BehindOptions },
): Declared<K, V> {
  const where = `cache "${name}"`;
  if (load !== undefined && source !== undefined) {
    throw new BreakwaterError(
      'CACHE_OPTION_INVALID',
      `cannot use load and source of ${where} both: the loader of source is its load`,
    );
  }
  if (source !== undefined && (typeof source !== 'object' || source === null || typeof source.load !== 'function')) {
    throw invalid(`source of ${where}`, 'a source with a load', source);
  }
  // Loaders of sources are asked for the ids of any cache.
  const loader = source === undefined ? load : (source.load as unknown as Loader<K, V>);
  if (typeof loader !== 'function') throw invalid(`load of ${where}`, 'a function', load);
  if (!POLICIES.includes(policy)) throw invalid(`policy of ${where}`, POLICIES.join(', '), policy);
  const own: Sink<V> | undefined = sink ?? (source !== undefined && 'sink' in source ? source.sink : undefined);
  if (sink !== undefined && policy === 'aside') {
    throw new BreakwaterError(
      'CACHE_OPTION_INVALID',
      `cannot use sink of ${where} under policy "aside", where write(id, fn) changes the database itself; say policy: 'through' or 'behind'`,
    );
  }
  if (behind !== undefined && policy !== 'behind') {
    throw new BreakwaterError(
      'CACHE_OPTION_INVALID',
      `cannot use behind of ${where} under policy "${policy}": it is about the queue of policy: 'behind'`,
    );
  }
  if (policy === 'aside') return { load: loader, policy, sink: null, behind: null };
  if (typeof own?.upsert !== 'function' || typeof own.delete !== 'function') {
    throw new BreakwaterError(
      'CACHE_OPTION_INVALID',
      `cannot use policy "${policy}" of ${where} without a sink to write to: give a sink, or a source that has one (a table with a unique key)`,
    );
  }
  if (policy === 'through') return { load: loader, policy, sink: own, behind: null };
  const { ordered } = own;
  if (
    typeof ordered?.apply !== 'function' ||
    typeof ordered.applied !== 'function' ||
    typeof ordered.epoch !== 'function' ||
    typeof ordered.target !== 'function'
  ) {
    throw new BreakwaterError(
      'CACHE_OPTION_INVALID',
      `cannot use policy "behind" of ${where}: its sink has no ordered writes (sink.ordered), so a write that comes late would replace a newer one`,
    );
  }
  if (shared.store.counters === undefined) {
    throw new BreakwaterError(
      'CACHE_OPTION_INVALID',
      `cannot use policy "behind" of ${where}: the ${shared.store.kind} store has no counters, by which the writes of several processes are put in order`,
    );
  }
  if (typeof codec === 'object' && codec !== null) {
    throw new BreakwaterError(
      'CACHE_OPTION_INVALID',
      `cannot use policy "behind" of ${where} with a codec of one's own: what is queued elsewhere is known by its entry, which must decode to what a loader brings; use 'json' or 'msgpack'`,
    );
  }
  const settings = behindSettings(behind ?? {}, shared.behind, `behind of ${where}`);
  if (settings.queue === 'streams' && shared.store.queues === undefined) {
    throw new BreakwaterError(
      'CACHE_OPTION_INVALID',
      `cannot use queue: 'streams' of ${where}: the ${shared.store.kind} store keeps nothing on disk; use Redis or Valkey, or a directory`,
    );
  }
  return { load: loader, policy, sink: own, behind: settings };
}
