/**
 * What Postgres's plugin `pgoutput` says (protocol version 1): one message in, one value out. Pure: bytes are an argument, and nothing is kept.
 *
 *     Begin (position, commit time, xid)   Relation* (a table, before its first row)   Insert | Update | Delete | Truncate ...   Commit (end position)
 *
 * A transaction comes whole and only when it has been committed, in the order of commits. Version 1 and not the later ones on purpose: those may send a transaction while
 * it still runs, and an invalidation for a row that nobody can see yet is one that has to be made again.
 *
 * A row's columns are found and not read: a {@link Tuple} knows where each begins, and makes text of those that a mapping asks for. It points into the message and is good
 * only until the next one arrives.
 *
 * Layouts: PostgreSQL documentation, "Logical Replication Message Formats".
 */
import { BreakwaterError } from '../../../base/errors.ts';
import type { Lsn } from './lsn.ts';

export interface Begin {
  readonly kind: 'begin';
  /** Of the commit. */
  readonly lsn: Lsn;
  /** Ms since the Unix epoch, by the database's clock. */
  readonly commitMs: number;
  /** Low 32 bits of the transaction's number. */
  readonly xid: number;
}

export interface Commit {
  readonly kind: 'commit';
  /** Behind the whole transaction: what may be acknowledged when it is done. */
  readonly endLsn: Lsn;
  readonly commitMs: number;
}

export interface Column {
  readonly name: string;
  /** Part of the replica identity: the columns that old rows come with. All of them where it is FULL. */
  readonly isIdentity: boolean;
  readonly type: number;
}

export interface Relation {
  readonly kind: 'relation';
  readonly oid: number;
  readonly schema: string;
  readonly table: string;
  /** Replica identity: d(efault), n(othing), f(ull), i(ndex). */
  readonly identity: string;
  readonly columns: readonly Column[];
}

export interface RowChange {
  readonly kind: 'insert' | 'update' | 'delete';
  /** Oid of its table. */
  readonly relation: number;
  /** The row as it was: all of it (`full`), its identity (`key`); null = not told, so its identity has not changed. */
  readonly before: Tuple | null;
  readonly beforeIs: 'full' | 'key' | null;
  /** The row as it is; null of a delete. */
  readonly after: Tuple | null;
}

export interface Truncate {
  readonly kind: 'truncate';
  readonly relations: readonly number[];
}

/** Nothing about rows: a type, an origin, a message of an application. */
export interface Other {
  readonly kind: 'other';
}

export type Message = Begin | Commit | Relation | RowChange | Truncate | Other;

/** A column that an update did not change and that is stored out of line (TOAST): its value does not travel. */
export const UNCHANGED: unique symbol = Symbol('unchanged');

const OTHER: Other = { kind: 'other' };
const EPOCH_2000_MS = 946_684_800_000;
const decoder = new TextDecoder('utf-8');
const CODE = {
  B: 0x42,
  C: 0x43,
  D: 0x44,
  I: 0x49,
  K: 0x4b,
  M: 0x4d,
  N: 0x4e,
  O: 0x4f,
  R: 0x52,
  T: 0x54,
  U: 0x55,
  Y: 0x59,
  b: 0x62,
  n: 0x6e,
  t: 0x74,
  u: 0x75,
} as const;

/** The columns of one row, each null, unchanged or text. */
export class Tuple {
  readonly #bytes: Uint8Array;
  /** By column: where its text begins; -1 = null, -2 = unchanged. */
  readonly #starts: Int32Array;
  readonly #lengths: Int32Array;

  /** @internal */
  constructor(bytes: Uint8Array, starts: Int32Array, lengths: Int32Array) {
    this.#bytes = bytes;
    this.#starts = starts;
    this.#lengths = lengths;
  }

  get length(): number {
    return this.#starts.length;
  }

  /** The value as Postgres prints it. A column that is not there, as after a change of the table, is unchanged: not told. */
  text(column: number): string | null | typeof UNCHANGED {
    const start = this.#starts[column];
    if (start === undefined || start === -2) return UNCHANGED;
    if (start === -1) return null;
    return decoder.decode(this.#bytes.subarray(start, start + this.#lengths[column]!));
  }
}

/** @throws BreakwaterError `CHANGES_PROTOCOL`: it is not such a message, or it is cut off */
export function decode(bytes: Uint8Array): Message {
  const reader = new Reader(bytes);
  const code = reader.byte();
  switch (code) {
    case CODE.B:
      return { kind: 'begin', lsn: reader.uint64(), commitMs: reader.time(), xid: reader.uint32() };
    case CODE.C: {
      reader.skip(1 + 8);
      return { kind: 'commit', endLsn: reader.uint64(), commitMs: reader.time() };
    }
    case CODE.R:
      return relation(reader);
    case CODE.I: {
      const oid = reader.uint32();
      reader.expect(CODE.N);
      return { kind: 'insert', relation: oid, before: null, beforeIs: null, after: reader.tuple() };
    }
    case CODE.U: {
      const oid = reader.uint32();
      let marker = reader.byte();
      let before: Tuple | null = null;
      let beforeIs: RowChange['beforeIs'] = null;
      if (marker === CODE.K || marker === CODE.O) {
        beforeIs = marker === CODE.O ? 'full' : 'key';
        before = reader.tuple();
        marker = reader.byte();
      }
      if (marker !== CODE.N) throw malformed(`an update with a part ${marker}`);
      return { kind: 'update', relation: oid, before, beforeIs, after: reader.tuple() };
    }
    case CODE.D: {
      const oid = reader.uint32();
      const marker = reader.byte();
      if (marker !== CODE.K && marker !== CODE.O) throw malformed(`a delete with a part ${marker}`);
      const beforeIs = marker === CODE.O ? 'full' : 'key';
      return { kind: 'delete', relation: oid, before: reader.tuple(), beforeIs, after: null };
    }
    case CODE.T: {
      const count = reader.uint32();
      reader.skip(1);
      reader.hold(count * 4);
      return { kind: 'truncate', relations: Array.from({ length: count }, () => reader.uint32()) };
    }
    case CODE.Y:
    case CODE.O:
    case CODE.M:
      return OTHER;
    default:
      throw malformed(`a message of kind ${code}`);
  }
}

function relation(reader: Reader): Relation {
  const oid = reader.uint32();
  const schema = reader.string();
  const table = reader.string();
  const identity = String.fromCharCode(reader.byte());
  const count = reader.uint16();
  const columns: Column[] = [];
  for (let i = 0; i < count; i += 1) {
    const isIdentity = (reader.byte() & 1) === 1;
    columns.push({ isIdentity, name: reader.string(), type: reader.uint32() });
    reader.skip(4);
  }
  // The catalogue's own schema is sent as nothing.
  return { kind: 'relation', oid, schema: schema === '' ? 'pg_catalog' : schema, table, identity, columns };
}

/** Reads on and on, and never beyond the end. */
class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Are so many bytes left? */
  hold(length: number): void {
    if (length < 0 || this.#at + length > this.#bytes.length) {
      throw malformed(`${this.#bytes.length} bytes, where ${this.#at + length} are needed`);
    }
  }

  skip(length: number): void {
    this.hold(length);
    this.#at += length;
  }

  byte(): number {
    this.hold(1);
    return this.#bytes[this.#at++]!;
  }

  expect(code: number): void {
    const found = this.byte();
    if (found !== code) throw malformed(`${found} where ${code} belongs`);
  }

  uint16(): number {
    this.hold(2);
    this.#at += 2;
    return this.#view.getUint16(this.#at - 2);
  }

  uint32(): number {
    this.hold(4);
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4);
  }

  uint64(): bigint {
    this.hold(8);
    this.#at += 8;
    return this.#view.getBigUint64(this.#at - 8);
  }

  /** Microseconds since 2000 as ms since 1970; a number of them is exact for 285 years around. */
  time(): number {
    this.hold(8);
    this.#at += 8;
    return Number(this.#view.getBigInt64(this.#at - 8)) / 1000 + EPOCH_2000_MS;
  }

  /** Up to its zero. */
  string(): string {
    const end = this.#bytes.indexOf(0, this.#at);
    if (end < 0) throw malformed('a name without an end');
    const text = decoder.decode(this.#bytes.subarray(this.#at, end));
    this.#at = end + 1;
    return text;
  }

  tuple(): Tuple {
    const count = this.uint16();
    this.hold(count);
    const starts = new Int32Array(count);
    const lengths = new Int32Array(count);
    for (let i = 0; i < count; i += 1) {
      const kind = this.byte();
      if (kind === CODE.n) starts[i] = -1;
      else if (kind === CODE.u) starts[i] = -2;
      else if (kind === CODE.t) {
        const length = this.uint32();
        this.hold(length);
        starts[i] = this.#at;
        lengths[i] = length;
        this.#at += length;
      } else throw malformed(`a column of kind ${kind}`);
    }
    return new Tuple(this.#bytes, starts, lengths);
  }
}

function malformed(what: string): BreakwaterError {
  return new BreakwaterError('CHANGES_PROTOCOL', `cannot read what pgoutput sent: ${what}`);
}

/** What a walsender puts around the messages. */
export type Frame =
  | { readonly kind: 'data'; readonly message: Uint8Array }
  | { readonly kind: 'keepalive'; readonly endLsn: Lsn; readonly wantsReply: boolean };

/** @throws BreakwaterError `CHANGES_PROTOCOL` */
export function unframe(bytes: Uint8Array): Frame {
  const reader = new Reader(bytes);
  const code = reader.byte();
  if (code === 0x77) {
    reader.skip(24);
    return { kind: 'data', message: bytes.subarray(25) };
  }
  if (code !== 0x6b) throw malformed(`a frame of kind ${code}`);
  const endLsn = reader.uint64();
  reader.skip(8);
  return { kind: 'keepalive', endLsn, wantsReply: reader.byte() === 1 };
}

/** "Standby status update": received so far, and done with, so that it need not be kept. */
export function statusUpdate(received: Lsn, done: Lsn, nowMs: number, wantsReply: boolean): Uint8Array {
  const bytes = new Uint8Array(34);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, 0x72);
  view.setBigUint64(1, received);
  view.setBigUint64(9, done);
  view.setBigUint64(17, done);
  view.setBigInt64(25, BigInt(Math.round((nowMs - EPOCH_2000_MS) * 1000)));
  view.setUint8(33, wantsReply ? 1 : 0);
  return bytes;
}
