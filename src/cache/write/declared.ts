/**
 * What a declaration says of its database: where rows come from, where they go, and how. `source` is short for the two members of a database that has both;
 * saying one thing twice is refused, since one of the two would have to be ignored.
 */
import { BreakwaterError } from '../../base/errors.ts';
import { invalid } from '../checks.ts';
import type { Sink } from '../data-source.ts';
import type { CacheOptions, Loader, WritePolicy } from '../types.ts';

export interface Declared<K extends string, V> {
  readonly load: Loader<K, V>;
  readonly policy: WritePolicy;
  /** null: none was declared. */
  readonly sink: Sink<V> | null;
}

const POLICIES: readonly WritePolicy[] = ['aside', 'through', 'behind'];

/** @throws BreakwaterError `CACHE_OPTION_INVALID` */
export function declaredSource<K extends string, V, A>(
  { load, source, sink, policy = 'aside' }: CacheOptions<K, V, A>,
  name: string,
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
  if (policy === 'aside') return { load: loader, policy, sink: null };
  if (typeof own?.upsert !== 'function' || typeof own.delete !== 'function') {
    throw new BreakwaterError(
      'CACHE_OPTION_INVALID',
      `cannot use policy "${policy}" of ${where} without a sink to write to: give a sink, or a source that has one (a table with a unique key)`,
    );
  }
  throw new BreakwaterError(
    'CACHE_OPTION_INVALID',
    `cannot use policy "${policy}" of ${where}: it needs a writer that this version does not have yet`,
  );
}
