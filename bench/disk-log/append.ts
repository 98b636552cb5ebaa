/**
 * How many appends a second the log acknowledges, by number of concurrent writers, each of which waits for its append before the next:
 *
 *     node --import tsx bench/disk-log/append.ts [directory] [seconds]
 *
 * The directory decides: it must lie on the disk that is meant. A bare write + fdatasync loop on the same disk stands beside it, as what one
 * writer without group commit would have.
 */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DiskLog } from '../../src/disk-log/log.ts';

const where = process.argv[2] ?? tmpdir();
const seconds = Number(process.argv[3] ?? 3);
const RECORD = new Uint8Array(200).fill(7);
const root = mkdtempSync(join(where, 'bw-bench-log-'));

interface Row {
  readonly name: string;
  readonly perSecond: number;
  readonly perSync: number;
  readonly p50: number;
  readonly p99: number;
}

const rows: Row[] = [];

function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}

function report(name: string, latencies: number[], ms: number, perSync: number): void {
  latencies.sort((a, b) => a - b);
  rows.push({
    name,
    perSecond: Math.round((latencies.length / ms) * 1000),
    perSync,
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
  });
}

function bare(): void {
  const fd = openSync(join(root, 'bare'), 'w');
  const latencies: number[] = [];
  const beganMs = performance.now();
  while (performance.now() - beganMs < seconds * 1000) {
    const startMs = performance.now();
    writeSync(fd, RECORD);
    fdatasyncSync(fd);
    latencies.push(performance.now() - startMs);
  }
  report('bare write + fdatasync, one writer', latencies, performance.now() - beganMs, 1);
  closeSync(fd);
}

async function measure(writers: number, sync: 'group' | 'none'): Promise<void> {
  const directory = join(root, `${sync}-${writers}`);
  const log = await DiskLog.open(directory, { sync });
  const latencies: number[] = [];
  const beganMs = performance.now();
  const endMs = beganMs + seconds * 1000;
  const writer = async (): Promise<void> => {
    while (performance.now() < endMs) {
      const startMs = performance.now();
      const position = await log.append(RECORD);
      latencies.push(performance.now() - startMs);
      if (position % 50_000 === 0) log.trim(position).catch(() => undefined);
    }
  };
  await Promise.all(Array.from({ length: writers }, writer));
  const { appended, groups } = log.stats;
  report(`log, sync: '${sync}', ${writers} writers`, latencies, performance.now() - beganMs, appended / groups);
  await log.close();
  rmSync(directory, { recursive: true, force: true });
}

try {
  bare();
  for (const writers of [1, 8, 64, 512]) await measure(writers, 'group');
  await measure(64, 'none');
} finally {
  rmSync(root, { recursive: true, force: true });
}
console.log(`| ${RECORD.length} bytes a record, ${seconds} s each | appends/s | appends a sync | p50 ms | p99 ms |`);
console.log('|---|---|---|---|---|');
for (const { name, perSecond, perSync, p50, p99 } of rows) {
  console.log(`| ${name} | ${perSecond} | ${perSync.toFixed(1)} | ${p50.toFixed(2)} | ${p99.toFixed(2)} |`);
}
