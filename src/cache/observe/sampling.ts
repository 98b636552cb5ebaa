/**
 * The sampler's way to the source and to the cache: asks the loader for one id behind the guard, at background priority, and brings its answer into the
 * form in which the cache gives values.
 */
import type { Random } from '../../base/random.ts';
import type { Scheduler } from '../../base/scheduler.ts';
import { callLoader, readAnswer } from '../load.ts';
import type { Settings } from '../options.ts';
import type { Source } from '../source.ts';
import type { Loader } from '../types.ts';
import { Sampler } from './sampler.ts';
import type { Watch } from './watch.ts';

interface Ports {
  readonly watch: Watch;
  readonly ports: { readonly random: Random; readonly scheduler: Scheduler };
}

const NOTHING_STALE: ReadonlyMap<string, unknown> = new Map();

/** null where hits are not sampled. @param cached what the cache would serve of an id now; undefined when it would load */
export function samplerOf<K extends string, V>(
  cache: string,
  load: Loader<K, V>,
  settings: Settings,
  { watch, ports }: Ports,
  source: Source,
  cached: (id: string) => Promise<unknown>,
): Sampler | null {
  const { sample, loadTimeoutMs } = settings;
  if (sample === null) return null;
  const ask = async (id: string): Promise<unknown> => {
    const ids = [id as K];
    const result = await source.guard.run(({ signal }) => callLoader(load, ids, { signal, stale: NOTHING_STALE }), {
      priority: 'background',
      hardTimeoutMs: loadTimeoutMs,
      deadlineMs: loadTimeoutMs + source.queueTimeoutMs,
    });
    const loaded = readAnswer(result, ids, cache).loaded[0]!;
    if (loaded.kind === 'error') throw loaded.error;
    return loaded.kind === 'value' ? settings.packing.codec.encode(loaded.value, `${cache}:${id}`).value : null;
  };
  const { random, scheduler } = ports;
  return new Sampler(sample, { cache, watch, random, scheduler, probes: { ask, cached } });
}
