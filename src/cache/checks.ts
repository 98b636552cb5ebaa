/**
 * The checks that all options pass: is the name known, is the value in its bounds. The sentences name what was meant.
 */
import { BreakwaterError, isUntouchable } from '../base/errors.ts';
import { type Duration, parseDurationMs } from '../base/units.ts';
import { show } from './key.ts';

/** Announced in the design and not built: the sentence says so instead of guessing at a typing error. */
const PLANNED: ReadonlySet<string> = new Set(['plainSet', 'wait']);

/**
 * Refuses names that are not among `known`.
 * @throws BreakwaterError `CACHE_OPTION_UNKNOWN`
 */
export function checkNames(options: unknown, known: readonly string[], where: string): void {
  if (typeof options !== 'object' || options === null || isUntouchable(options) || Array.isArray(options)) {
    throw invalid(where, 'an object of options', options);
  }
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    const near = nearest(name, known);
    const hint = PLANNED.has(name)
      ? 'this version does not have it yet'
      : near === null
        ? `known are ${known.join(', ')}`
        : `did you mean "${near}"?`;
    throw new BreakwaterError('CACHE_OPTION_UNKNOWN', `cannot use option "${name}" of ${where}: ${hint}`);
  }
}

/** @throws BreakwaterError `CACHE_OPTION_INVALID`, `DURATION_INVALID` */
export function duration(
  value: Duration,
  name: string,
  where: string,
  leastMs: number,
  mostMs = Number.MAX_SAFE_INTEGER,
): number {
  const ms = parseDurationMs(value, `${name} of ${where}`);
  if (ms >= leastMs && ms <= mostMs) return ms;
  const bounds = ms < leastMs ? `at least ${leastMs} ms` : `at most ${mostMs} ms`;
  throw invalid(`${name} of ${where}`, bounds, value);
}

export function count(value: unknown, name: string, where: string, most: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= most) return value;
  throw invalid(`${name} of ${where}`, `an integer from 1 to ${most}`, value);
}

/** @throws BreakwaterError `CACHE_OPTION_INVALID` */
export function checkSignal(signal: unknown, where: string): void {
  if (signal === undefined || typeof (signal as Partial<AbortSignal> | null)?.throwIfAborted === 'function') return;
  throw invalid(`signal of ${where}`, 'an AbortSignal', signal);
}

export function invalid(what: string, expected: string, received: unknown): BreakwaterError {
  return new BreakwaterError(
    'CACHE_OPTION_INVALID',
    `cannot use ${what}: expected ${expected}, received ${show(received)}`,
  );
}

/** The known name within two typing errors of `name`, or null. */
export function nearest(name: string, known: readonly string[]): string | null {
  let best: string | null = null;
  let bestDistance = 3;
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein's, one row. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
