/**
 * Values to text and back. Every answer of a cache has been through JSON, the one that was just loaded too: a `Date` that is a Date
 * on the first call and text on the second is a bug that shows on the second day. It also separates the caller's object from
 * the loader's, so that what is frozen in L1 is ours.
 *
 * JSON drops or bends some values without a word: `NaN` becomes null, a Map or an iterator becomes `{}`, a function in an array becomes null,
 * a member under a symbol is gone. Those are refused with the path to them, when the value is written and in every store.
 */
import { BreakwaterError, messageOf } from '../base/errors.ts';

/** Levels of objects and arrays in one value. What is passed on by recursion here, and by whoever reads it later, stays far from the end of the stack. */
const MAX_DEPTH = 1_000;

/** Freeze what L1 shares? In production no: the check costs a walk of every value. Read once. */
export const FREEZE_VALUES = process.env['NODE_ENV'] !== 'production';

/**
 * JSON text of `value`.
 * @param what names it in the error, e.g. `user:42`
 * @throws BreakwaterError `CACHE_VALUE_UNSERIALISABLE`
 */
export function toJson(value: unknown, what: string): string {
  let text: string | undefined;
  try {
    // First, since it also finds cycles, which the walk below would follow for ever.
    text = JSON.stringify(value);
  } catch (error) {
    const why = typeof value === 'bigint' ? 'it is a bigint' : messageOf(error).split('\n')[0];
    throw unserialisable(what, `${why}`, error);
  }
  if (text === undefined) throw unserialisable(what, `it is ${kindOf(value)}`);
  const loss = findLoss(value, 'value');
  if (loss !== null) throw unserialisable(what, loss);
  return text;
}

/** What JSON would lose in silence: a sentence with the path, or null. Cycles are none: JSON.stringify has passed. */
function findLoss(value: unknown, path: string, depth = 0): string | null {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return null;
    case 'number':
      return Number.isFinite(value) ? null : `${path} is ${value}, which JSON turns into null`;
    case 'object':
      break;
    default:
      return `${path} is ${kindOf(value)}, which JSON drops`;
  }
  if (value === null) return null;
  if (depth >= MAX_DEPTH) return `it is nested more than ${MAX_DEPTH} levels deep`;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i += 1) {
      const loss = findLoss(value[i], `${path}[${i}]`, depth + 1);
      if (loss !== null) return loss;
    }
    return null;
  }
  // Before toJSON: a Buffer has one, and what it makes is no value for a cache.
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
    return `${path} is binary (${value.constructor.name}): encode it, for example as base64`;
  }
  if (hasToJson(value)) {
    const json = value.toJSON();
    return json === null && value instanceof Date ? `${path} is an invalid Date` : findLoss(json, path, depth + 1);
  }
  if (value instanceof Map || value instanceof Set || value instanceof Error || value instanceof RegExp) {
    return `${path} is a ${value.constructor.name}, which JSON turns into {}`;
  }
  if (value instanceof Promise) return `${path} is a Promise: await it`;
  if (value instanceof Number || value instanceof String || value instanceof Boolean) {
    return findLoss(value.valueOf(), path, depth + 1);
  }
  const hidden = hiddenContent(value, path);
  if (hidden !== null) return hidden;
  for (const [name, member] of Object.entries(value)) {
    if (member === undefined) continue; // an optional property that is not there: the same after JSON
    const loss = findLoss(member, `${path}.${name}`, depth + 1);
    if (loss !== null) return loss;
  }
  return null;
}

/** Content that is not in members under names: under symbols, or within (a WeakMap, an iterator, private fields). */
function hiddenContent(value: object, path: string): string | null {
  for (const symbol of Object.getOwnPropertySymbols(value)) {
    if (!Object.prototype.propertyIsEnumerable.call(value, symbol)) continue;
    return `${path} has a member under ${String(symbol)}, which JSON drops`;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  // Plain, of whatever realm: nothing above its prototype.
  if (prototype === null || Object.getPrototypeOf(prototype) === null) return null;
  if (Object.keys(value).length > 0) return null;
  return `${path} is ${nameOf(value)} without members of its own, which JSON turns into {}`;
}

function nameOf(value: object): string {
  const tag = Object.prototype.toString.call(value).slice(8, -1);
  const name: unknown = tag === 'Object' ? value.constructor?.name : tag;
  return typeof name === 'string' && name !== '' ? `a ${name}` : 'an object';
}

function hasToJson(value: object): value is { toJSON(): unknown } {
  return 'toJSON' in value && typeof value.toJSON === 'function';
}

function kindOf(value: unknown): string {
  return value === undefined || value === null ? String(value) : `a ${typeof value}`;
}

function unserialisable(what: string, why: string, cause?: unknown): BreakwaterError {
  return new BreakwaterError(
    'CACHE_VALUE_UNSERIALISABLE',
    `cannot cache ${what}: ${why}`,
    cause === undefined ? undefined : { cause },
  );
}

/** Freezes `value` and all within, in place; for what `JSON.parse` made. */
export function deepFreeze(value: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  Object.freeze(value);
  for (const member of Object.values(value)) deepFreeze(member);
}
