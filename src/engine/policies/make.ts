/** The policy that an option names, and how many queues of the log it needs before it is made. */
import type { Arena } from '../arena.ts';
import type { EvictionPolicy } from '../face.ts';
import type { Records } from '../records.ts';
import type { Sketch } from '../sketch.ts';
import { Fifo } from './fifo.ts';
import { Lru } from './lru.ts';
import { NoEviction } from './noeviction.ts';
import type { Policy } from './policy.ts';
import { RandomEviction } from './random.ts';
import { TinyLfu } from './tinylfu.ts';
import { TtlEviction } from './ttl.ts';

export function queuesOf(eviction: EvictionPolicy, arena: Arena): number {
  if (eviction === 'lru') return lruClasses(arena);
  return eviction === 'tinylfu' || eviction === 'lfu' ? 2 : 1;
}

export function makePolicy(eviction: EvictionPolicy, records: Records, sketch: Sketch, seed: number): Policy {
  switch (eviction) {
    case 'tinylfu':
    case 'lfu':
      return new TinyLfu(records, sketch, eviction);
    case 'lru':
      return new Lru(records, lruClasses(records.arena));
    case 'fifo':
      return new Fifo(records);
    case 'random':
      return new RandomEviction(records, seed);
    case 'ttl':
      return new TtlEviction(records);
    case 'noeviction':
      return new NoEviction();
  }
}

/** Age classes of `lru`: eight, fewer where segments are few. */
function lruClasses(arena: Arena): number {
  return arena.segmentCount >= 256 ? 8 : 4;
}
