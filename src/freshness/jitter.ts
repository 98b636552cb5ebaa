/**
 * Spread in time. Ten thousand entries that were filled in one second by a deployment, each with a TTL of ten minutes,
 * expire in one second too, and the source meets them all at once, every ten minutes, for ever. A few per cent of chance
 * in each TTL pulls the wave flat after two or three rounds.
 *
 * To both sides, so that the mean is what the declaration says: "10m" with a jitter of 0.1 is between 9 and 11 minutes.
 */
import { BreakwaterError } from '../base/errors.ts';

/**
 * `ttlMs` times a factor uniform in [1 - fraction, 1 + fraction], rounded to whole milliseconds. A TTL above 0 stays at
 * least 1 ms (0 would mean "expired" where none was meant); 0 and `Infinity` stay as they are.
 *
 * @param random one uniform float in [0, 1)
 */
export function jitteredTtlMs(ttlMs: number, fraction: number, random: number): number {
  if (ttlMs === Number.POSITIVE_INFINITY || ttlMs <= 0 || fraction === 0) return ttlMs;
  return Math.max(1, Math.round(ttlMs * (1 + fraction * (2 * random - 1))));
}

/**
 * A jitter fraction, checked: 0 (none) up to, not including, 1 (a TTL could come out as nothing).
 * @throws BreakwaterError `JITTER_INVALID`
 */
export function checkJitter(fraction: number): number {
  if (fraction >= 0 && fraction < 1) return fraction;
  throw new BreakwaterError(
    'JITTER_INVALID',
    `cannot use jitter: expected a fraction of the ttl from 0 up to below 1 (0.1 = ten per cent to both sides), received ${String(fraction)}`,
  );
}
