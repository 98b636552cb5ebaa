/**
 * Where the keys of a command stand: what routing needs, and COMMAND GETKEYS tells. Most rows of the table say it with first, last and step; a few of
 * ours count their keys in an argument, and have a function here.
 *
 * Names of locks and counters count as keys: they live where their slot does.
 */
import { slotOf } from '../hash/slot.ts';
import type { Args } from '../resp/parser.ts';
import { integerAt } from './numbers.ts';
import type { CommandRow } from './row.ts';
import { argIs, word } from './words.ts';

/** The argument of the next key after argument `at` (0 = of the first), or 0 when there is none. Nothing is allocated. */
type NextKey = (args: Args, at: number) => number;

const KEYS = word('keys');

/** The slot of the command's keys when they are all in one. */
export const NO_KEYS = -1;
/** Its keys are in more than one slot. */
export const MANY_SLOTS = -2;

/**
 * The keys of `row` with these arguments are found by `next`: start with 0, end at 0. Arguments that make no sense have no keys: the command
 * itself says what is wrong with them.
 */
export function nextKeyOf(row: CommandRow): NextKey | null {
  const counted = COUNTED[row.name];
  if (counted !== undefined) return counted;
  const [first, last, step] = row.keys;
  if (first === 0) return null;
  return (args, at) => {
    const next = at === 0 ? first : at + step;
    const end = last < 0 ? args.count + last : last;
    return next <= end && next < args.count ? next : 0;
  };
}

/** The slot of all keys: 0 to 16,383, {@link NO_KEYS} or {@link MANY_SLOTS}. O(bytes of the keys). */
export function slotOfKeys(next: NextKey, args: Args): number {
  let slot = NO_KEYS;
  for (let at = next(args, 0); at !== 0; at = next(args, at)) {
    const its = slotOf(args.bytes, args.start[at]!, args.start[at]! + args.length[at]!);
    if (slot === NO_KEYS) slot = its;
    else if (slot !== its) return MANY_SLOTS;
  }
  return slot;
}

const count = (args: Args, at: number): number =>
  at < args.count ? integerAt(args.bytes, args.start[at]!, args.length[at]!) : Number.NaN;

/** `n key ...` from argument 1 on. */
const countedFromOne: NextKey = (args, at) => {
  const keys = count(args, 1);
  if (!(keys >= 1 && keys + 2 <= args.count)) return 0;
  if (at === 0) return 2;
  return at + 1 < 2 + keys ? at + 1 : 0;
};

/** `n (key value px token ntags tag ...) ...` */
const entries: NextKey = (args, at) => {
  if (at === 0) return args.count > 6 ? 2 : 0;
  const tags = count(args, at + 4);
  const next = at + 5 + tags;
  return tags >= 0 && next + 4 < args.count ? next : 0;
};

/** `[KEYS n key ...] [TAGS n tag ...] [NAMESPACES n name ...]`, each any number of times. */
const clauses: NextKey = (args, at) => {
  for (let i = 1; i + 1 < args.count; ) {
    const names = count(args, i + 1);
    const end = i + 2 + names;
    if (!(names >= 0 && end <= args.count)) return 0;
    if (argIs(args, i, KEYS) && names > 0) {
      if (at < i + 2) return i + 2;
      if (at + 1 < end) return at + 1;
    }
    i = end;
  }
  return 0;
};

const COUNTED: Readonly<Record<string, NextKey>> = {
  'bw.mget': countedFromOne,
  'bw.lease': countedFromOne,
  'bw.fill': entries,
  'bw.invalidate': clauses,
};
