/**
 * What L1 evicts: lazy W-TinyLFU, as the engine does (engine/policies/tinylfu.ts tells it at length; Einziger, Friedman and Manes, 2017).
 *
 *     new --> [ window, first in first out ] --oldest--> contest --winner--> [ main, CLOCK of 2 bits ]
 *                                                           `---- loser: evicted
 *
 * A new entry stays in the window first, so that a burst of uses counts. At its end it must beat main's CLOCK victim by frequency. So a pass over a
 * million cold keys goes through the window and leaves main alone. A hit moves nothing: it counts in a small integer of the entry,
 * and the sketch learns of an entry's uses when it is evicted:
 *
 *     frequency = uses since it came in + what the sketch remembers of its earlier stays
 *
 * How large the window should be depends on the load; it follows the density of hits: whichever queue has more hits per byte it
 * holds, grows.
 *
 * Why not S3-FIFO, which is simpler and was here before: it measured 45.2 % on the mean of 67 traces and sizes against 47.6 % here, and
 * nothing at all on a loop where this finds a quarter (bench/library/l1-hit-ratio.ts). Why not the engine's own class: that one walks logs of
 * segments off the heap, this one lists of objects.
 *
 * Sizes: shares and densities are of bytes. The contest compares uses alone, whatever the sizes: an L1 is there to answer often.
 */
import { assert } from '../base/assert.ts';
import { type L1Entry, Queue } from './l1-queue.ts';
import { hashId, L1Sketch } from './l1-sketch.ts';

const CLOCK_MASK = 3;
const USE = 4;
const USES_SHIFT = 2;
const USES_MAX = 15;

const START_SHARE = 0.2;
const MIN_SHARE = 0.01;
const MAX_SHARE = 0.8;
/** The engine's steps, measured there. */
const SHARE_STEP = 0.05;
const IDLE_PERIODS = 8;
/** Main below its share by more than this takes an entry of the window without a contest, one for each that comes in. */
const MAIN_SLACK = 0.98;
/** Rounds that CLOCK may give to entries for one that comes in: bounds what a single `put` can cost. */
const MOST_MOVES = 32;

export class L1Eviction<V> {
  readonly window = new Queue<V>();
  readonly main = new Queue<V>();
  /** The window's share of the bytes. */
  windowShare = START_SHARE;
  readonly #sketch = new L1Sketch();
  /** False until L1 is half full: before, nothing is compared. */
  #counting = false;
  /** True once room was asked for: from then on an entry comes into main by contest. */
  #full = false;
  #moves = 0;
  #admissions = 0;
  #windowHits = 0;
  #mainHits = 0;
  #stores = 0;
  #idlePeriods = 0;

  /** Of the entries. */
  get bytes(): number {
    return this.window.bytes + this.main.bytes;
  }

  get sketchBytes(): number {
    return this.#sketch.bytes;
  }

  sketchBytesFor(entries: number): number {
    return this.#sketch.bytesFor(entries);
  }

  onHit(entry: L1Entry<V>): void {
    const { recency } = entry;
    let next = recency;
    if ((recency & CLOCK_MASK) < CLOCK_MASK) next += 1;
    if (recency >>> USES_SHIFT < USES_MAX) next += USE;
    // A hot entry stands at both maxima and is not written again.
    if (next !== recency) entry.recency = next;
    if (!this.#counting) return;
    if (entry.queue === this.window) this.#windowHits += 1;
    else this.#mainHits += 1;
  }

  /**
   * A new entry, for which there is room.
   * @param fullness of L1 with it, 0 to 1, by whichever bound is nearer
   */
  add(entry: L1Entry<V>, fullness: number): void {
    entry.recency = 0;
    const { window, main } = this;
    this.#sketch.growFor(window.count + main.count + 1);
    if (this.#counting) this.#sketch.count(hashId(entry.id));
    this.#stores += 1;
    window.append(entry);
    if (!this.#full) this.#fillMain(this.bytes / fullness);
    this.#counting ||= fullness >= 0.5;
    if (this.#counting && this.#windowHits + this.#mainHits + this.#stores > (window.count + main.count) / fullness) {
      this.#adapt();
    }
  }

  /** Before any number of `relieve`. */
  beginRelief(): void {
    this.#full = true;
    this.#moves = MOST_MOVES;
    this.#admissions = 1;
  }

  /** The next step toward room: the entry to evict, out of its queue already, or null when one was moved: call again. */
  relieve(): L1Entry<V> | null {
    const { window, main } = this;
    const candidate = window.oldest;
    if (candidate !== null && window.bytes > this.windowShare * this.bytes) return this.#contest(candidate);
    const victim = main.oldest;
    if (victim !== null) return this.#spare(victim) ? null : this.#evict(victim);
    assert(candidate !== null, 'something is over the bounds, so something is there');
    return this.#evict(candidate);
  }

  clear(): void {
    this.window.clear();
    this.main.clear();
    this.#counting = false;
    this.#full = false;
    this.#windowHits = 0;
    this.#mainHits = 0;
    this.#stores = 0;
  }

  /** While L1 fills, what is beyond the window's share becomes main. */
  #fillMain(capacityBytes: number): void {
    const { window } = this;
    while (window.bytes > this.windowShare * capacityBytes && window.count > 1) this.#move(window.oldest!);
  }

  #adapt(): void {
    const windowDensity = this.#windowHits / Math.max(1, this.window.bytes);
    const mainDensity = this.#mainHits / Math.max(1, this.main.bytes);
    this.#idlePeriods = this.#windowHits + this.#mainHits === 0 ? this.#idlePeriods + 1 : 0;
    if (windowDensity > mainDensity || this.#idlePeriods > IDLE_PERIODS) {
      this.windowShare = Math.min(MAX_SHARE, this.windowShare + SHARE_STEP);
    } else if (mainDensity > windowDensity) {
      this.windowShare = Math.max(MIN_SHARE, this.windowShare - SHARE_STEP);
    }
    this.#windowHits = 0;
    this.#mainHits = 0;
    this.#stores = 0;
  }

  /** The window's oldest entry against main's victim. */
  #contest(candidate: L1Entry<V>): L1Entry<V> | null {
    const { main } = this;
    if (this.#admissions > 0 && main.bytes < (1 - this.windowShare) * this.bytes * MAIN_SLACK) {
      // Main has not its share yet: the window has just become smaller.
      this.#admissions -= 1;
      this.#admit(candidate);
      return null;
    }
    const victim = main.oldest;
    if (victim === null) return this.#evict(candidate);
    if (this.#spare(victim)) return null;
    if (frequency(candidate, this.#sketch) <= frequency(victim, this.#sketch)) return this.#evict(candidate);
    this.#admit(candidate);
    return this.#evict(victim);
  }

  /** True when CLOCK gives main's oldest entry another round. */
  #spare(entry: L1Entry<V>): boolean {
    if ((entry.recency & CLOCK_MASK) === 0 || this.#moves <= 0) return false;
    this.#moves -= 1;
    entry.recency -= 1;
    this.#move(entry);
    return true;
  }

  #admit(candidate: L1Entry<V>): void {
    candidate.recency &= ~CLOCK_MASK;
    this.#move(candidate);
  }

  /** To the newest end of main. */
  #move(entry: L1Entry<V>): void {
    entry.queue?.remove(entry);
    this.main.append(entry);
  }

  /** Out of its queue, and tells the sketch of the uses that only the entry knew. */
  #evict(entry: L1Entry<V>): L1Entry<V> {
    const uses = entry.recency >>> USES_SHIFT;
    if (uses > 0) {
      const hash = hashId(entry.id);
      for (let use = 0; use < uses; use += 1) this.#sketch.count(hash);
    }
    entry.queue?.remove(entry);
    return entry;
  }
}

function frequency<V>(entry: L1Entry<V>, sketch: L1Sketch): number {
  return (entry.recency >>> USES_SHIFT) + sketch.estimate(hashId(entry.id));
}
