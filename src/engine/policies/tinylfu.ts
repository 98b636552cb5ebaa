/**
 * Lazy W-TinyLFU (Einziger, Friedman and Manes, 2017, made to fit logs): the default, and `lfu` with a small fixed window.
 *
 *     new ──> window (first in, first out) ──oldest──> contest ──winner──> main (CLOCK, 2 bits)
 *                                                         └──── loser: evicted
 *
 * A new entry first stays in the window, so that a burst of uses counts. When it reaches the window's end it must beat
 * main's CLOCK victim by frequency, as the sketch estimates it; the loser is evicted. So one pass over a million cold keys
 * goes through the window and leaves main alone. *Lazy*: a hit only counts (sketch, two bits of the record) and moves
 * nothing; W-TinyLFU's LRU lists became logs.
 *
 * How large the window should be depends on the load: recency wants a large one, frequency a small one. It follows the
 * *density of hits*, see `#adapt`.
 */
import { CHUNK_MASK, CHUNK_SHIFT } from '../arena.ts';
import { RECENCY_SHIFT } from '../entry.ts';
import type { Records } from '../records.ts';
import type { Sketch } from '../sketch.ts';
import type { Policy } from './policy.ts';

const WINDOW = 0;
const MAIN = 1;
const CLOCK_MAX = 3;

export class TinyLfu implements Policy {
  readonly name: 'tinylfu' | 'lfu';
  readonly queueCount = 2;
  readonly #records: Records;
  readonly #sketch: Sketch;
  readonly #adaptive: boolean;
  /** The window's share of the capacity. */
  windowShare: number;
  #counting = false;
  #moves = 0;
  #admissions = 0;
  #windowHits = 0;
  #mainHits = 0;

  constructor(records: Records, sketch: Sketch, name: 'tinylfu' | 'lfu') {
    this.#records = records;
    this.#sketch = sketch;
    this.name = name;
    this.#adaptive = name === 'tinylfu';
    this.windowShare = this.#adaptive ? 0.2 : 0.01;
  }

  onHit(words: Int32Array, at: number, ref: number, hash: number): void {
    const head = words[at]!;
    const clock = head >>> RECENCY_SHIFT;
    if (clock < CLOCK_MAX) words[at] = head + (1 << RECENCY_SHIFT);
    if (!this.#counting) return;
    this.#sketch.count(hash);
    if (this.#adaptive) {
      if (this.#records.queueOf(ref) === WINDOW) this.#windowHits += 1;
      else this.#mainHits += 1;
    }
  }

  onStore(words: Int32Array, at: number, ref: number, hash: number, isNew: boolean): void {
    if (isNew) {
      words[at] = words[at]! & 0x00ff_ffff;
      this.#sketch.growFor(this.#records.table.count);
      if (this.#counting) this.#sketch.count(hash);
    } else {
      this.onHit(words, at, ref, hash);
    }
  }

  beginRelief(moves: number): void {
    this.#moves = moves;
    this.#admissions = 1;
  }

  relieve(capacity: number): boolean {
    const records = this.#records;
    const { log } = records;
    const candidate = log.oldestLive(WINDOW);
    if (candidate !== 0 && records.reapIfGone(candidate)) return true;
    if (candidate !== 0 && (log.weight[WINDOW]! > this.windowShare * capacity || candidate === records.pinned)) {
      return this.#contest(candidate, capacity);
    }
    const victim = log.oldestLive(MAIN);
    if (victim === 0) {
      if (candidate === 0) return false;
      records.evict(candidate);
      return true;
    }
    if (!this.#spare(victim)) records.evict(victim);
    return true;
  }

  settle(capacity: number): void {
    const { log, arena } = this.#records;
    if (!this.#counting && log.total * 2 > capacity) this.#counting = true;
    const excess = log.weight[WINDOW]! - this.windowShare * capacity;
    if (excess <= 0 || log.total + log.weight[WINDOW]! * 0 > capacity) return;
    const oldest = log.oldest[WINDOW]!;
    if (oldest !== log.open[WINDOW] && arena.start[oldest] === 0) {
      if (excess >= arena.segmentWords) log.handOver(WINDOW, MAIN);
    } else {
      const ref = log.oldestLive(WINDOW);
      if (ref !== 0) this.#records.move(ref, MAIN);
    }
  }

  reset(): void {
    this.#counting = false;
  }

  /** The window's oldest entry against main's victim. */
  #contest(candidate: number, capacity: number): boolean {
    const records = this.#records;
    const { log } = records;
    if (candidate === records.pinned) {
      records.move(candidate, MAIN);
      return true;
    }
    // Main has not its share yet (the window has just become smaller): let a few in without a contest.
    if (this.#admissions > 0 && log.weight[MAIN]! < (1 - this.windowShare) * capacity * 0.98) {
      this.#admissions -= 1;
      this.#admit(candidate);
      return true;
    }
    const victim = log.oldestLive(MAIN);
    if (victim === 0) {
      records.evict(candidate);
      return true;
    }
    if (this.#spare(victim)) return true;
    if (this.#frequency(candidate) > this.#frequency(victim)) {
      records.evict(victim);
      this.#admit(candidate);
    } else {
      records.evict(candidate);
    }
    return true;
  }

  /** True when main's oldest entry is not a victim: it was gone, or CLOCK gives it another round. */
  #spare(ref: number): boolean {
    const records = this.#records;
    if (records.reapIfGone(ref)) return true;
    const words = records.arena.words[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    const head = words[at]!;
    if ((head >>> RECENCY_SHIFT !== 0 && this.#moves > 0) || ref === records.pinned) {
      this.#moves -= 1;
      if (head >>> RECENCY_SHIFT !== 0) words[at] = head - (1 << RECENCY_SHIFT);
      records.move(ref, MAIN);
      return true;
    }
    return false;
  }

  #admit(candidate: number): void {
    const words = this.#records.arena.words[candidate >>> CHUNK_SHIFT]!;
    const at = candidate & CHUNK_MASK;
    words[at] = words[at]! & 0x00ff_ffff;
    this.#records.move(candidate, MAIN);
  }

  #frequency(ref: number): number {
    return this.#sketch.estimate(this.#records.table.hashOf(ref));
  }
}
