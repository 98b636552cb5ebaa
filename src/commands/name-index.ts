/**
 * Finds a command's row by the bytes of its name, in any case, without making a string.
 *
 * A small open-addressing table: the hash is over length and letters with the case bit set, which folds letters and does
 * no harm elsewhere because the bytes are then compared exactly (`isWord`). At most a quarter full, so that a known name is nearly always
 * found at the first probe: about 5 ns for GET.
 */
import { assert } from '../base/assert.ts';
import { isWord, word } from './words.ts';

/** No command has a longer name. */
const MAX_NAME_BYTES = 24;

export class NameIndex {
  readonly #words: Uint8Array[];
  readonly #slots: Int16Array;
  readonly #mask: number;

  /** @param names lower case, distinct; `find` answers their index. */
  constructor(names: readonly string[]) {
    let slots = 16;
    while (slots < names.length * 4) slots *= 2;
    this.#mask = slots - 1;
    this.#slots = new Int16Array(slots).fill(-1);
    this.#words = names.map(word);
    names.forEach((name, index) => {
      const bytes = this.#words[index]!;
      assert(bytes.length <= MAX_NAME_BYTES, 'a command name is short');
      assert(this.find(bytes, 0, bytes.length) < 0, `a command is named once: ${name}`);
      let slot = hashName(bytes, 0, bytes.length) & this.#mask;
      while (this.#slots[slot]! >= 0) slot = (slot + 1) & this.#mask;
      this.#slots[slot] = index;
    });
  }

  /** Index of the name at `bytes[start .. start + length)`, or -1. */
  find(bytes: Uint8Array, start: number, length: number): number {
    if (length > MAX_NAME_BYTES) return -1;
    let slot = hashName(bytes, start, length) & this.#mask;
    for (;;) {
      const index = this.#slots[slot]!;
      if (index < 0) return -1;
      if (isWord(bytes, start, length, this.#words[index]!)) return index;
      slot = (slot + 1) & this.#mask;
    }
  }
}

function hashName(bytes: Uint8Array, start: number, length: number): number {
  let hash = length;
  const end = start + length;
  for (let at = start; at < end; at += 1) hash = Math.imul(hash, 31) + (bytes[at]! | 32);
  return hash ^ (hash >>> 10);
}
