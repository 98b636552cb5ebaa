/** What copies said of a call's keys and what owners said, put together (`near-reads.ts`). Answers stand in the order of the groups' keys. */
import type { ReadHit, ReadResult } from '../store.ts';
import type { Group } from './slot-groups.ts';
import { isUnasked } from './words.ts';

/** The owner's word where it was asked, a copy's where not. */
export function preferred(
  owned: readonly ReadResult[] | null,
  found: readonly (ReadHit | null)[],
  nobody: ReadResult,
): ReadResult[] {
  return found.map((hit, i): ReadResult => {
    const own = owned?.[i] ?? nobody;
    return hit !== null && isUnasked(own) ? hit : own;
  });
}

/** What copies had, and of the `rest` what its owner said; null: nothing. */
export function merged(
  groups: readonly Group<string>[],
  found: readonly (ReadHit | null)[],
  rest: readonly Group<string>[],
  results: readonly ReadResult[] | null,
  nobody: ReadResult,
): ReadResult[] {
  const byKey = new Map<string, ReadResult>();
  let at = 0;
  for (const { items } of rest) {
    for (const key of items) {
      byKey.set(key, results?.[at] ?? nobody);
      at += 1;
    }
  }
  at = 0;
  return groups.flatMap(({ items }) =>
    items.map((key) => {
      const hit = found[at]!;
      at += 1;
      return hit ?? byKey.get(key)!;
    }),
  );
}

/** The groups of what was not found. */
export function missing(groups: readonly Group<string>[], found: readonly (ReadHit | null)[]): Group<string>[] {
  let at = 0;
  return groups.flatMap(({ slot, items, places }) => {
    const rest: Group<string> = { slot, items: [], places: [] };
    items.forEach((key, i) => {
      if (found[at] === null) {
        rest.items.push(key);
        rest.places.push(places[i]!);
      }
      at += 1;
    });
    return rest.items.length === 0 ? [] : [rest];
  });
}

/** Answers to where their keys stand in the call. */
export function put(results: ReadResult[], groups: readonly Group<string>[], found: readonly ReadResult[]): void {
  let at = 0;
  for (const { places } of groups) {
    for (const place of places) {
      results[place] = found[at]!;
      at += 1;
    }
  }
}
