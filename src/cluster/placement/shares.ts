/**
 * How much of `total` falls to each weight when nobody may take more than `most`: in proportion to the weights, and what is above `most`
 * goes to the others in the same proportion (water filling).
 *
 * With three members, three copies and weights 1,000 : 1 : 1 each holds every range, whatever the weights: there is nobody else. That is
 * how one primary with replicas is a matter of weights and no mode of its own.
 *
 * @param weights each above 0
 * @returns shares that add up to min(total, most * weights.length). O(n log n)
 */
export function sharesOf(weights: readonly number[], total: number, most: number): Float64Array {
  const shares = new Float64Array(weights.length);
  const heaviestFirst = weights.map((_, index) => index).sort((a, b) => weights[b]! - weights[a]! || a - b);
  let leftTotal = total;
  let leftWeight = weights.reduce((sum, weight) => sum + weight, 0);
  let at = 0;
  for (; at < heaviestFirst.length; at += 1) {
    const index = heaviestFirst[at]!;
    if ((leftTotal * weights[index]!) / leftWeight < most) break;
    shares[index] = most;
    leftTotal = Math.max(0, leftTotal - most);
    leftWeight -= weights[index]!;
  }
  // Added up anew: what is left of a sum after a million was taken from it is off by more than the light weights are.
  const rest = heaviestFirst.slice(at);
  const restWeight = rest.reduce((sum, index) => sum + weights[index]!, 0);
  for (const index of rest) shares[index] = Math.min(most, (leftTotal * weights[index]!) / restWeight);
  return shares;
}
