/**
 * The units people write: `10m`, `256mb`. One parser for flags, YAML, environment and the library's options.
 */
import { BreakwaterError } from './errors.ts';

const MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };
const BYTES: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 1000,
  kb: 1024,
  kib: 1024,
  m: 1_000_000,
  mb: 1024 ** 2,
  mib: 1024 ** 2,
  g: 1_000_000_000,
  gb: 1024 ** 3,
  gib: 1024 ** 3,
};

/** A duration: milliseconds as a number, or text such as `250ms`, `10s`, `10m`, `1.5h`, `7d`. */
export type Duration = number | string;

/**
 * Milliseconds of a duration (an integer >= 0).
 * @throws BreakwaterError `DURATION_INVALID`
 */
export function parseDurationMs(value: Duration, what = 'duration'): number {
  if (typeof value === 'number') {
    if (Number.isFinite(value) && value >= 0) return Math.round(value);
  } else if (typeof value === 'string') {
    const match = /^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*$/i.exec(value);
    if (match) return Math.round(Number(match[1]) * MS[match[2]!.toLowerCase()]!);
  }
  throw new BreakwaterError(
    'DURATION_INVALID',
    `cannot read ${what}: expected milliseconds or text such as "250ms", "10s", "10m", "1h", "7d", received ${received(value)}`,
  );
}

/**
 * Bytes of a size (an integer >= 0): a number, or text such as `512`, `64kb`, `256mb`, `1gb` (kb, mb, gb are powers of
 * 1024 and k, m, g powers of 1000, as in redis.conf).
 * @throws BreakwaterError `SIZE_INVALID`
 */
export function parseSizeBytes(value: number | string, what = 'size'): number {
  if (typeof value === 'number') {
    if (Number.isSafeInteger(value) && value >= 0) return value;
  } else if (typeof value === 'string') {
    const match = /^\s*(\d+(?:\.\d+)?)\s*([kmg]?i?b?)\s*$/i.exec(value);
    const unit = match ? BYTES[match[2]!.toLowerCase()] : undefined;
    if (match && unit !== undefined) return Math.round(Number(match[1]) * unit);
  }
  throw new BreakwaterError(
    'SIZE_INVALID',
    `cannot read ${what}: expected bytes or text such as "64kb", "256mb", "1gb", received ${received(value)}`,
  );
}

/** For a sentence. Whoever writes JavaScript may hand over anything, and saying so must not throw another error. */
function received(value: unknown): string {
  return typeof value === 'string'
    ? JSON.stringify(value)
    : typeof value === 'number'
      ? `${value}`
      : `a ${typeof value}`;
}

/** `1536` -> `1.5 KiB`; for people, not for programs. */
export function formatBytes(bytes: number): string {
  const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let index = 0;
  while (value >= 1024 && index < names.length - 1) {
    value /= 1024;
    index += 1;
  }
  return index === 0 ? `${bytes} B` : `${value.toFixed(value >= 100 ? 0 : 1)} ${names[index]}`;
}
