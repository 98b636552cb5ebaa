/**
 * Which product each request asks for: a Zipf stream with a seed, or a recorded trace. Both are endless for the reader: a
 * trace says how long it is and begins anew after its end.
 */
import { readFileSync } from 'node:fs';
import { brotliDecompressSync } from 'node:zlib';
import { BreakwaterError, messageOf } from '../../base/errors.ts';
import { SeededRandom } from '../../base/random.ts';
import { Zipf } from '../../base/zipf.ts';

export interface RequestStream {
  /** The id of the next product, from 1. */
  next(): number;
  /** Requests before it repeats; null = never. */
  readonly length: number | null;
  /** How many rows it asks for at most. */
  readonly rows: number;
  /** What it is, for the report. */
  readonly description: string;
}

/** A whole-number multiplier without a common factor with `n`: k -> (k * m) mod n is then a permutation of 0 .. n - 1. */
function scatterMultiplier(n: number): number {
  const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
  let m = Math.max(1, Math.floor(n * 0.618));
  while (gcd(m, n) !== 1) m += 1;
  return m;
}

/** Popular products are scattered over the table, as they are in a shop, so that they do not share database pages. */
export function zipfStream(rows: number, exponent: number, seed: number): RequestStream {
  const zipf = new Zipf(rows, exponent, new SeededRandom(seed));
  const multiplier = scatterMultiplier(rows);
  return {
    next: () => 1 + ((zipf.next() * multiplier) % rows),
    length: null,
    rows,
    description: `Zipf, exponent ${exponent}, over ${rows.toLocaleString('en-US')} products, seed ${seed}`,
  };
}

/**
 * The dense ids of a trace: brotli of a little-endian Uint32Array, one element a request.
 * @throws BreakwaterError `USAGE_TRACE`
 */
export function readTrace(path: string): Uint32Array {
  let bytes: Buffer;
  try {
    bytes = brotliDecompressSync(readFileSync(path));
  } catch (cause) {
    throw new BreakwaterError('USAGE_TRACE', `cannot read the trace ${path}: ${messageOf(cause)}`, { cause });
  }
  if (bytes.length === 0 || bytes.length % 4 !== 0) {
    throw new BreakwaterError(
      'USAGE_TRACE',
      `cannot read the trace ${path}: expected 32-bit ids, received ${bytes.length} bytes`,
    );
  }
  const ids = new Uint32Array(bytes.length / 4);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let i = 0; i < ids.length; i += 1) ids[i] = view.getUint32(i * 4, true);
  return ids;
}

/** A trace's ids become rows; where it has more ids than there are `rows`, several share one. */
export function traceStream(ids: Uint32Array, rows: number, name: string): RequestStream {
  let at = 0;
  let unique = 0;
  for (const id of ids) unique = Math.max(unique, id + 1);
  return {
    next() {
      const id = ids[at]!;
      at = at + 1 === ids.length ? 0 : at + 1;
      return 1 + (id % rows);
    },
    length: ids.length,
    rows,
    description: `trace ${name}: ${ids.length.toLocaleString('en-US')} requests for ${Math.min(unique, rows).toLocaleString('en-US')} products`,
  };
}
