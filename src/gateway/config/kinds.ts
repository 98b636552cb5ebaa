/**
 * The kinds of values that a configuration file may have, each with one reader: what is read, what is said when it does not fit, and how the
 * documentation calls it. Options (`options.ts`) are tables of these.
 *
 * Durations need a unit. The library takes a bare number as milliseconds, people who write YAML mean seconds, and a factor of a thousand between what was
 * meant and what runs is found in the next outage.
 */
import { BreakwaterError } from '../../base/errors.ts';
import { parseDurationMs, parseSizeBytes } from '../../base/units.ts';
import type { ConfigReader, Member, Place } from './reader.ts';

export interface Kind<T> {
  /** For docs and sentences: `a duration such as "10s"`. */
  readonly says: string;
  /** The value; undefined when it cannot be used, which has been noted then. */
  read(reader: ConfigReader, place: Place): T | undefined;
  /** The options within, for the documentation. */
  readonly within?: Options;
  /** What stands between the name and those options: `.<name>`. */
  readonly step?: string;
}

export interface Option<T = unknown, R extends boolean = boolean> {
  readonly kind: Kind<T>;
  readonly required: R;
  /** The default as people write it. */
  readonly byDefault: string;
  /** What it is and does, one or two sentences. */
  readonly summary: string;
}

export type Options = Readonly<Record<string, Option>>;

type Read<O> = O extends Option<infer T> ? T : never;
/** What a table of options reads to: required ones are there, others may be. */
export type Values<S extends Options> = {
  readonly [K in keyof S as S[K] extends Option<unknown, true> ? K : never]: Read<S[K]>;
} & { readonly [K in keyof S as S[K] extends Option<unknown, true> ? never : K]?: Read<S[K]> };

export function required<T>(kind: Kind<T>, summary: string): Option<T, true> {
  return { kind, required: true, byDefault: '', summary };
}

export function optional<T>(kind: Kind<T>, byDefault: string, summary: string): Option<T, false> {
  return { kind, required: false, byDefault, summary };
}

type Scalar = string | number | boolean;

/** A kind of single values: `parse` gives the value, or null for "not one of mine". */
export function scalar<T>(says: string, parse: (value: Scalar) => T | null, isSecret = false): Kind<T> {
  return {
    says,
    read: (reader, place) => {
      const given = reader.scalar(place, says, isSecret);
      if (given === null || given.value === null) return undefined;
      const value = parse(given.value);
      if (value !== null) return value;
      reader.problem(place, `expected ${says}, received ${given.shown}`);
      return undefined;
    },
  };
}

const numberOf = (value: Scalar): number =>
  typeof value === 'number'
    ? value
    : typeof value === 'string' && /^-?\d+(?:\.\d+)?$/.test(value)
      ? Number(value)
      : Number.NaN;

export function whole(min: number, max: number): Kind<number> {
  return scalar(`a whole number from ${min} to ${max}`, (value) => {
    const read = numberOf(value);
    return Number.isInteger(read) && read >= min && read <= max ? read : null;
  });
}

export function fraction(says: string, isIn: (value: number) => boolean): Kind<number> {
  return scalar(says, (value) => {
    const read = numberOf(value);
    return isIn(read) ? read : null;
  });
}

export function toggle(): Kind<boolean> {
  return scalar('true or false', (value) => {
    if (typeof value === 'boolean') return value;
    return value === 'true' ? true : value === 'false' ? false : null;
  });
}

/** Text of whatever is written: `007` and `true` too, where a name is meant. */
export function text(says = 'text'): Kind<string> {
  return scalar(says, (value) => (typeof value === 'string' ? value : null));
}

export function secret(says: string, pattern: RegExp): Kind<string> {
  return scalar(says, (value) => (typeof value === 'string' && pattern.test(value) ? value : null), true);
}

export function matching(says: string, pattern: RegExp): Kind<string> {
  return scalar(says, (value) => (pattern.test(String(value)) ? String(value) : null));
}

export function choice<const T extends string>(...choices: readonly T[]): Kind<T> {
  const says =
    choices.length === 1 ? `"${choices[0]}"` : `one of ${choices.map((one) => JSON.stringify(one)).join(', ')}`;
  return scalar(says, (value) => choices.find((one) => one === value) ?? null);
}

/** A value that is off, or something else: `false`, or `...`. */
export function offOr<T>(kind: Kind<T>): Kind<T | false> {
  return {
    ...kind,
    says: `false, or ${kind.says}`,
    read: (reader, place) => {
      if (reader.isMap(place) || reader.isList(place)) return kind.read(reader, place);
      const given = reader.scalar(place, `false, or ${kind.says}`);
      if (given === null) return undefined;
      return given.value === false || given.value === 'false' ? false : kind.read(reader, place);
    },
  };
}

/** One kind for single values, another for what has parts. */
export function singleOr<A, B>(single: Kind<A>, parts: Kind<B>): Kind<A | B> {
  return {
    ...parts,
    says: single.says.includes(parts.says) ? single.says : `${single.says}, or ${parts.says}`,
    read: (reader, place) =>
      reader.isMap(place) || reader.isList(place) ? parts.read(reader, place) : single.read(reader, place),
  };
}

/** Milliseconds. */
export function duration(minMs = 1, maxMs = 365 * 86_400_000): Kind<number> {
  const says =
    minMs === 0 ? '0, or a duration such as "250ms", "10s" or "1h"' : 'a duration such as "250ms", "10s" or "1h"';
  return {
    says,
    read: (reader, place) => {
      const given = reader.scalar(place, says);
      if (given === null) return undefined;
      const { value, shown } = given;
      const isBare = typeof value === 'number' || (typeof value === 'string' && /^\d+(?:\.\d+)?$/.test(value));
      if (isBare && Number(value) !== 0) {
        reader.problem(place, `a duration needs a unit: ${shown}ms, ${shown}s or ${shown}m, received ${shown}`);
        return undefined;
      }
      let ms: number;
      try {
        ms = isBare ? 0 : parseDurationMs(String(value));
      } catch {
        reader.problem(place, `expected ${says}, received ${shown}`);
        return undefined;
      }
      if (ms >= minMs && ms <= maxMs) return ms;
      const bound = ms < minMs ? `at least ${inWords(minMs)}` : `at most ${inWords(maxMs)}`;
      reader.problem(place, `expected ${bound}, received ${shown}`);
      return undefined;
    },
  };
}

/** As people write it: `365d`. */
function inWords(ms: number): string {
  const [unit, length] = (
    [
      ['d', 86_400_000],
      ['h', 3_600_000],
      ['m', 60_000],
      ['s', 1000],
    ] as const
  ).find(([, each]) => ms > 0 && ms % each === 0) ?? ['ms', 1];
  return `${ms / length}${unit}`;
}

/** Bytes. */
export function size(min: number, max: number, bounds: string): Kind<number> {
  const says = `a size ${bounds}`;
  return scalar(says, (value) => {
    if (typeof value === 'boolean') return null;
    try {
      const bytes = parseSizeBytes(value);
      return bytes >= min && bytes <= max ? bytes : null;
    } catch (error) {
      if (error instanceof BreakwaterError) return null;
      throw error;
    }
  });
}

export function list<T>(kind: Kind<T>, says: string, least = 1): Kind<readonly T[]> {
  return {
    says,
    read: (reader, place) => {
      const items = reader.items(place, says);
      if (items === null) return undefined;
      if (items.length < least) {
        const wanted = least > 1 ? `${says} of at least ${least}` : says;
        reader.problem(place, `expected ${wanted}, received ${items.length === 0 ? 'an empty list' : items.length}`);
        return undefined;
      }
      const read = items.map((item) => kind.read(reader, item));
      return read.includes(undefined) ? undefined : (read as T[]);
    },
  };
}

/** A mapping with names of the user's: `name: ...`. In the order of the file. */
export function named<T>(pattern: RegExp, says: string, kind: Kind<T>, step: string): Kind<ReadonlyMap<string, T>> {
  return {
    says,
    step,
    ...(kind.within !== undefined && { within: kind.within }),
    read: (reader, place) => {
      const members = reader.members(place, says);
      if (members === null) return undefined;
      const values = new Map<string, T>();
      for (const member of members) {
        if (!pattern.test(member.name)) {
          reader.problem(
            { ...member, at: member.nameAt },
            `expected ${says}, received the name ${JSON.stringify(member.name)}`,
          );
          continue;
        }
        const value = kind.read(reader, member);
        if (value === undefined) reader.markBroken(member.path);
        else values.set(member.name, value);
      }
      return values;
    },
  };
}

/** A mapping of known options. Unknown names are refused, with what may have been meant. */
export function section<const S extends Options>(options: S, says = 'options'): Kind<Values<S>> {
  const known = Object.keys(options);
  return {
    says,
    within: options,
    read: (reader, place) => {
      const members = reader.members(place, says);
      if (members === null) return undefined;
      const values: Record<string, unknown> = {};
      let isWhole = true;
      const given = new Set<string>();
      for (const member of members) {
        if (isExtension(member, place)) continue;
        const option = Object.hasOwn(options, member.name) ? options[member.name] : undefined;
        if (option === undefined) {
          reader.problem(
            { ...member, path: place.path, at: member.nameAt },
            `there is no option ${JSON.stringify(member.name)}: ${reader.hint(member.name, known)}`,
          );
          isWhole = false;
          continue;
        }
        given.add(member.name);
        const value = option.kind.read(reader, member);
        if (value === undefined) isWhole = false;
        else values[member.name] = value;
      }
      for (const [name, option] of Object.entries(options)) {
        if (!option.required || given.has(name)) continue;
        reader.problem(
          place,
          `${JSON.stringify(name)} is missing: ${option.summary.split('. ')[0]!.replace(/\.$/, '')}`,
        );
        isWhole = false;
      }
      return isWhole ? (values as Values<S>) : undefined;
    },
  };
}

/** `x-anything:` at the top: a place for anchors. */
function isExtension({ name }: Member, place: Place): boolean {
  return place.path === '' && name.startsWith('x-');
}
