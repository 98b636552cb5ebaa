/**
 * Writes requests (arrays of bulk strings) into one growable buffer: the client sends all commands of a tick with one system call.
 *
 * A bulk's header counts bytes, a string counts UTF-16 units. Keys are nearly always ASCII, so a short string is written as if it
 * were and done again when it is not; a long one is encoded in one native call behind a header of the expected size.
 */
import { putHeader } from './writer.ts';

/** An argument of a command: text (sent as UTF-8), bytes, or a number (sent as its decimal text). */
export type CommandArg = string | Uint8Array | number | bigint;
/** A command: its name and arguments. */
export type Command = readonly CommandArg[];

const CR = 13;
const LF = 10;
const STAR = 42;
const DOLLAR = 36;
/** `$` or `*`, at most 16 digits, CR LF. */
const HEADER_BYTES = 20;
/** Up to here a loop over the units beats the native encoder's call. */
const LOOP_UNITS = 48;
const RETAINED_BYTES = 256 * 1024;

const encoder = new TextEncoder();

export class RequestWriter {
  bytes: Uint8Array;
  length = 0;
  readonly #initialBytes: number;

  constructor(initialBytes = 16 * 1024) {
    this.#initialBytes = initialBytes;
    this.bytes = new Uint8Array(initialBytes);
  }

  /** Forgets what was written; only when nobody holds the bytes any more. */
  reset(): void {
    this.length = 0;
    if (this.bytes.length > RETAINED_BYTES) this.bytes = new Uint8Array(this.#initialBytes);
  }

  /** Gives the buffer away to whoever still sends it, and starts a new one. */
  release(): void {
    this.bytes = new Uint8Array(this.#initialBytes);
    this.length = 0;
  }

  /** Appends one command. O(its bytes). A number is written as JavaScript prints it. */
  command(args: Command): void {
    this.#reserve(HEADER_BYTES);
    this.length = putHeader(this.bytes, this.length, STAR, args.length);
    for (let i = 0; i < args.length; i += 1) this.#argument(args[i]!);
  }

  #argument(arg: CommandArg): void {
    if (typeof arg === 'string') this.#text(arg);
    else if (typeof arg === 'object') this.#bulk(arg);
    else this.#text(String(arg));
  }

  #bulk(value: Uint8Array): void {
    const size = value.length;
    this.#reserve(HEADER_BYTES + size + 2);
    const bytes = this.bytes;
    const at = putHeader(bytes, this.length, DOLLAR, size);
    bytes.set(value, at);
    bytes[at + size] = CR;
    bytes[at + size + 1] = LF;
    this.length = at + size + 2;
  }

  #text(text: string): void {
    const units = text.length;
    if (units > LOOP_UNITS) {
      this.#longText(text);
      return;
    }
    this.#reserve(HEADER_BYTES + units + 2);
    const bytes = this.bytes;
    const at = putHeader(bytes, this.length, DOLLAR, units);
    for (let i = 0; i < units; i += 1) {
      const unit = text.charCodeAt(i);
      if (unit >= 128) {
        this.#bulk(encoder.encode(text));
        return;
      }
      bytes[at + i] = unit;
    }
    bytes[at + units] = CR;
    bytes[at + units + 1] = LF;
    this.length = at + units + 2;
  }

  #longText(text: string): void {
    // Room for ASCII plus a little; a text that does not fit goes the slow way.
    this.#reserve(HEADER_BYTES + text.length + 2);
    const bytes = this.bytes;
    const header = this.length;
    const at = putHeader(bytes, header, DOLLAR, text.length);
    const { read, written } = encoder.encodeInto(text, bytes.subarray(at, bytes.length - 2));
    if (read < text.length || putHeader(bytes, header, DOLLAR, written) !== at) {
      this.#bulk(encoder.encode(text));
      return;
    }
    bytes[at + written] = CR;
    bytes[at + written + 1] = LF;
    this.length = at + written + 2;
  }

  #reserve(size: number): void {
    if (this.length + size <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.length + size));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
  }
}

/** Bytes of a command on the wire, at least: what bounds a queue of commands that are not written yet. O(arguments). */
export function commandBytes(args: Command): number {
  let size = 16;
  for (let i = 0; i < args.length; i += 1) {
    const arg = args[i]!;
    size += 16 + (typeof arg === 'string' || typeof arg === 'object' ? arg.length : 8);
  }
  return size;
}
