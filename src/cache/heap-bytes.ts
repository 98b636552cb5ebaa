/**
 * How much of V8's heap a value takes that `JSON.parse` made: the measure by which L1 keeps to its bytes. 64 bits, no pointer compression,
 * as in Node.js. Read off V8's layouts and then measured (bench/library/l1-memory.ts fills L1s with mixes of values and compares the growth of the heap
 * after a collection with what L1 says that it holds; the test of it fails beyond 10 %).
 *
 *     object            header 24 + 8 a member; the map (hidden class) is shared by all of its shape
 *     large object      more than 128 members: a dictionary, 24 bytes a place, its places a power of two
 *     array             header 32, elements 16 + 8 each; numbers with a fraction lie in there unboxed until the array is frozen
 *     string            header 16 + characters of one byte or two, in steps of 8; empty and one-character strings are V8's own
 *     number            nothing as a small integer (31 bits and a sign), 16 otherwise
 *     true, false, null nothing
 *
 * What it does not see: that equal short strings are one string (`JSON.parse` interns those of up to ten characters), so text that repeats is
 * counted too high, never too low.
 */
import { FREEZE_VALUES } from './codec.ts';

const WORD = 8;
const OBJECT_HEADER = 24;
const ARRAY_HEADER = 32;
/** A map word and a length in front of elements or characters. */
const HEADER = 16;
const BOXED_NUMBER = 16;
/** `{}` comes with room for four members. */
const EMPTY_OBJECT = OBJECT_HEADER + 4 * WORD;
const MOST_FAST_MEMBERS = 128;
const DICTIONARY_PLACE = 3 * WORD;

/** @param isFrozen whether it was passed to `deepFreeze` */
export function heapBytes(value: unknown, isFrozen = FREEZE_VALUES): number {
  switch (typeof value) {
    case 'string':
      return stringBytes(value);
    case 'number':
      return isSmall(value) ? 0 : BOXED_NUMBER;
    case 'object':
      if (value === null) return 0;
      return Array.isArray(value) ? arrayBytes(value, isFrozen) : objectBytes(value, isFrozen);
    default:
      return 0;
  }
}

/** Also for ids: a string of V8's heap. */
export function stringBytes(text: string): number {
  const { length } = text;
  if (length < 2 && isOneByte(text)) return 0;
  return HEADER + aligned(isOneByte(text) ? length : 2 * length);
}

/** The elements of a plain array of numbers that no JSON made. */
export function numbersBytes(count: number): number {
  return count === 0 ? 0 : ARRAY_HEADER + HEADER + WORD * count;
}

function arrayBytes(values: readonly unknown[], isFrozen: boolean): number {
  if (values.length === 0) return ARRAY_HEADER;
  const bytes = ARRAY_HEADER + HEADER + WORD * values.length;
  if (!isFrozen && isAllNumbers(values)) return bytes;
  let members = 0;
  for (const member of values) members += heapBytes(member, isFrozen);
  return bytes + members;
}

function objectBytes(value: object, isFrozen: boolean): number {
  let members = 0;
  let named = 0;
  let numbered = 0;
  let last = 0;
  for (const [name, member] of Object.entries(value)) {
    members += heapBytes(member, isFrozen);
    if (isIndex(name)) {
      numbered += 1;
      last = Number(name);
    } else named += 1;
  }
  if (named === 0) members += EMPTY_OBJECT;
  else if (named <= MOST_FAST_MEMBERS) members += OBJECT_HEADER + WORD * named;
  else members += OBJECT_HEADER + HEADER + 5 * WORD + DICTIONARY_PLACE * placesFor(named);
  if (numbered === 0) return members;
  // Dense ones as in an array, others in a dictionary: whichever is the smaller.
  const dictionary = HEADER + 4 * WORD + DICTIONARY_PLACE * placesFor(numbered);
  return members + Math.min(HEADER + WORD * (last + 1), dictionary);
}

function placesFor(count: number): number {
  let places = 4;
  while (places < count * 1.5) places *= 2;
  return places;
}

/** Names that are array indices lie apart from the others, in ascending order. */
function isIndex(name: string): boolean {
  const first = name.charCodeAt(0);
  return first >= 48 && first <= 57 && `${Number(name) >>> 0}` === name;
}

/** All numbers, and one of them no small integer: V8 keeps such an array unboxed. */
function isAllNumbers(values: readonly unknown[]): boolean {
  for (const value of values) if (typeof value !== 'number') return false;
  return true;
}

function isSmall(value: number): boolean {
  return (value | 0) === value && !Object.is(value, -0);
}

/** Exact: one wide character makes the whole string wide. */
function isOneByte(text: string): boolean {
  for (let i = 0; i < text.length; i += 1) if (text.charCodeAt(i) > 0xff) return false;
  return true;
}

function aligned(bytes: number): number {
  return (bytes + 7) & ~7;
}

/**
 * What a Map of V8 takes, followed from outside: a table of `capacity` places of 28 bytes, doubled when its places are used up (deleted ones count
 * until then), halved when three quarters of them are empty. An entry costs 28 to 112 bytes of it, too much of a difference to guess.
 */
export class MapBytes {
  #capacity = 4;
  #present = 0;
  #deleted = 0;

  get bytes(): number {
    return 40 + 28 * this.#capacity;
  }

  /** With one more. */
  get bytesWithNext(): number {
    const isFull = this.#present + this.#deleted >= this.#capacity && this.#deleted < this.#capacity / 2;
    return 40 + 28 * (isFull ? 2 * this.#capacity : this.#capacity);
  }

  onAdd(): void {
    if (this.#present + this.#deleted >= this.#capacity) {
      if (this.#deleted < this.#capacity / 2) this.#capacity *= 2;
      this.#deleted = 0;
    }
    this.#present += 1;
  }

  onDelete(): void {
    this.#present -= 1;
    this.#deleted += 1;
    if (this.#capacity <= 4 || this.#present >= this.#capacity / 4) return;
    this.#capacity /= 2;
    this.#deleted = 0;
  }

  clear(): void {
    this.#capacity = 4;
    this.#present = 0;
    this.#deleted = 0;
  }
}
