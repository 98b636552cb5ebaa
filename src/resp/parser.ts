/**
 * Reads requests off a byte stream: arrays of bulk strings (`*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`) and inline commands (`GET k\r\n`).
 *
 * The idea: a request is never turned into objects. The parser answers "a request is here" and leaves in `args` where each
 * argument begins and how long it is; commands work on those integers. Nothing is allocated per request.
 *
 *   begin(chunk)          the caller lends a chunk (typically its one static read buffer)
 *   next() -> REQUEST     args point straight into the chunk: zero copy
 *   next() -> NEED_MORE   everything complete was handed out
 *   finish()              the unread rest is copied into `own`, so that the chunk may be reused
 *
 * A request cut by the end of a chunk is continued in `own`: the next chunk's bytes are copied there only until that one
 * request is whole, then parsing goes on in the chunk itself. Which arguments were already found is kept, so no byte is
 * looked at twice whatever the splits: a stream costs O(its bytes), also in chunks of one byte.
 *
 *   own    [ ..consumed.. | head of a request from earlier chunks | + bytes pulled from this chunk ]
 *                         ^ #requestStart            ^ #position                                 ^ #end
 *   chunk  [ ..pulled.. | not yet looked at ]
 *                       ^ #chunkPosition    ^ #chunkEnd
 *
 * Memory is bounded by what has *arrived*: an announced length allocates nothing until its bytes come (growth at most
 * doubles), and lengths above the limits are refused as soon as they are read.
 *
 * Rules and error texts are those of Redis 7.0 (networking.c: processMultibulkBuffer, processInlineBuffer), including that the two
 * bytes after a bulk are skipped unseen. Two deliberate differences, both so that the result depends on the bytes and
 * never on how they were split: a line longer than `maxInlineBytes` is refused even when it came in one piece, and a NUL byte
 * in a line is a byte like any other (Redis waits for ever).
 */
import { assert } from '../base/assert.ts';
import { type Args, growArgs } from './args.ts';
import { splitInline, UNBALANCED_QUOTES } from './inline.ts';

/** `next()`: `args` holds a request. */
export const REQUEST = 1;
/** `next()`: nothing complete is left. */
export const NEED_MORE = 0;
/** `next()`: the stream is broken for good; `error` says why. Reply with it, then close the connection. */
export const PROTOCOL_ERROR = -1;

export type { Args } from './args.ts';

export interface RequestLimits {
  /** Longest argument in bytes. Default 8 MiB + 1 KiB: a value of the largest size passes, anything longer is refused before it arrives. */
  readonly maxBulkBytes?: number;
  /** Most arguments of one request. Default 1,048,576. */
  readonly maxArgs?: number;
  /** Longest inline command or length line in bytes. Default 64 KiB, as PROTO_INLINE_MAX_SIZE. */
  readonly maxInlineBytes?: number;
  /** Largest whole request in bytes, lengths included. Default 64 MiB. */
  readonly maxRequestBytes?: number;
}

const CR = 13;
const LF = 10;
const ZERO = 48;
const DOLLAR = 36;
const STAR = 42;
const MINUS = 45;

/** What a length line can be besides a length. */
const LINE_PARTIAL = -1;
const LINE_INVALID = -2;
const LINE_TOO_LONG = -3;
const LINE_WRONG_TYPE = -4;

/** Digits read without looking back: below 2^30, so that the value stays a small integer. Longer lines take the slow path. */
const FAST_DIGITS = 9;
/** Fewest bytes pulled from a chunk to complete a split request; its length is used instead once known. */
const PULL_BYTES = 256;
/** An idle connection keeps at most this much of its own buffer: 10,000 of them hold 40 MB. */
const RETAINED_BYTES = 4096;
const RETAINED_ARGS = 1024;

const NOTHING = new Uint8Array(0);

export class RequestParser {
  /** The request that the last `next() === REQUEST` found; valid until the next call of any method. */
  readonly args: Args = { bytes: NOTHING, count: 0, start: new Int32Array(16), length: new Int32Array(16) };
  /** Why `next()` returned PROTOCOL_ERROR, in Redis's words without the leading `ERR `; '' before. */
  error = '';

  readonly #maxBulkBytes: number;
  readonly #maxArgs: number;
  readonly #maxInlineBytes: number;
  readonly #maxRequestBytes: number;

  /** What is parsed now: the chunk, or `#own`. */
  #bytes: Uint8Array = NOTHING;
  #position = 0;
  #end = 0;
  #requestStart = 0;
  /** Where the request began that was handed out last. */
  #lastStart = 0;
  /** No line end lies in the current line before this offset: a slow line is searched once. */
  #searched = 0;
  /** Arguments of the current request still to come; 0 between requests. */
  #missing = 0;
  /** Arguments of the current request already found. */
  #found = 0;
  /** Announced length of the argument at `#position`; -1 while its header is unread. */
  #bulkLength = -1;
  /** Where the line that #slowLine read ends: first byte of what follows. */
  #lineEnd = 0;

  #onOwn = false;
  #own: Uint8Array = NOTHING;
  #chunk: Uint8Array = NOTHING;
  #chunkPosition = 0;
  #chunkEnd = 0;
  /** Bytes of the current chunk that were copied to the end of `#own`. */
  #pulled = 0;

  constructor(limits: RequestLimits = {}) {
    this.#maxBulkBytes = limits.maxBulkBytes ?? 8 * 1024 * 1024 + 1024;
    this.#maxArgs = limits.maxArgs ?? 1_048_576;
    this.#maxInlineBytes = limits.maxInlineBytes ?? 64 * 1024;
    this.#maxRequestBytes = limits.maxRequestBytes ?? Math.max(64 * 1024 * 1024, 2 * this.#maxBulkBytes);
    assert(this.#maxRequestBytes < 2 ** 30, 'maxRequestBytes is below 1 GiB');
    assert(this.#maxBulkBytes <= this.#maxRequestBytes, 'a bulk may not be larger than a request');
  }

  /** Bytes kept from earlier chunks and not handed out yet. */
  get bufferedBytes(): number {
    return this.#onOwn ? this.#end - this.#requestStart : 0;
  }

  /** Lends `chunk[start..end)` until `finish()`. */
  begin(chunk: Uint8Array, start: number, end: number): void {
    if (this.#onOwn) {
      this.#chunk = chunk;
      this.#chunkPosition = start;
      this.#chunkEnd = end;
      this.#pulled = 0;
      return;
    }
    this.#bytes = chunk;
    this.#position = start;
    this.#requestStart = start;
    this.#searched = start;
    this.#end = end;
  }

  /** REQUEST, NEED_MORE or PROTOCOL_ERROR. O(bytes of the request). */
  next(): number {
    return this.#onOwn ? this.#nextOnOwn() : this.#parse();
  }

  /** Takes the request back that `next` has just handed out: it is the next one again. Nothing else may be called in between. */
  unread(): void {
    assert(this.#missing === 0 && this.error === '', 'a request is unread when it was handed out');
    this.#position = this.#lastStart;
    this.#requestStart = this.#lastStart;
    this.#searched = this.#lastStart;
  }

  /** Copies what was not handed out, complete or not, so that the chunk may be reused. Free when nothing is left. */
  finish(): void {
    if (this.#onOwn) {
      this.#pull(this.#chunkEnd - this.#chunkPosition);
      this.#chunk = NOTHING;
      if (this.#requestStart === this.#end) this.#leaveOwn(NOTHING, 0, 0);
      return;
    }
    const rest = this.#end - this.#requestStart;
    if (rest > 0 && this.error === '') {
      const chunk = this.#bytes;
      const from = this.#requestStart;
      const to = this.#end;
      if (this.#own.length < rest) this.#own = new Uint8Array(this.#capacityFor(rest));
      this.#own.set(chunk.subarray(from, to), 0);
      this.#rebase(from);
      this.#bytes = this.#own;
      this.#onOwn = true;
      this.#chunkPosition = 0;
      this.#chunkEnd = 0;
      return;
    }
    this.#bytes = NOTHING;
    this.#position = 0;
    this.#requestStart = 0;
    this.#searched = 0;
    this.#end = 0;
  }

  #nextOnOwn(): number {
    for (;;) {
      if (this.#missing === 0 && this.#end - this.#position <= this.#pulled) {
        // Everything from earlier chunks is handed out: what is left in `own` are copies of this chunk's bytes.
        const from = this.#chunkPosition - (this.#end - this.#position);
        this.#leaveOwn(this.#chunk, from, this.#chunkEnd);
        return this.#parse();
      }
      const result = this.#parse();
      if (result !== NEED_MORE) return result;
      if (this.#missing === 0 && this.#end - this.#position <= this.#pulled) continue;
      const available = this.#chunkEnd - this.#chunkPosition;
      if (available === 0) return NEED_MORE;
      const wanted = this.#bulkLength < 0 ? 0 : this.#position + this.#bulkLength + 2 - this.#end;
      this.#pull(Math.min(available, Math.max(wanted, PULL_BYTES)));
    }
  }

  /** Back to parsing a chunk in place. */
  #leaveOwn(chunk: Uint8Array, start: number, end: number): void {
    this.#onOwn = false;
    if (this.#own.length > RETAINED_BYTES) this.#own = NOTHING;
    if (this.args.start.length > RETAINED_ARGS) {
      this.args.start = new Int32Array(16);
      this.args.length = new Int32Array(16);
    }
    this.#chunk = NOTHING;
    this.#bytes = chunk;
    this.#position = start;
    this.#requestStart = start;
    this.#searched = start;
    this.#end = end;
  }

  /** Appends the next `size` bytes of the chunk to `own`. */
  #pull(size: number): void {
    if (size === 0) return;
    const live = this.#end - this.#requestStart;
    if (this.#end + size > this.#own.length) {
      const from = this.#requestStart;
      if (from >= live && live + size <= this.#own.length) {
        this.#own.copyWithin(0, from, this.#end);
      } else {
        const grown = new Uint8Array(this.#capacityFor(live + size));
        grown.set(this.#own.subarray(from, this.#end), 0);
        this.#own = grown;
        this.#bytes = grown;
      }
      this.#rebase(from);
    }
    this.#own.set(this.#chunk.subarray(this.#chunkPosition, this.#chunkPosition + size), this.#end);
    this.#end += size;
    this.#chunkPosition += size;
    this.#pulled += size;
  }

  /** Doubles, so that growth costs O(n) in all; the last argument's buffer gets its exact size once half of it is here. */
  #capacityFor(needed: number): number {
    if (this.#missing === 1 && this.#bulkLength >= 0) {
      const whole = this.#position - this.#requestStart + this.#bulkLength + 2;
      if (whole >= needed && whole <= 2 * needed) return Math.max(whole, 512);
    }
    return Math.max(2 * needed, 512);
  }

  /** The bytes of the current request moved down by `from`: every offset follows. */
  #rebase(from: number): void {
    if (from === 0) return;
    if (this.#missing > 0) {
      const start = this.args.start;
      for (let i = 0; i < this.#found; i += 1) start[i] = start[i]! - from;
    }
    this.#position -= from;
    this.#searched = Math.max(0, this.#searched - from);
    this.#end -= from;
    this.#requestStart = 0;
  }

  /** One request from `#bytes[#position..#end)`, continuing where the last call stopped. The one place that knows the grammar. */
  #parse(): number {
    const bytes = this.#bytes;
    const end = this.#end;
    const args = this.args;
    let p = this.#position;
    let missing = this.#missing;
    let found = this.#found;
    let bulkLength = this.#bulkLength;

    // -- between requests: the header `*<count>\r\n`, or an inline command
    while (missing === 0) {
      if (this.error !== '') return PROTOCOL_ERROR;
      this.#position = p;
      this.#requestStart = p;
      if (p >= end) return NEED_MORE;
      if (bytes[p] !== STAR) {
        const result = this.#inline(p);
        if (result !== REQUEST || args.count > 0) return result;
        p = this.#position; // an empty line: ignored
        continue;
      }
      let q = p + 1;
      const stop = Math.min(end, q + FAST_DIGITS);
      let count = 0;
      while (q < stop) {
        const digit = bytes[q]! - ZERO;
        if (digit < 0 || digit > 9) break;
        count = count * 10 + digit;
        q += 1;
      }
      if (q + 1 < end && bytes[q] === CR && (count > 0 ? bytes[p + 1] !== ZERO : q === p + 2)) {
        q += 2;
      } else {
        count = this.#slowLine(p, STAR);
        if (count === LINE_PARTIAL) return NEED_MORE;
        if (count === LINE_TOO_LONG) return this.#fail('Protocol error: too big mbulk count string');
        if (count < 0) return this.#fail('Protocol error: invalid multibulk length');
        q = this.#lineEnd;
      }
      if (count > this.#maxArgs) return this.#fail('Protocol error: invalid multibulk length');
      p = q;
      missing = count; // 0: `*0` and `*-1` are ignored
      found = 0;
      bulkLength = -1;
      this.#searched = p;
    }

    // -- arguments: `$<length>\r\n<bytes>\r\n`
    let starts = args.start;
    let lengths = args.length;
    do {
      if (bulkLength < 0) {
        let q = p + 1;
        const stop = Math.min(end, q + FAST_DIGITS);
        let length = 0;
        while (q < stop) {
          const digit = bytes[q]! - ZERO;
          if (digit < 0 || digit > 9) break;
          length = length * 10 + digit;
          q += 1;
        }
        if (
          q + 1 < end &&
          bytes[q] === CR &&
          bytes[p] === DOLLAR &&
          (length > 0 ? bytes[p + 1] !== ZERO : q === p + 2)
        ) {
          q += 2;
        } else {
          length = this.#slowLine(p, DOLLAR);
          if (length === LINE_PARTIAL) return this.#suspend(p, missing, found, -1);
          if (length === LINE_TOO_LONG) return this.#fail('Protocol error: too big bulk count string');
          if (length === LINE_WRONG_TYPE) return this.#failExpectedDollar(bytes[p]!);
          if (length < 0) return this.#fail('Protocol error: invalid bulk length');
          q = this.#lineEnd;
        }
        if (length > this.#maxBulkBytes) return this.#fail('Protocol error: invalid bulk length');
        if (q - this.#requestStart + length + 2 > this.#maxRequestBytes) {
          return this.#fail('Protocol error: too big request');
        }
        bulkLength = length;
        p = q;
      }
      const after = p + bulkLength + 2;
      if (after > end) return this.#suspend(p, missing, found, bulkLength);
      if (found === starts.length) {
        growArgs(args);
        starts = args.start;
        lengths = args.length;
      }
      starts[found] = p;
      lengths[found] = bulkLength;
      found += 1;
      bulkLength = -1;
      p = after;
      missing -= 1;
    } while (missing > 0);

    args.bytes = bytes;
    args.count = found;
    this.#lastStart = this.#requestStart;
    this.#position = p;
    this.#requestStart = p;
    this.#searched = p;
    this.#missing = 0;
    this.#bulkLength = -1;
    return REQUEST;
  }

  /** Keeps what was found of an incomplete request. */
  #suspend(position: number, missing: number, found: number, bulkLength: number): number {
    if (position > this.#searched) this.#searched = position;
    this.#position = position;
    this.#missing = missing;
    this.#found = found;
    this.#bulkLength = bulkLength;
    return NEED_MORE;
  }

  /**
   * A length line that the fast path could not take: incomplete, malformed, negative or very long. The length (a negative
   * count reads as 0) with `#lineEnd` set, or a LINE_ code. Nothing is judged before the line is whole, as in Redis.
   */
  #slowLine(start: number, type: number): number {
    const bytes = this.#bytes;
    const limit = Math.min(this.#end, start + this.#maxInlineBytes + 1);
    let cr = Math.max(start, this.#searched);
    while (cr < limit && bytes[cr] !== CR) cr += 1;
    this.#searched = cr;
    if (cr === limit) return limit === this.#end && cr - start <= this.#maxInlineBytes ? LINE_PARTIAL : LINE_TOO_LONG;
    if (cr + 1 >= this.#end) return LINE_PARTIAL;
    if (bytes[start] !== type) return LINE_WRONG_TYPE;
    this.#lineEnd = cr + 2;

    // string2ll: an optional minus, no leading zero, nothing else. More digits than a double holds are too large anyway.
    const negative = bytes[start + 1] === MINUS;
    const first = negative ? start + 2 : start + 1;
    if (first === cr || (bytes[first] === ZERO && (negative || cr > first + 1))) return LINE_INVALID;
    let value = 0;
    for (let i = first; i < cr; i += 1) {
      const digit = bytes[i]! - ZERO;
      if (digit < 0 || digit > 9) return LINE_INVALID;
      value = value * 10 + digit;
    }
    if (value > Number.MAX_SAFE_INTEGER) return LINE_INVALID;
    if (!negative) return value;
    return type === STAR ? 0 : LINE_INVALID;
  }

  /** An inline command at `start`: REQUEST (possibly with no argument: an empty line), NEED_MORE or PROTOCOL_ERROR. */
  #inline(start: number): number {
    const bytes = this.#bytes;
    const limit = Math.min(this.#end, start + this.#maxInlineBytes + 1);
    let lf = Math.max(start, this.#searched);
    while (lf < limit && bytes[lf] !== LF) lf += 1;
    this.#searched = lf;
    if (lf === limit) {
      if (limit === this.#end && lf - start <= this.#maxInlineBytes) return NEED_MORE;
      return this.#fail('Protocol error: too big inline request');
    }
    const lineEnd = lf > start && bytes[lf - 1] === CR ? lf - 1 : lf;
    if (splitInline(bytes, start, lineEnd, this.args) === UNBALANCED_QUOTES) {
      return this.#fail('Protocol error: unbalanced quotes in request');
    }
    this.#lastStart = start;
    this.#position = lf + 1;
    this.#requestStart = lf + 1;
    this.#searched = lf + 1;
    return REQUEST;
  }

  #failExpectedDollar(got: number): number {
    return this.#fail(`Protocol error: expected '$', got '${String.fromCharCode(got)}'`);
  }

  /** The stream cannot be understood from here on: everything kept is dropped. */
  #fail(error: string): number {
    this.error = error;
    this.#missing = 0;
    this.#found = 0;
    this.#bulkLength = -1;
    this.#own = NOTHING;
    this.#chunkPosition = 0;
    this.#chunkEnd = 0;
    this.#pulled = 0;
    this.#leaveOwn(NOTHING, 0, 0);
    return PROTOCOL_ERROR;
  }
}
