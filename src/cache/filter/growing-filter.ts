/**
 * A filter that need not know beforehand how many keys will come (Almeida, Baquero, Preguica and Hutchison, Scalable Bloom Filters,
 * 2007): when a layer has taken the keys it was made for, another one of twice the size is put on top, with half the rate of false positives. A
 * key is perhaps in when any layer says so. The rates form a geometric series, so that together they stay below the wanted one however far it
 * grows:  f/2 + f/4 + f/8 + ... <= f.
 *
 * A key that is perhaps in already is not added again: repeated adds cost nothing, and the count of keys is right but for the false positives.
 *
 * Memory is bounded. Past the bound no layer is added, the last one takes all further keys, and the rate of false positives rises
 * towards 1: `saturated` says so. It never says "certainly not" of a key that was added.
 */
import { BLOCK_BYTES, BlockFilter } from './block-filter.ts';
import type { KeyHash } from './key-hash.ts';

/** Growth of a layer's size and shrinking of its rate, over the one below. */
const GROWTH = 2;
const TIGHTENING = 0.5;

interface Layer {
  readonly filter: BlockFilter;
  /** For how many keys it was made. */
  readonly capacity: number;
  readonly falsePositiveRate: number;
  keys: number;
}

export class GrowingFilter {
  readonly #maxBytes: number;
  readonly #layers: Layer[];
  #keys = 0;
  #sizeBytes: number;
  #saturated = false;

  /**
   * @param expectedKeys for how many keys the first layer is made; past that it grows
   * @param falsePositiveRate all layers together, until it is saturated
   * @param maxBytes bound of all layers (at least two blocks, 64 bytes); the first one is made smaller if need be
   */
  constructor(expectedKeys: number, falsePositiveRate: number, maxBytes: number) {
    this.#maxBytes = maxBytes;
    const rate = falsePositiveRate * TIGHTENING;
    const wanted = BlockFilter.sizeBytes(expectedKeys, rate);
    // Less a block, since sizes are rounded up to whole ones.
    const share = wanted <= maxBytes ? 1 : (maxBytes - BLOCK_BYTES) / wanted;
    const capacity = Math.max(1, Math.floor(expectedKeys * share));
    this.#layers = [newLayer(capacity, rate)];
    this.#sizeBytes = this.#layers[0]!.filter.sizeBytes;
  }

  /** Keys added, each once, but for those that looked as if they were in already. */
  get keys(): number {
    return this.#keys;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get layers(): number {
    return this.#layers.length;
  }

  /** More keys than it has room for: the rate of false positives is above the wanted one and rises. */
  get saturated(): boolean {
    return this.#saturated;
  }

  /** Whether the hashed key may have been added. False is certain. */
  has(hash: KeyHash): boolean {
    // The largest layer is the last one.
    for (let index = this.#layers.length - 1; index >= 0; index -= 1) {
      if (this.#layers[index]!.filter.has(hash.high, hash.low)) return true;
    }
    return false;
  }

  add(hash: KeyHash): void {
    if (this.has(hash)) return;
    let top = this.#layers[this.#layers.length - 1]!;
    if (top.keys >= top.capacity && !this.#saturated) top = this.#grow(top);
    top.filter.add(hash.high, hash.low);
    top.keys += 1;
    this.#keys += 1;
  }

  /** The chance that a key which was never added is answered "perhaps", read off the bits. */
  falsePositiveRate(): number {
    let allSayNo = 1;
    for (const { filter } of this.#layers) allSayNo *= 1 - filter.falsePositiveRate();
    return 1 - allSayNo;
  }

  #grow(top: Layer): Layer {
    const capacity = top.capacity * GROWTH;
    const rate = top.falsePositiveRate * TIGHTENING;
    if (this.#sizeBytes + BlockFilter.sizeBytes(capacity, rate) > this.#maxBytes) {
      this.#saturated = true;
      return top;
    }
    const layer = newLayer(capacity, rate);
    this.#layers.push(layer);
    this.#sizeBytes += layer.filter.sizeBytes;
    return layer;
  }
}

function newLayer(capacity: number, falsePositiveRate: number): Layer {
  return { filter: new BlockFilter(capacity, falsePositiveRate), capacity, falsePositiveRate, keys: 0 };
}
