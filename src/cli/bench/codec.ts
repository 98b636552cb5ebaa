/**
 * The two languages that the load generator speaks, reduced to what a load needs: a request as bytes made once, in which
 * only the digits of the key change, and a counter that finds where each reply ends without making an object of it.
 *
 * The generator must cost the same whatever server it talks to, and less than any of them: that is why it does not go
 * through a client library. It still looks at every reply: hits, misses and errors are counted, and a value of another
 * length than was stored is an error, so that a server cannot be fast by being wrong.
 */

/** `key:` and 16 digits: 20 bytes. */
export const KEY_BYTES = 20;
const KEY_PREFIX = 'key:';
/** Only the last digits change: fewer than 10^8 keys. */
const CHANGING_DIGITS = 8;

export type Protocol = 'resp' | 'memcached';
export type Operation = 'get' | 'set';

/** One request; the key's changing digits begin at `digitsAt`. */
export interface Template {
  readonly bytes: Uint8Array;
  readonly digitsAt: number;
}

const encoder = new TextEncoder();

function template(head: string, tail: Uint8Array): Template {
  const key = KEY_PREFIX + '0'.repeat(KEY_BYTES - KEY_PREFIX.length);
  const start = encoder.encode(head + key);
  const bytes = new Uint8Array(start.length + tail.length);
  bytes.set(start);
  bytes.set(tail, start.length);
  return { bytes, digitsAt: start.length - CHANGING_DIGITS };
}

/** Bytes that do not compress and hold no line ends: printable, from a fixed sequence. */
export function fillerValue(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = 0x9e3779b9;
  for (let i = 0; i < length; i += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = 0x30 + ((state >>> 24) % 75);
  }
  return bytes;
}

function surround(before: string, value: Uint8Array, after: string): Uint8Array {
  const head = encoder.encode(before);
  const tail = encoder.encode(after);
  const bytes = new Uint8Array(head.length + value.length + tail.length);
  bytes.set(head);
  bytes.set(value, head.length);
  bytes.set(tail, head.length + value.length);
  return bytes;
}

/** The request for an operation with values of `valueBytes`. */
export function requestOf(protocol: Protocol, operation: Operation, valueBytes: number): Template {
  const value = fillerValue(valueBytes);
  if (protocol === 'resp') {
    return operation === 'get'
      ? template(`*2\r\n$3\r\nGET\r\n$${KEY_BYTES}\r\n`, encoder.encode('\r\n'))
      : template(`*3\r\n$3\r\nSET\r\n$${KEY_BYTES}\r\n`, surround(`\r\n$${valueBytes}\r\n`, value, '\r\n'));
  }
  return operation === 'get'
    ? template('get ', encoder.encode('\r\n'))
    : template('set ', surround(` 0 0 ${valueBytes}\r\n`, value, '\r\n'));
}

/** Writes the changing digits of key number `key` at `at`. */
export function writeKey(target: Uint8Array, at: number, key: number): void {
  let rest = key;
  for (let i = at + CHANGING_DIGITS - 1; i >= at; i -= 1) {
    const next = (rest / 10) | 0;
    target[i] = 0x30 + rest - next * 10;
    rest = next;
  }
}

/** Finds the ends of replies in a stream of chunks, of any split, and counts what they say. */
export interface ReplyCounter {
  hits: number;
  misses: number;
  stored: number;
  errors: number;
  /** The text of the first error, for the report. */
  firstError: string;
  /** Takes bytes [0, end) of `chunk`; how many replies ended in them. */
  feed(chunk: Uint8Array, end: number): number;
}

const LINE = 0;
const BODY = 1;
const CR = 0x0d;
const LF = 0x0a;
const MAX_KEPT_LINE = 200;

abstract class LineReplies implements ReplyCounter {
  hits = 0;
  misses = 0;
  stored = 0;
  errors = 0;
  firstError = '';
  protected readonly valueBytes: number;
  #state: typeof LINE | typeof BODY = LINE;
  #skip = 0;
  #first = 0;
  #number = 0;
  #negative = false;
  #line = '';

  constructor(valueBytes: number) {
    this.valueBytes = valueBytes;
  }

  feed(chunk: Uint8Array, end: number): number {
    let replies = 0;
    let at = 0;
    while (at < end) {
      if (this.#state === BODY) {
        const step = Math.min(this.#skip, end - at);
        at += step;
        this.#skip -= step;
        if (this.#skip === 0) {
          this.#state = LINE;
          if (this.bodyEndsReply()) replies += 1;
        }
        continue;
      }
      const byte = chunk[at]!;
      at += 1;
      if (this.#first === 0) {
        this.#first = byte;
        this.#number = 0;
        this.#negative = false;
        this.#line = '';
      } else if (byte === LF) {
        const body = this.line(this.#first, this.#negative ? -this.#number : this.#number, this.#line);
        this.#first = 0;
        if (body >= 0) {
          this.#state = BODY;
          this.#skip = body;
        } else replies += 1;
      } else if (byte >= 0x30 && byte <= 0x39) this.#number = this.#number * 10 + byte - 0x30;
      else if (byte === 0x2d) this.#negative = true;
      else if (byte !== CR) {
        // A blank starts the next number: of `VALUE key flags bytes` the last one is left standing.
        this.#number = 0;
      }
      if (this.keepsText(this.#first) && this.#first !== 0 && byte !== CR && this.#line.length < MAX_KEPT_LINE) {
        this.#line += String.fromCharCode(byte);
      }
    }
    return replies;
  }

  protected fail(text: string): void {
    this.errors += 1;
    if (this.firstError === '') this.firstError = text;
  }

  /** A line ended: how many bytes of body follow (with their line end), or -1 when the reply ended with it. */
  protected abstract line(first: number, number: number, text: string): number;
  /** Whether a reply whose body is over has ended too. */
  protected abstract bodyEndsReply(): boolean;
  /** Whether the text of lines that begin with `first` is worth keeping: errors only, the rest is never made a string. */
  protected abstract keepsText(first: number): boolean;
}

const PLUS = 0x2b;
const MINUS = 0x2d;
const DOLLAR = 0x24;
const UNDERSCORE = 0x5f;

class RespReplies extends LineReplies {
  protected line(first: number, number: number, text: string): number {
    if (first === DOLLAR) {
      if (number < 0) {
        this.misses += 1;
        return -1;
      }
      if (number === this.valueBytes) this.hits += 1;
      else this.fail(`a value of ${number} bytes instead of ${this.valueBytes}`);
      return number + 2;
    }
    if (first === PLUS) this.stored += 1;
    else if (first === UNDERSCORE) this.misses += 1;
    else this.fail(text);
    return -1;
  }

  protected bodyEndsReply(): boolean {
    return true;
  }

  protected keepsText(first: number): boolean {
    return first === MINUS;
  }
}

const V = 0x56;
const E = 0x45;
const S = 0x53;

/** memcached's text protocol: a hit is `VALUE key flags bytes`, the body, and `END`; a miss is `END` alone. */
class MemcachedReplies extends LineReplies {
  #sawValue = false;

  protected line(first: number, number: number, text: string): number {
    if (first === V) {
      this.#sawValue = true;
      if (number !== this.valueBytes) this.fail(`a value of ${number} bytes instead of ${this.valueBytes}`);
      return number + 2;
    }
    // END and ERROR begin alike, STORED and SERVER_ERROR too: told apart by their text.
    if (first === E && text === 'END') {
      if (this.#sawValue) this.hits += 1;
      else this.misses += 1;
      this.#sawValue = false;
    } else if (first === S && text === 'STORED') this.stored += 1;
    else this.fail(text);
    return -1;
  }

  protected bodyEndsReply(): boolean {
    return false;
  }

  protected keepsText(first: number): boolean {
    return first !== V;
  }
}

/** A counter for replies of this protocol to requests with values of `valueBytes`. */
export function replyCounter(protocol: Protocol, valueBytes: number): ReplyCounter {
  return protocol === 'resp' ? new RespReplies(valueBytes) : new MemcachedReplies(valueBytes);
}
