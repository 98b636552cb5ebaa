/**
 * Reads replies (RESP2 and RESP3) off a byte stream and makes JavaScript values of them; the client's half of the codec.
 *
 * The idea: every byte is looked at once, whatever the splits. Three things can be cut by the end of a chunk, and each has
 * its own place to wait in:
 *
 *   a line       `:42\r` + `\n`          its bytes so far, in `#carry`
 *   a bulk       `$100\r\n` + 60 bytes   the value itself, allocated and filled as bytes come
 *   an aggregate `*3\r\n` + 2 members    a frame on `#stack`
 *
 * So the chunk may be one static read buffer that is overwritten by the next read: a value handed out never lives in it. Small
 * values of one chunk share up to 8 KiB, so the most that one kept value can pin is that.
 *
 * Bounds: an announced length allocates at most FIRST_BULK_BYTES until its bytes arrive, then doubles; depth, bulk, line and
 * the whole reply are limited; streamed (`$?`, `*?`) types are refused. A stream that breaks a rule is broken for good: after
 * a wrong length no later byte can be trusted, and a wrong hit is worse than a lost connection.
 */
import { assert, unreachable } from '../base/assert.ts';
import { type Reply, ReplyError, ReplyMap } from './reply.ts';

/** `next()`: `value` holds a reply. */
export const REPLY = 1;
/** `next()`: nothing complete is left. */
export const NEED_MORE = 0;
/** `next()`: not RESP, or beyond a limit; `error` says why. The connection must be closed. */
export const PROTOCOL_ERROR = -1;

export interface ReplyLimits {
  /** Longest bulk in bytes. Default 512 MiB, as Redis. */
  readonly maxBulkBytes?: number;
  /** Longest simple string, error or length line in bytes. Default 64 KiB. */
  readonly maxLineBytes?: number;
  /** Largest whole reply in bytes. Default 1 GiB. */
  readonly maxReplyBytes?: number;
  /** Deepest nesting. Default 32. */
  readonly maxDepth?: number;
}

/** Receives an out-of-band message: its kind (`invalidate`, `message`) and what follows. Bulks in it are always Uint8Array. */
export type PushHandler = (kind: string, items: Reply[]) => void;

type AggregateKind = 'array' | 'map' | 'push' | 'attribute';

interface Frame {
  readonly kind: AggregateKind;
  readonly size: number;
  readonly members: Reply[];
  filled: number;
}

const CR = 13;
const LF = 10;
const ZERO = 48;
/** Room made for the members of an aggregate on its own word; a count beyond it may be a lie, and grows as they come. */
const FIRST_MEMBERS = 1024;
const FIRST_BULK_BYTES = 1024 * 1024;
/** A count beyond this is a broken stream, not a reply: 2^26 members would be at least 256 MiB. */
const MAX_MEMBERS = 2 ** 26;

/** Small values that came in one chunk share memory of this size: a Uint8Array of its own costs 450 ns and more, a view of a slab 140 (measured). */
const SLAB_BYTES = 8192;
/** V8 keeps typed arrays up to this size on its heap, where making one is cheaper than a view. */
const ON_HEAP_BYTES = 64;

const NOTHING = new Uint8Array(0);
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** What follows the header of the bulk being filled. */
type BulkKind = 'bulk' | 'verbatim' | 'error';

export class ReplyParser {
  /** The reply that the last `next() === REPLY` found. */
  value: Reply = null;
  /** Why `next()` returned PROTOCOL_ERROR; '' before. */
  error = '';
  /** Bulks of the next reply become strings (UTF-8) instead of bytes. The client sets it for each reply before `next()`. */
  text = false;

  readonly #onPush: PushHandler;
  readonly #maxBulkBytes: number;
  readonly #maxLineBytes: number;
  readonly #maxReplyBytes: number;
  readonly #maxDepth: number;

  #bytes: Uint8Array = NOTHING;
  #position = 0;
  #end = 0;
  /** The head of a line that began in an earlier chunk. */
  #carry: Uint8Array = NOTHING;
  #carried = 0;
  /** The bulk being filled: null when there is none. */
  #bulk: Uint8Array | null = null;
  #bulkKind: BulkKind = 'bulk';
  #bulkLength = 0;
  #filled = 0;
  /** A copy of the current chunk from `#slabStart` on, of which small values are views. */
  #slab: Uint8Array = NOTHING;
  #slabStart = 0;
  /** Aggregates begun and not complete, outermost first. */
  readonly #stack: Frame[] = [];
  #inPush = false;
  /** Bytes of the current reply seen in earlier chunks, and where it begins in this one. */
  #replyBytes = 0;
  #replyStart = 0;
  /** A reply (not a push) is complete in `value`. */
  #complete = false;

  constructor(onPush: PushHandler = () => {}, limits: ReplyLimits = {}) {
    this.#onPush = onPush;
    this.#maxBulkBytes = limits.maxBulkBytes ?? 512 * 1024 * 1024;
    this.#maxLineBytes = limits.maxLineBytes ?? 64 * 1024;
    this.#maxReplyBytes = limits.maxReplyBytes ?? 1024 * 1024 * 1024;
    this.#maxDepth = limits.maxDepth ?? 32;
    assert(this.#maxBulkBytes < 2 ** 31, 'a bulk is shorter than 2 GiB');
  }

  /** A reply (or push) has begun and is not complete. */
  get midReply(): boolean {
    return this.#carried > 0 || this.#bulk !== null || this.#stack.length > 0;
  }

  /** Lends `chunk[start..end)` until `finish()`. */
  begin(chunk: Uint8Array, start: number, end: number): void {
    this.#bytes = chunk;
    this.#position = start;
    this.#replyStart = start;
    this.#end = end;
  }

  /** Keeps what is incomplete. All replies must have been taken: `next()` returned NEED_MORE or PROTOCOL_ERROR. */
  finish(): void {
    assert(this.#position === this.#end || this.error !== '', 'every byte of a chunk is consumed before finish()');
    this.#bytes = NOTHING;
    this.#slab = NOTHING;
    this.#slabStart = 0;
    this.#position = 0;
    this.#end = 0;
    this.#replyStart = 0;
  }

  /** REPLY, NEED_MORE or PROTOCOL_ERROR. */
  next(): number {
    if (this.error !== '') return PROTOCOL_ERROR;
    this.#complete = false;
    while (!this.#complete) {
      const progressed = this.#bulk === null ? this.#readLine() : this.#fillBulk();
      if (this.error !== '') {
        this.#drop();
        return PROTOCOL_ERROR;
      }
      if (!progressed) {
        this.#replyBytes += this.#end - this.#replyStart;
        this.#replyStart = this.#end;
        return this.#replyBytes > this.#maxReplyBytes ? this.#failNow('a reply beyond the size limit') : NEED_MORE;
      }
    }
    this.#replyBytes = 0;
    this.#replyStart = this.#position;
    return REPLY;
  }

  /** One line, from the carry and the chunk: false when its end has not come. */
  #readLine(): boolean {
    const bytes = this.#bytes;
    const end = this.#end;
    const start = this.#position;
    let lf = start;
    while (lf < end && bytes[lf] !== LF) lf += 1;
    if (this.#carried + lf - start > this.#maxLineBytes) return this.#fail('a line beyond the size limit');
    if (lf === end) {
      this.#carryOver(start, end);
      this.#position = end;
      return false;
    }
    this.#position = lf + 1;
    if (this.#carried === 0) return this.#onLine(bytes, start, lf);
    this.#carryOver(start, lf);
    const size = this.#carried;
    this.#carried = 0;
    const more = this.#onLine(this.#carry, 0, size);
    if (this.#carry.length > 1024) this.#carry = NOTHING;
    return more;
  }

  #carryOver(start: number, end: number): void {
    const size = this.#carried + end - start;
    if (size > this.#carry.length) {
      const grown = new Uint8Array(Math.max(64, size * 2));
      grown.set(this.#carry.subarray(0, this.#carried));
      this.#carry = grown;
    }
    this.#carry.set(this.#bytes.subarray(start, end), this.#carried);
    this.#carried = size;
  }

  /** The line `bytes[start..lf)`, its CR still on. */
  #onLine(bytes: Uint8Array, start: number, lf: number): boolean {
    const end = lf - 1;
    if (end <= start || bytes[end] !== CR) return this.#fail('a line that does not end in CR LF');
    const at = start + 1;
    switch (bytes[start]) {
      case 36: // $
        return this.#beginBulk('bulk', bytes, at, end);
      case 43: // +
        if (end - at === 2 && bytes[at] === 79 && bytes[at + 1] === 75) return this.#deliver('OK');
        return this.#deliver(decoder.decode(bytes.subarray(at, end)));
      case 58: // :
        return this.#onInteger(bytes, at, end);
      case 45: // -
        return this.#deliver(new ReplyError(decoder.decode(bytes.subarray(at, end))));
      case 42: // *
      case 126: // ~
        return this.#beginAggregate('array', bytes, at, end);
      case 37: // %
        return this.#beginAggregate('map', bytes, at, end);
      case 62: // >
        return this.#beginAggregate('push', bytes, at, end);
      case 124: // |
        return this.#beginAggregate('attribute', bytes, at, end);
      case 95: // _
        return end === at ? this.#deliver(null) : this.#fail('a null with a value');
      case 35: // #
        if (end - at === 1 && bytes[at] === 116) return this.#deliver(true);
        if (end - at === 1 && bytes[at] === 102) return this.#deliver(false);
        return this.#fail('a boolean that is neither t nor f');
      case 44: // ,
        return this.#onDouble(ascii(bytes, at, end));
      case 40: // (
        return this.#onBigNumber(ascii(bytes, at, end));
      case 61: // =
        return this.#beginBulk('verbatim', bytes, at, end);
      case 33: // !
        return this.#beginBulk('error', bytes, at, end);
      default:
        return this.#fail(`an unknown reply type, byte ${bytes[start]}`);
    }
  }

  #onInteger(bytes: Uint8Array, start: number, end: number): boolean {
    const n = integerIn(bytes, start, end);
    if (!Number.isNaN(n)) return this.#deliver(n);
    const text = ascii(bytes, start, end);
    if (!/^[+-]?\d{1,19}$/.test(text)) return this.#fail('an integer that is none');
    const wide = BigInt(text);
    const narrow = Number(wide);
    return this.#deliver(Number.isSafeInteger(narrow) ? narrow : wide);
  }

  #onDouble(text: string): boolean {
    const special = /^([+-]?)(inf|nan)$/i.exec(text);
    if (special) {
      const size = special[2]!.toLowerCase() === 'nan' ? Number.NaN : Number.POSITIVE_INFINITY;
      return this.#deliver(special[1] === '-' ? -size : size);
    }
    if (!/^[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$/.test(text)) return this.#fail('a double that is none');
    return this.#deliver(Number(text));
  }

  #onBigNumber(text: string): boolean {
    if (!/^[+-]?\d{1,4096}$/.test(text)) return this.#fail('a big number that is none');
    return this.#deliver(BigInt(text.startsWith('+') ? text.slice(1) : text));
  }

  /** The header of a bulk was read: hand the bulk out at once when all of it is in the chunk, else begin to fill. */
  #beginBulk(kind: BulkKind, bytes: Uint8Array, at: number, lineEnd: number): boolean {
    const length = integerIn(bytes, at, lineEnd);
    if (length === -1 && kind === 'bulk') return this.#deliver(null);
    if (!(length >= 0)) return this.#fail('a bulk length that is none (streamed bulks are not supported)');
    if (length > this.#maxBulkBytes) return this.#fail('a bulk beyond the size limit');
    const start = this.#position;
    const end = start + length;
    if (end + 2 <= this.#end) {
      const chunk = this.#bytes;
      if (chunk[end] !== CR || chunk[end + 1] !== LF) return this.#fail('a bulk without CR LF behind it');
      this.#position = end + 2;
      return this.#onBulk(kind, chunk, start, end, false);
    }
    this.#bulkKind = kind;
    this.#bulkLength = length;
    this.#filled = 0;
    this.#bulk = new Uint8Array(Math.min(length + 2, FIRST_BULK_BYTES));
    return true;
  }

  /** Moves bytes of the chunk into the bulk (and its CR LF): false when more are needed. */
  #fillBulk(): boolean {
    const whole = this.#bulkLength + 2;
    const size = Math.min(whole - this.#filled, this.#end - this.#position);
    let bulk = this.#bulk!;
    if (this.#filled + size > bulk.length) {
      const grown = new Uint8Array(Math.min(whole, Math.max(bulk.length * 2, this.#filled + size)));
      grown.set(bulk.subarray(0, this.#filled));
      this.#bulk = grown;
      bulk = grown;
    }
    bulk.set(this.#bytes.subarray(this.#position, this.#position + size), this.#filled);
    this.#position += size;
    this.#filled += size;
    if (this.#filled < whole) return false;
    this.#bulk = null;
    if (bulk[whole - 2] !== CR || bulk[whole - 1] !== LF) return this.#fail('a bulk without CR LF behind it');
    return this.#onBulk(this.#bulkKind, bulk, 0, whole - 2, true);
  }

  /** `owned`: the bytes are ours and need no copy. */
  #onBulk(kind: BulkKind, bytes: Uint8Array, start: number, end: number, owned: boolean): boolean {
    switch (kind) {
      case 'error':
        return this.#deliver(new ReplyError(decoder.decode(bytes.subarray(start, end))));
      case 'verbatim':
        if (end - start < 4 || bytes[start + 3] !== 58) return this.#fail('verbatim text without its format');
        return this.#onBulk('bulk', bytes, start + 4, end, owned);
      case 'bulk':
        if (this.text && !this.#inPush) return this.#deliver(utf8(bytes, start, end));
        return this.#deliver(owned ? bytes.subarray(start, end) : this.#copy(bytes, start, end));
      default:
        return unreachable(kind);
    }
  }

  /** The bytes in memory that is not the chunk's. */
  #copy(bytes: Uint8Array, start: number, end: number): Uint8Array {
    const size = end - start;
    if (size <= ON_HEAP_BYTES || size > SLAB_BYTES / 4) return new Uint8Array(bytes.subarray(start, end));
    if (start < this.#slabStart || end > this.#slabStart + this.#slab.length) {
      // What comes behind it is copied with it: one copy and a view each, instead of a copy each. A lone value shares its memory with nothing.
      // Not `slice`, which copies nothing of a Buffer.
      this.#slab = new Uint8Array(bytes.subarray(start, Math.min(this.#end, start + SLAB_BYTES)));
      this.#slabStart = start;
    }
    return this.#slab.subarray(start - this.#slabStart, end - this.#slabStart);
  }

  #beginAggregate(kind: AggregateKind, bytes: Uint8Array, at: number, end: number): boolean {
    const count = integerIn(bytes, at, end);
    if (count === -1 && kind === 'array') return this.#deliver(null);
    if (!(count >= 0)) return this.#fail('a count that is none (streamed aggregates are not supported)');
    if (count > MAX_MEMBERS) return this.#fail('an aggregate with too many members');
    if (kind === 'push') {
      if (this.#stack.length > 0) return this.#fail('a push inside a reply');
      if (count === 0) return this.#fail('a push without a kind');
      this.#inPush = true;
    }
    if (this.#stack.length >= this.#maxDepth) return this.#fail('a reply nested too deep');
    const size = kind === 'map' || kind === 'attribute' ? count * 2 : count;
    // In one piece: pushing three members into an empty array makes room for seventeen.
    const members = size <= FIRST_MEMBERS ? new Array<Reply>(size) : [];
    const frame: Frame = { kind, size, members, filled: 0 };
    if (size === 0) return this.#close(frame);
    this.#stack.push(frame);
    return true;
  }

  /** A value is complete: it belongs to the innermost open aggregate, or is the reply. */
  #deliver(value: Reply): boolean {
    const depth = this.#stack.length;
    if (depth === 0) {
      this.value = value;
      this.#complete = true;
      return true;
    }
    const frame = this.#stack[depth - 1]!;
    frame.members[frame.filled] = value;
    frame.filled += 1;
    if (frame.filled < frame.size) return true;
    this.#stack.pop();
    return this.#close(frame);
  }

  #close(frame: Frame): boolean {
    switch (frame.kind) {
      case 'array':
        return this.#deliver(frame.members);
      case 'map':
        return this.#deliver(new ReplyMap(frame.members));
      case 'attribute':
        return true; // skipped: the value it speaks of comes next
      case 'push': {
        this.#inPush = false;
        const kind = frame.members.shift();
        const name = typeof kind === 'string' ? kind : kind instanceof Uint8Array ? utf8(kind, 0, kind.length) : '';
        if (name === '') return this.#fail('a push whose kind is no text');
        this.#replyBytes = 0;
        this.#replyStart = this.#position;
        this.#onPush(name, frame.members);
        return true;
      }
      default:
        return unreachable(frame.kind);
    }
  }

  #fail(what: string): boolean {
    this.error = `cannot read the reply: received ${what}`;
    return false;
  }

  #failNow(what: string): number {
    this.#fail(what);
    this.#drop();
    return PROTOCOL_ERROR;
  }

  #drop(): void {
    this.#bytes = NOTHING;
    this.#position = 0;
    this.#end = 0;
    this.#carry = NOTHING;
    this.#carried = 0;
    this.#bulk = null;
    this.#stack.length = 0;
  }
}

/** The integer in `bytes[start..end)` when it has at most 15 digits; NaN for anything else. */
function integerIn(bytes: Uint8Array, start: number, end: number): number {
  const negative = bytes[start] === 45;
  const first = negative ? start + 1 : start;
  if (first >= end || end - first > 15) return Number.NaN;
  let n = 0;
  for (let i = first; i < end; i += 1) {
    const digit = bytes[i]! - ZERO;
    if (digit < 0 || digit > 9) return Number.NaN;
    n = n * 10 + digit;
  }
  return negative && n !== 0 ? -n : n;
}

function ascii(bytes: Uint8Array, start: number, end: number): string {
  let text = '';
  for (let i = start; i < end; i += 1) text += String.fromCharCode(bytes[i]!);
  return text;
}

function utf8(bytes: Uint8Array, start: number, end: number): string {
  return decoder.decode(bytes.subarray(start, end));
}
