/**
 * Zipf-distributed ranks: the shape of what people ask for. Rank k (from 0) comes up in proportion to 1 / (k + 1)^s; a few
 * keys take most requests and a long tail takes the rest, which is why caches work and why the tail is their hard part.
 *
 * Rejection-inversion (Hörmann and Derflinger, "Rejection-inversion to generate variates from monotone discrete
 * distributions", ACM TOMACS 1996): the continuous density x^-s is inverted in closed form and the difference to the step
 * function rejected. Exact for every exponent and n, O(1) a draw (fewer than 1.2 tries on average), no tables.
 * Not the generator of YCSB (Gray et al., SIGMOD '94): that one sums n terms first, fails at s = 1, and is only
 * approximate beyond the second rank.
 *
 * References for exponents: YCSB uses 0.99; Twitter's clusters lie between 1 and 2 (Yang et al., OSDI '20).
 */
import { assert } from './assert.ts';
import type { Random } from './random.ts';

export class Zipf {
  readonly #items: number;
  readonly #exponent: number;
  readonly #random: Random;
  /** The integral of the density at 1.5 less the whole first step: where the inverted range begins. */
  readonly #low: number;
  /** The integral at n + 0.5: where it ends. */
  readonly #high: number;
  /** Below this distance to the right of a step nothing needs to be rejected. */
  readonly #sure: number;

  /** Ranks in [0, `items`), `exponent` > 0. O(1). */
  constructor(items: number, exponent: number, random: Random) {
    assert(Number.isSafeInteger(items) && items >= 1, 'a Zipf distribution needs at least one item');
    assert(exponent > 0 && Number.isFinite(exponent), 'a Zipf exponent is a positive number');
    this.#items = items;
    this.#exponent = exponent;
    this.#random = random;
    this.#low = this.#integral(1.5) - 1;
    this.#high = this.#integral(items + 0.5);
    this.#sure = 2 - this.#inverse(this.#integral(2.5) - this.#density(2));
  }

  /** The next rank, an integer in [0, items); 0 is the most popular. */
  next(): number {
    for (;;) {
      const u = this.#high + this.#random.nextFloat() * (this.#low - this.#high);
      const x = this.#inverse(u);
      const k = Math.min(this.#items, Math.max(1, Math.floor(x + 0.5)));
      if (k - x <= this.#sure || u >= this.#integral(k + 0.5) - this.#density(k)) return k - 1;
    }
  }

  #density(x: number): number {
    return Math.exp(-this.#exponent * Math.log(x));
  }

  /** The integral of x^-s, written so that it passes smoothly through s = 1, where it is the logarithm. */
  #integral(x: number): number {
    const log = Math.log(x);
    return expm1Over((1 - this.#exponent) * log) * log;
  }

  #inverse(y: number): number {
    const t = Math.max(-1, y * (1 - this.#exponent));
    return Math.exp(log1pOver(t) * y);
  }
}

/** expm1(x) / x, by its series near 0. */
function expm1Over(x: number): number {
  return Math.abs(x) > 1e-8 ? Math.expm1(x) / x : 1 + x * 0.5 * (1 + (x / 3) * (1 + 0.25 * x));
}

/** log1p(x) / x, by its series near 0. */
function log1pOver(x: number): number {
  return Math.abs(x) > 1e-8 ? Math.log1p(x) / x : 1 - x * (0.5 - x * (1 / 3 - 0.25 * x));
}
