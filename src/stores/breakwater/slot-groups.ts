/** A call over many keys, cut by slots, and its answers put together again. */
import { BreakwaterError } from '../../base/errors.ts';
import type { Outcome } from '../../client/cluster-outcome.ts';
import { slotOf } from '../../hash/slot.ts';

const encoder = new TextEncoder();

/** Things that go in one command, and where they stand in the call. */
export interface Group<T> {
  readonly slot: number;
  readonly items: T[];
  readonly places: number[];
}

export function slotOfText(key: string): number {
  const bytes = encoder.encode(key);
  return slotOf(bytes, 0, bytes.length);
}

export function bySlot<T>(items: readonly T[], keyOf: (item: T) => string): Group<T>[] {
  const groups = new Map<number, Group<T>>();
  items.forEach((item, place) => {
    const slot = slotOfText(keyOf(item));
    const group = groups.get(slot);
    if (group === undefined) groups.set(slot, { slot, items: [item], places: [place] });
    else {
      group.items.push(item);
      group.places.push(place);
    }
  });
  return [...groups.values()];
}

/** What the outcomes say of each item; `otherwise` of those whose owner did not answer. */
export function inOrder<T, R>(
  count: number,
  groups: readonly Group<T>[],
  outcomes: readonly Outcome[],
  read: (outcome: Exclude<Outcome, BreakwaterError>, count: number) => R[],
  otherwise: R,
): R[] {
  const results = new Array<R>(count).fill(otherwise);
  groups.forEach(({ places }, i) => {
    const outcome = outcomes[i]!;
    if (outcome instanceof BreakwaterError) return;
    const found = read(outcome, places.length);
    places.forEach((place, at) => {
      results[place] = found[at]!;
    });
  });
  return results;
}
