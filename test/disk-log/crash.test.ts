/**
 * The log against a model of what a crash may leave: of what was written and not yet synced, any part of it in any state; of what was synced, all.
 */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { syncData, writeAll } from '../../src/disk-log/files.ts';
import { DiskLog } from '../../src/disk-log/log.ts';

const root = mkdtempSync(join(tmpdir(), 'bw-disk-log-crash-'));
after(() => rmSync(root, { recursive: true, force: true }));
let made = 0;

const SEGMENT = { segmentBytes: 4096 };
const payload = (number: number, size: number): Uint8Array => new Uint8Array(size).fill(number % 251);

interface Run {
  readonly directory: string;
  /** Sizes by position - 1: those acknowledged, then those that were not. */
  readonly sizes: readonly number[];
  readonly acknowledged: number;
  /** Of the last file: how much of it is on disk for sure. */
  readonly syncedBytes: number;
  /** The position of the first record of the last group that was acknowledged. */
  readonly lastGroup: number;
  readonly trimmed: number;
}

/** Appends group after group; the power goes while the last one is being synced. */
async function crash(groups: readonly (readonly number[])[], trimShare: number): Promise<Run> {
  made += 1;
  const directory = join(root, String(made));
  let hangs = false;
  let hung = (): void => undefined;
  const atSync = new Promise<void>((resolve) => {
    hung = resolve;
  });
  const log = await DiskLog.open(directory, {
    ...SEGMENT,
    files: {
      writeAll,
      syncData: (fd) => {
        if (!hangs) return syncData(fd);
        hung();
        return new Promise(() => undefined);
      },
    },
  });
  const sizes: number[] = [];
  let lastGroup = 1;
  let trimmed = 0;
  for (const group of groups.slice(0, -1)) {
    lastGroup = log.next;
    await Promise.all(group.map((size) => log.append(payload(sizes.push(size), size))));
    if (trimShare > 0 && sizes.length % 3 === 0) {
      trimmed = Math.floor(sizes.length * trimShare);
      await log.trim(trimmed);
    }
  }
  const acknowledged = sizes.length;
  const last = files(directory).at(-1)!;
  const syncedBytes = readFileSync(join(directory, last)).length;
  // A group that fills the segment would be the next one's first sync: that one is a file with a header only.
  hangs = true;
  for (const size of groups.at(-1)!) log.append(payload(sizes.push(size), size)).catch(() => undefined);
  await atSync;
  const copy = `${directory}-after`;
  mkdirSync(copy);
  const left = files(directory);
  for (const name of left) copyFileSync(join(directory, name), join(copy, name));
  return {
    directory: copy,
    sizes,
    acknowledged,
    lastGroup,
    trimmed,
    syncedBytes: left.at(-1) === last ? syncedBytes : 0,
  };
}

const files = (directory: string): string[] =>
  readdirSync(directory)
    .filter((name) => name.endsWith('.log'))
    .sort();

async function contents(log: DiskLog): Promise<Map<number, Uint8Array>> {
  const found = new Map<number, Uint8Array>();
  for await (const { position, bytes } of log.read()) found.set(position, bytes);
  return found;
}

const GROUPS = fc.array(fc.array(fc.integer({ min: 0, max: 700 }), { minLength: 1, maxLength: 5 }), {
  minLength: 2,
  maxLength: 14,
});
const TRIM = fc.constantFrom(0, 0.5, 1);

test('a crash loses nothing that was acknowledged, and invents nothing', async () => {
  await fc.assert(
    fc.asyncProperty(
      GROUPS,
      TRIM,
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), { maxLength: 4 }),
      async (groups, trimShare, cut, flips) => {
        const run = await crash(groups, trimShare);
        const path = join(run.directory, files(run.directory).at(-1)!);
        const bytes = readFileSync(path);
        const kept = run.syncedBytes + Math.round((bytes.length - run.syncedBytes) * cut);
        const torn = bytes.subarray(0, kept);
        for (const [at, change] of flips) {
          if (kept > run.syncedBytes) torn[run.syncedBytes + (at % (kept - run.syncedBytes))]! ^= change;
        }
        writeFileSync(path, torn);
        const log = await DiskLog.open(run.directory, SEGMENT);
        const found = await contents(log);
        for (let position = log.first; position < log.next; position += 1) {
          assert.deepEqual(found.get(position), payload(position, run.sizes[position - 1]!), `record ${position}`);
        }
        assert.equal(found.size, log.next - log.first);
        assert.ok(log.first <= run.trimmed + 1);
        assert.ok(log.next > run.acknowledged, `${log.next - 1} of ${run.acknowledged}`);
        assert.equal(await log.append(payload(1, 10)), log.next - 1);
        await log.close();
      },
    ),
    { numRuns: 150 },
  );
});

test('a byte of an acknowledged record that turned over is reported, unless it is in the very last group', async () => {
  let reported = 0;
  await fc.assert(
    fc.asyncProperty(
      GROUPS,
      fc.nat(),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      async (groups, which, at, change) => {
        const run = await crash(groups, 0);
        const names = files(run.directory);
        const index = which % names.length;
        const path = join(run.directory, names[index]!);
        const bytes = readFileSync(path);
        const synced = index < names.length - 1 ? bytes.length : run.syncedBytes;
        if (synced === 0) return;
        bytes[at % synced]! ^= change;
        writeFileSync(path, bytes);
        const refused = await DiskLog.open(run.directory, SEGMENT).then(
          (log) => log.close().then(() => false),
          (error: { code: string }) => {
            assert.equal(error.code, 'DISK_LOG_CORRUPT');
            return true;
          },
        );
        if (refused) reported += 1;
        const log = await DiskLog.open(run.directory, { ...SEGMENT, damaged: 'skip' });
        assert.equal(log.damage.length > 0, refused);
        const lost = (position: number): boolean =>
          log.damage.some(({ from, to }) => from <= position && position < to);
        const found = await contents(log);
        for (let position = 1; position < Math.max(log.next, run.lastGroup); position += 1) {
          if (lost(position)) assert.equal(found.has(position), false);
          else assert.deepEqual(found.get(position), payload(position, run.sizes[position - 1]!), `record ${position}`);
        }
        // One turned byte: one record, or a segment's header and none.
        assert.ok(log.damage.reduce((sum, { from, to }) => sum + to - from, 0) <= 1, JSON.stringify(log.damage));
        await log.close();
      },
    ),
    { numRuns: 150 },
  );
  assert.ok(reported > 20, `${reported}`);
});
