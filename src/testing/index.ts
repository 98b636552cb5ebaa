/**
 * `breakwater/testing`: what applications test their own code with. Works under any test runner, since it needs none.
 */
export { SeededRandom } from '../base/random.ts';
export { TestClock } from './clock.ts';
export { createTestBreakwater, type TestBreakwater, type TestBreakwaterOptions } from './create.ts';
export { Faults, type StoreOperation } from './faults.ts';
export { type HeldLoad, TestSource } from './loader.ts';
export { StaleChecker } from './no-stale.ts';
export { type RunningTestNode, startTestNode, TestNode, type TestNodeOptions } from './node.ts';
