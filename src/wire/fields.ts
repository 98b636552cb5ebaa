/**
 * Bodies described once: a field knows how to write a value, how to read it back and what it is called in the table of frames. So writer, reader and
 * documentation cannot differ, and the compiler says when a message has a field that its frame has not.
 */
import type { Ballot } from '../base/ballot.ts';
import type { BodyReader, BodyWriter } from './body.ts';
import { invalid } from './body.ts';

export interface Field<T> {
  write(out: BodyWriter, value: T): void;
  read(from: BodyReader): T;
  /** As in the table of frames. */
  readonly shape: string;
}

export const count: Field<number> = {
  write: (out, value) => out.count(value),
  read: (from) => from.count(),
  shape: 'count',
};

export function countUpTo(most: number): Field<number> {
  return {
    write: (out, value) => out.count(value),
    read: (from) => from.countUpTo(most, 'a number in it'),
    shape: `count <= ${most}`,
  };
}

export const time: Field<number> = {
  write: (out, value) => out.time(value),
  read: (from) => from.time(),
  shape: 'time',
};

export const boolean: Field<boolean> = {
  write: (out, value) => out.boolean(value),
  read: (from) => from.boolean(),
  shape: 'yes/no',
};

/** A member that there must be. */
export const id: Field<string> = {
  write: (out, value) => out.id(value),
  read: (from) => from.id() || invalid('it names no member where there must be one'),
  shape: 'id',
};

export const optionalId: Field<string | null> = {
  write: (out, value) => out.id(value),
  read: (from) => from.id() || null,
  shape: 'id?',
};

/** The node of the lowest ballot is ''. */
export const ballot: Field<Ballot> = {
  write: (out, { epoch, node }) => {
    out.count(epoch);
    out.id(node);
  },
  read: (from) => ({ epoch: from.count(), node: from.id() }),
  shape: 'ballot',
};

export function data(mostBytes: number): Field<Uint8Array> {
  return {
    write: (out, value) => out.data(value),
    read: (from) => from.data(mostBytes),
    shape: 'bytes',
  };
}

export function text(mostBytes: number): Field<string> {
  return {
    write: (out, value) => out.text(value),
    read: (from) => from.text(mostBytes),
    shape: `text <= ${mostBytes}`,
  };
}

/** One of a few words, by its place among them: words are only ever added at the end. */
export function oneOf<const T extends string>(...words: readonly T[]): Field<T> {
  return {
    write: (out, value) => out.byte(words.indexOf(value)),
    read: (from) => words[from.byte()] ?? invalid('it has a word that this version does not know'),
    shape: words.join('/'),
  };
}

/** Nothing is allocated ahead of what is read: each element takes a byte at least, so a long list needs a long frame. */
export function list<T>(field: Field<T>, most: number): Field<readonly T[]> {
  return {
    write: (out, values) => {
      out.count(values.length);
      for (const value of values) field.write(out, value);
    },
    read: (from) => {
      const length = from.countUpTo(Math.min(most, from.left), 'the length of a list');
      const values: T[] = [];
      for (let i = 0; i < length; i += 1) values.push(field.read(from));
      return values;
    },
    shape: `[${field.shape}]`,
  };
}

/** Fields in the order in which they are written. New ones are added at the end, and read with `added`. */
export function record<T extends object>(fields: { readonly [K in keyof T]-?: Field<T[K]> }): Field<T> {
  const names = Object.keys(fields) as (keyof T)[];
  return {
    write: (out, value) => {
      for (const name of names) fields[name].write(out, value[name]);
    },
    read: (from) => {
      const value: Partial<T> = {};
      for (const name of names) value[name] = fields[name].read(from);
      return value as T;
    },
    shape: `{${names.map((name) => `${String(name)}: ${fields[name].shape}`).join(', ')}}`,
  };
}

/** A field that older members do not write: where the body has ended it is `absent`. Only at the end of a body. */
export function added<T>(field: Field<T>, absent: T): Field<T> {
  return {
    write: (out, value) => field.write(out, value),
    read: (from) => (from.left === 0 ? absent : field.read(from)),
    shape: `${field.shape} (added)`,
  };
}
