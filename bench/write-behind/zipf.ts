/** Ranks 0..COUNTERS-1 with weight 1 / (rank + 1). */
export const COUNTERS = 10_000;

export function zipf(chance: () => number): () => number {
  const sums = new Float64Array(COUNTERS);
  let sum = 0;
  for (let i = 0; i < COUNTERS; i += 1) {
    sum += 1 / (i + 1);
    sums[i] = sum;
  }
  return () => {
    const wanted = chance() * sum;
    let [low, high] = [0, COUNTERS - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sums[middle]! < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  };
}
