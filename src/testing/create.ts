/**
 * `createTestBreakwater`: the production library, every line of it, on a clock turned by hand, with chance from a seed and a store that breaks on command.
 */
import { SeededRandom } from '../base/random.ts';
import type { Breakwater } from '../cache/breakwater.ts';
import { type BreakwaterOptions, openBreakwater } from '../cache/create.ts';
import type { CodecChoice } from '../cache/types.ts';
import { TestClock } from './clock.ts';
import { Faults, FaultyStore } from './faults.ts';
import { TestNode } from './node.ts';

export interface TestBreakwaterOptions extends Omit<BreakwaterOptions, 'store'> {
  /** `'embedded'` (default), or a node in memory: Breakwaters with the same one are processes of one service. */
  readonly store?: 'embedded' | TestNode;
  /** Default: the node's, or a new one. */
  readonly clock?: TestClock;
  /** Of jitter, leases and early refreshes. Default 1. */
  readonly seed?: number;
}

export interface TestBreakwater<D extends CodecChoice = 'json'> {
  readonly bw: Breakwater<D>;
  readonly clock: TestClock;
  /** Between this Breakwater and its store; others on the same node are not touched. */
  readonly faults: Faults;
}

/** Opens a Breakwater for tests. Options as of `createBreakwater`; the advisor says nothing aloud. */
export function createTestBreakwater<D extends CodecChoice = 'json'>(
  options: TestBreakwaterOptions & { readonly defaults?: { readonly codec?: D } } = {},
): TestBreakwater<D> {
  const { store = 'embedded', clock: given, seed = 1, ...rest } = options;
  const node = store instanceof TestNode ? store : null;
  const clock = given ?? node?.clock ?? new TestClock();
  if (node !== null && clock !== node.clock) {
    throw new TypeError("cannot use a clock beside the node's: give both the same");
  }
  const { scheduler } = clock;
  const faults = new Faults();
  const bw = openBreakwater<D>(
    { advice: false, ...rest, store: node === null ? 'embedded' : 'breakwater://memory:7379' },
    { clock: clock.clock, scheduler, random: new SeededRandom(seed) },
    { around: (inner) => new FaultyStore(inner, faults, scheduler), ...(node !== null && { dial: node.dial }) },
  );
  return { bw, clock, faults };
}
