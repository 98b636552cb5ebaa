/**
 * Request streams for the hit-ratio bench: generated ones, and traces read from a directory.
 *
 * A stream is a Uint32Array of key ids; every request is a get that inserts on a miss, every entry has size 1.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { SeededRandom } from '../../src/base/random.ts';

export interface Workload {
  readonly name: string;
  readonly requests: Uint32Array;
  /** Capacities to measure at, in entries. */
  readonly capacities: readonly number[];
}

/** Zipf over `keys` with exponent `alpha`, by inverting the cumulative weights. */
function zipf(random: SeededRandom, keys: number, alpha: number, count: number): Uint32Array {
  const cumulative = new Float64Array(keys);
  let sum = 0;
  for (let key = 0; key < keys; key += 1) {
    sum += (key + 1) ** -alpha;
    cumulative[key] = sum;
  }
  const requests = new Uint32Array(count);
  for (let i = 0; i < count; i += 1) {
    const point = random.nextFloat() * sum;
    let low = 0;
    let high = keys - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (cumulative[middle]! < point) low = middle + 1;
      else high = middle;
    }
    requests[i] = low;
  }
  return requests;
}

/** What the bench runs without a directory of traces: Zipf, a loop, Zipf with scans, and a change of phase. */
export function generatedWorkloads(): Workload[] {
  const random = new SeededRandom(20_240_601);
  const capacities = [100, 1000, 10_000];
  const loop = new Uint32Array(600_000).map((_, i) => i % 1500);
  const scanned = zipf(random, 100_000, 0.9, 1_000_000);
  for (let i = 0, scanKey = 100_000; i < scanned.length; i += 1) {
    // Every 50,000 requests a scan of 20,000 keys that nobody asks for again.
    if (i % 50_000 >= 30_000) {
      scanned[i] = scanKey;
      scanKey += 1;
    }
  }
  const recent = new Uint32Array(400_000).map(
    (_, i) => 300_000 + Math.max(0, (i >> 1) - Math.floor(random.nextFloat() ** 3 * 300)),
  );
  const phases = new Uint32Array(1_200_000);
  phases.set(zipf(random, 50_000, 1, 400_000), 0);
  phases.set(recent, 400_000);
  phases.set(
    zipf(random, 50_000, 1, 400_000).map((key) => 49_999 - key),
    800_000,
  );
  return [
    { name: 'zipf-0.7', requests: zipf(random, 100_000, 0.7, 1_000_000), capacities },
    { name: 'zipf-1.0', requests: zipf(random, 100_000, 1, 1_000_000), capacities },
    { name: 'loop-1500', requests: loop, capacities: [500, 1000, 2000] },
    { name: 'zipf-0.9-scans', requests: scanned, capacities },
    { name: 'phase-change', requests: phases, capacities },
  ];
}

interface Limits {
  readonly traces: Record<string, { readonly sizes: Record<string, Record<string, number>> }>;
}

/** What a directory of traces holds: `NAME.u32.br`, `NAME.csv.br` (column `key`), and `limits.json` with capacities. */
export function tracesIn(
  directory: string,
  only: readonly string[],
): { workload: Workload; limits: Record<string, Record<string, number>> }[] {
  const limits = JSON.parse(readFileSync(join(directory, 'limits.json'), 'utf8')) as Limits;
  const found = [];
  const files = readdirSync(directory).sort();
  for (const [name, { sizes }] of Object.entries(limits.traces)) {
    if (only.length > 0 && !only.some((word) => name.includes(word))) continue;
    const file =
      files.find((candidate) => candidate === `${name}.u32.br`) ??
      files.find((candidate) => candidate === `${name}.csv.br`);
    if (file === undefined) continue;
    const raw = brotliDecompressSync(readFileSync(join(directory, file)));
    const requests = file.endsWith('.u32.br')
      ? new Uint32Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength))
      : keysOfCsv(raw.toString('latin1'));
    found.push({ workload: { name, requests, capacities: Object.keys(sizes).map(Number) }, limits: sizes });
  }
  return found;
}

function keysOfCsv(text: string): Uint32Array {
  const lines = text.trimEnd().split('\n');
  const column = lines[0]!.split(',').indexOf('key');
  const keys = new Uint32Array(lines.length - 1);
  for (let i = 1; i < lines.length; i += 1) keys[i - 1] = Number(lines[i]!.split(',')[column]);
  return keys;
}
