/**
 * A few of many ranges, as numbers in their order: the ones that a member owns, or copies. A cluster of a thousand members has 16,384 ranges, and each of them has to do with some thirty:
 * what happens at every tick looks at those. In their order, because the order in which a machine says things is part of what a seed must reproduce.
 */

/** Where `number` stands, or belongs. */
export function placeOf(sorted: readonly number[], number: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! < number) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Adds it if it is not there. O(length). */
export function put(sorted: number[], number: number): void {
  const at = placeOf(sorted, number);
  if (sorted[at] !== number) sorted.splice(at, 0, number);
}

/** Takes it out if it is there. O(length). */
export function drop(sorted: number[], number: number): void {
  const at = placeOf(sorted, number);
  if (sorted[at] === number) sorted.splice(at, 1);
}
