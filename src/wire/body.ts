/**
 * The numbers, ids and bytes of which bodies are made: written into one growable buffer, read with a bound on everything.
 *
 *   count    a whole number from 0 to 2^53 - 1: 7 bits a byte, lowest first, 0x80 = more follow
 *   time     a double, as it was: who asked compares it with what it sent
 *   id       of a member: 0 = none, 1 = 20 bytes follow, n >= 2 = the (n - 2)th that this body spelled out. A table of a thousand records names
 *            the same few members again and again; so each travels once.
 *   bytes    a count, then that many
 *   text     the same, UTF-8
 *
 * A reader trusts nothing: what it is told to allocate is bounded by the bytes that are there, and whatever does not make sense is a
 * BreakwaterError `FRAME_INVALID`. Bytes are given out as views of the frame (no copy), valid as long as the frame is.
 */
import { assert } from '../base/assert.ts';
import { BreakwaterError } from '../base/errors.ts';

const ID_BYTES = 20;
const NO_ID = 0;
const NEW_ID = 1;
const FIRST_KNOWN = 2;
const HEX = '0123456789abcdef';

/**
 * Members that were spelled out lately, both ways: there are few, and each frame about a range names one. Twenty bytes compared are several times cheaper than forty digits made, and a string that is the same object is
 * compared by one look. Bounded; what does not fit is made anew.
 */
const MAX_KNOWN = 1024;
const spelled = new Map<string, Uint8Array>();
const read = new Map<number, { readonly bytes: Uint8Array; readonly id: string }>();

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });
/** For doubles, whose bytes JavaScript shows no other way. */
const double = new DataView(new ArrayBuffer(8));

export function invalid(what: string): never {
  throw new BreakwaterError('FRAME_INVALID', `cannot read a frame of another member: ${what}`);
}

export class BodyWriter {
  bytes: Uint8Array;
  length = 0;
  readonly #ids = new Map<string, number>();

  constructor(initialBytes = 4096) {
    this.bytes = new Uint8Array(initialBytes);
  }

  /** Ids are spelled out anew from here: a body stands for itself. */
  beginBody(): void {
    this.#ids.clear();
  }

  reserve(size: number): void {
    if (this.length + size <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.length + size));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
  }

  byte(value: number): void {
    this.reserve(1);
    this.bytes[this.length] = value;
    this.length += 1;
  }

  count(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0, 'a count is a whole number from 0');
    this.reserve(8);
    let rest = value;
    while (rest >= 0x80) {
      this.bytes[this.length] = (rest % 0x80) | 0x80;
      this.length += 1;
      rest = Math.floor(rest / 0x80);
    }
    this.bytes[this.length] = rest;
    this.length += 1;
  }

  time(ms: number): void {
    double.setFloat64(0, ms);
    this.reserve(8);
    for (let i = 0; i < 8; i += 1) this.bytes[this.length + i] = double.getUint8(i);
    this.length += 8;
  }

  boolean(value: boolean): void {
    this.byte(value ? 1 : 0);
  }

  /** '' and null are both none. */
  id(id: string | null): void {
    if (id === null || id === '') {
      this.byte(NO_ID);
      return;
    }
    const known = this.#ids.get(id);
    if (known !== undefined) {
      this.count(FIRST_KNOWN + known);
      return;
    }
    let bytes = spelled.get(id);
    if (bytes === undefined) {
      bytes = bytesOf(id);
      if (spelled.size >= MAX_KNOWN) spelled.clear();
      spelled.set(id, bytes);
    }
    this.#ids.set(id, this.#ids.size);
    this.byte(NEW_ID);
    this.reserve(ID_BYTES);
    this.bytes.set(bytes, this.length);
    this.length += ID_BYTES;
  }

  data(bytes: Uint8Array): void {
    this.count(bytes.length);
    this.reserve(bytes.length);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  text(text: string): void {
    this.data(encoder.encode(text));
  }
}

export class BodyReader {
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  #end = 0;
  readonly #ids: string[] = [];

  begin(bytes: Uint8Array, start: number, end: number): void {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
    this.#ids.length = 0;
  }

  get left(): number {
    return this.#end - this.#at;
  }

  byte(): number {
    if (this.#at >= this.#end) invalid('it ends in the middle of a field');
    const value = this.#bytes[this.#at]!;
    this.#at += 1;
    return value;
  }

  count(): number {
    let value = 0;
    let unit = 1;
    for (let read = 0; read < 8; read += 1) {
      const byte = this.byte();
      value += (byte & 0x7f) * unit;
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
      unit *= 0x80;
    }
    return invalid('a number in it is too large');
  }

  /** A count that may not exceed `most`. */
  countUpTo(most: number, what: string): number {
    const value = this.count();
    if (value > most) invalid(`${what} is ${value}, at most ${most} is allowed`);
    return value;
  }

  time(): number {
    if (this.left < 8) invalid('it ends in the middle of a field');
    for (let i = 0; i < 8; i += 1) double.setUint8(i, this.#bytes[this.#at + i]!);
    this.#at += 8;
    const ms = double.getFloat64(0);
    if (Number.isNaN(ms)) invalid('a time in it is no number');
    return ms;
  }

  boolean(): boolean {
    const value = this.byte();
    if (value > 1) invalid(`a yes or no in it is ${value}`);
    return value === 1;
  }

  /** '' = none. */
  id(): string {
    const tag = this.count();
    if (tag === NO_ID) return '';
    if (tag >= FIRST_KNOWN) {
      const known = this.#ids[tag - FIRST_KNOWN];
      return known ?? invalid('it refers to a member that it has not named');
    }
    if (this.left < ID_BYTES) invalid('it ends in the middle of a field');
    const id = idAt(this.#bytes, this.#at);
    this.#at += ID_BYTES;
    this.#ids.push(id);
    return id;
  }

  /** A view of the frame. */
  data(most: number): Uint8Array {
    const length = this.countUpTo(Math.min(most, this.left), 'the length of a field');
    if (length > this.left) invalid('it ends in the middle of a field');
    const view = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return view;
  }

  text(mostBytes: number): string {
    const bytes = this.data(mostBytes);
    try {
      return decoder.decode(bytes);
    } catch {
      return invalid('a text in it is not UTF-8');
    }
  }
}

function bytesOf(id: string): Uint8Array {
  assert(id.length === 2 * ID_BYTES, 'a member id is 40 hexadecimal digits');
  const bytes = new Uint8Array(ID_BYTES);
  for (let i = 0; i < ID_BYTES; i += 1) {
    const high = HEX.indexOf(id[2 * i]!);
    const low = HEX.indexOf(id[2 * i + 1]!);
    assert(high >= 0 && low >= 0, 'a member id is lower-case hexadecimal');
    bytes[i] = high * 16 + low;
  }
  return bytes;
}

function idAt(bytes: Uint8Array, at: number): string {
  const mark = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
  const known = read.get(mark);
  if (known !== undefined) {
    let same = 4;
    while (same < ID_BYTES && known.bytes[same] === bytes[at + same]) same += 1;
    if (same === ID_BYTES) return known.id;
  }
  let id = '';
  for (let i = 0; i < ID_BYTES; i += 1) {
    const value = bytes[at + i]!;
    id += HEX[value >>> 4]! + HEX[value & 15]!;
  }
  if (read.size >= MAX_KNOWN) read.clear();
  // Not `slice`: of a Buffer that is a view of what is read over next.
  const own = new Uint8Array(ID_BYTES);
  own.set(bytes.subarray(at, at + ID_BYTES));
  read.set(mark, { bytes: own, id });
  return id;
}
