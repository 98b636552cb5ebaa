/**
 * How many writes fall on a row that is written, by the rate and by how long rows wait: the queue's own rule (src/cache/write/pending-rows.ts) in simulated time, so
 * that the answer depends on no machine. throughput.ts measures the same on a real one.
 *
 *     node --import tsx bench/write-behind/rows.ts [seconds]
 *
 * Zipf (s = 1) over 10,000 counters, one flush every 10 ms. What still waits at the end is counted as written.
 */
import { SeededRandom } from '../../src/base/random.ts';
import { PendingRows } from '../../src/cache/write/pending-rows.ts';
import { COUNTERS, zipf } from './zipf.ts';

const STEP_MS = 10;

function writesPerRow(perSecond: number, seconds: number, flushIntervalMs: number, maxDelayMs: number): number {
  const random = new SeededRandom(7);
  const next = zipf(() => random.nextFloat());
  const rows = new PendingRows({ flushIntervalMs, maxDelayMs, maxRemembered: 100_000 });
  let [writes, written] = [0, 0];
  for (let nowMs = 0; nowMs < seconds * 1_000; nowMs += STEP_MS) {
    for (; writes < (perSecond * nowMs) / 1_000; writes += 1) {
      rows.put({ id: String(next()), version: writes + 1, bytes: EMPTY, queuedAtMs: 0 }, null, true, nowMs);
    }
    for (const pending of [...rows.due(nowMs, false)]) {
      rows.remove(pending, nowMs);
      written += 1;
    }
  }
  return Math.round((writes / (written + rows.size)) * 10) / 10;
}

const EMPTY = new Uint8Array(0);
const lengths = process.argv[2] === undefined ? [6, 10, 30, 120] : [Number(process.argv[2])];
const rates = [100, 1_000, 3_000, 10_000, 13_400, 19_000];
process.stdout.write(`${COUNTERS} counters; writes a row written at ${rates.join(', ')} writes/s\n`);
for (const seconds of lengths) {
  for (const [what, flushIntervalMs, maxDelayMs] of [
    ['1s, one delay for all', 1_000, 1_000],
    ['5s, one delay for all', 5_000, 5_000],
    ['1s, maxDelay 5s', 1_000, 5_000],
    ['1s, maxDelay 10s (default)', 1_000, 10_000],
  ] as const) {
    const found = rates.map((rate) => writesPerRow(rate, seconds, flushIntervalMs, maxDelayMs));
    process.stdout.write(`${String(seconds).padStart(4)} s  ${what.padEnd(28)} ${found.join('  ')}\n`);
  }
}
