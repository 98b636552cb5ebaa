/**
 * What a crash may leave of the log on disk, walked through: any prefix of what was not synced, any of its pages missing, any bit of any file turned over. What was acknowledged is read again,
 * nothing is invented, order is kept; and where the disk has lost something that was acknowledged, that is said and not passed over.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { DiskQueueLog } from '../../src/cache/write/disk-queue.ts';
import { unclone } from '../../src/cache/write/queue-log.ts';
import { DiskLog } from '../../src/disk-log/log.ts';
import { queued } from './queue-log-contract.ts';

const root = mkdtempSync(join(tmpdir(), 'breakwater-log-crashes-'));
after(() => rmSync(root, { recursive: true, force: true }));
let made = 0;
const folder = (): string => {
  made += 1;
  return join(root, String(made));
};

/** Files by name. */
type Image = ReadonlyMap<string, Buffer>;

function imageOf(directory: string): Image {
  const names = readdirSync(directory).filter((name) => name.endsWith('.log'));
  return new Map(names.sort().map((name) => [name, readFileSync(join(directory, name))]));
}

function asDirectory(image: Image): string {
  const directory = folder();
  mkdirSync(directory);
  for (const [name, bytes] of image) writeFileSync(join(directory, name), bytes);
  return directory;
}

interface Tear {
  /** How much of the bytes that were not synced is there, from 0 to 1. */
  readonly share: number;
  /** Pages of them that never reached the disk. */
  readonly missing: readonly number[];
  /** A bit of them that is another one. */
  readonly bit: number | null;
}
const PAGE = 64;
const tears = fc.record<Tear>({
  share: fc.oneof(fc.constant(1), fc.double({ min: 0, max: 1, noNaN: true })),
  missing: fc.array(fc.nat(40), { maxLength: 3 }),
  bit: fc.option(fc.nat(50_000)),
});

/** `synced`, and of what `written` has beyond it what the crash has let through. */
function torn(synced: Image, written: Image, { share, missing, bit }: Tear): Image {
  const image = new Map<string, Buffer>();
  for (const [name, bytes] of written) {
    const sure = synced.get(name)?.length ?? 0;
    assert.deepEqual(bytes.subarray(0, sure), synced.get(name) ?? Buffer.alloc(0), 'files are only appended to');
    const fresh = Buffer.from(bytes.subarray(sure, sure + Math.floor((bytes.length - sure) * share)));
    for (const page of missing) fresh.subarray(page * PAGE, (page + 1) * PAGE).fill(0);
    if (bit !== null && fresh.length > 0) fresh[(bit >> 3) % fresh.length]! ^= 1 << (bit & 7);
    image.set(name, Buffer.concat([bytes.subarray(0, sure), fresh]));
  }
  return image;
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');
async function readAll(log: DiskLog): Promise<Map<number, string>> {
  const found = new Map<number, string>();
  for await (const { position, bytes } of log.read()) found.set(position, text(bytes));
  return found;
}

const groups = fc.array(fc.array(fc.nat(900), { minLength: 1, maxLength: 5 }), { minLength: 2, maxLength: 7 });
const payload = (group: number, at: number, size: number): string => `${group}.${at}.`.padEnd(size, String(group));
const SMALL = { segmentBytes: 4096 };

/** A log with these groups, each acknowledged; what the files were before the last one, and after it. */
async function written(sizes: readonly (readonly number[])[]) {
  const directory = folder();
  const log = await DiskLog.open(directory, SMALL);
  const records: string[] = [];
  let synced: Image = new Map();
  let acknowledged = 0;
  for (let group = 0; group < sizes.length; group += 1) {
    synced = imageOf(directory);
    acknowledged = records.length;
    const texts = sizes[group]!.map((size, at) => payload(group, at, size));
    await Promise.all(texts.map((one) => log.append(Buffer.from(one, 'latin1'))));
    records.push(...texts);
  }
  await log.close();
  return { records, acknowledged, synced, files: imageOf(directory) };
}

test('a crash in the middle of a group: all groups before it, then a part of it from its front, and nothing else', {
  timeout: 120_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(groups, tears, async (sizes, tear) => {
      const { records, acknowledged, synced, files } = await written(sizes);
      const directory = asDirectory(torn(synced, files, tear));
      const log = await DiskLog.open(directory, SMALL);
      const found = [...(await readAll(log)).values()];
      assert.ok(found.length >= acknowledged, `${found.length} of ${acknowledged} acknowledged`);
      assert.deepEqual(found, records.slice(0, found.length));
      const position = await log.append(Buffer.from('on'));
      assert.equal(position, found.length + 1);
      await log.close();
      const again = await DiskLog.open(directory, SMALL);
      assert.deepEqual([...(await readAll(again)).values()], [...found, 'on']);
      await again.close();
    }),
    { numRuns: 60 },
  );
});

test('any bit of any file, any time later: said to be damaged, or nothing is missing but the end of the last group', {
  timeout: 120_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(groups, fc.nat(), async (sizes, bit) => {
      const { records, acknowledged, files } = await written(sizes);
      const names = [...files.keys()];
      const total = names.reduce((sum, name) => sum + files.get(name)!.length, 0);
      let at = (bit >> 3) % total;
      const name = names.find((one) => {
        if (at < files.get(one)!.length) return true;
        at -= files.get(one)!.length;
        return false;
      })!;
      const turned = Buffer.from(files.get(name)!);
      turned[at]! ^= 1 << (bit & 7);
      const image = new Map(files).set(name, turned);

      const refused = await DiskLog.open(asDirectory(image), SMALL).then(
        async (log) => {
          const found = [...(await readAll(log)).values()];
          await log.close();
          assert.ok(found.length >= acknowledged);
          assert.deepEqual(found, records.slice(0, found.length));
          return false;
        },
        (error: { code?: string }) => {
          assert.equal(error.code, 'DISK_LOG_CORRUPT');
          return true;
        },
      );

      const log = await DiskLog.open(asDirectory(image), { ...SMALL, damaged: 'skip' });
      assert.equal(log.damage.length > 0, refused);
      const found = await readAll(log);
      const isSaidLost = (position: number): boolean =>
        log.damage.some(({ from, to }) => position >= from && position < to);
      records.forEach((record, index) => {
        const position = index + 1;
        if (found.has(position)) assert.equal(found.get(position), record);
        else assert.ok(isSaidLost(position) || position > acknowledged, `record ${position} is missing in silence`);
      });
      assert.ok(
        [...found.keys()].every((position) => position <= records.length),
        'nothing is invented',
      );
      await log.close();
    }),
    { numRuns: 80 },
  );
});

test('the queue after a crash: of each row its last acknowledged write or a later one, never an earlier one, nothing else', {
  timeout: 120_000,
}, async () => {
  const write = fc.record({ id: fc.nat(3), size: fc.nat(300) });
  const step = fc.record({ writes: fc.array(write, { minLength: 1, maxLength: 6 }), settles: fc.array(fc.nat(3)) });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), tears, async (steps, tear) => {
      const directory = folder();
      const log = await DiskQueueLog.open(directory, 64 * 1024 ** 2);
      let version = 0;
      const values = new Map<number, string>();
      /** By id: the last version that was acknowledged before the last step, and that which was settled by then. */
      const sure = new Map<string, number>();
      const settled = new Map<string, number>();
      const newest = new Map<string, number>();
      let synced: Image = new Map();
      for (const { writes, settles } of steps) {
        synced = imageOf(directory);
        for (const [id, last] of newest) sure.set(id, last);
        // In one group with the writes: what is not acknowledged yet is all of the last step.
        for (const id of settles) {
          const last = newest.get(String(id));
          if (last === undefined) continue;
          settled.set(String(id), last);
          log.settle([queued(String(id), last)]);
        }
        await Promise.all(
          writes.map(({ id, size }) => {
            version += 1;
            const value = `${version}`.padEnd(size, '.');
            values.set(version, value);
            newest.set(String(id), version);
            return log.append(queued(String(id), version, value));
          }),
        );
      }
      await log.close();
      const again = await DiskQueueLog.open(asDirectory(torn(synced, imageOf(directory), tear)), 64 * 1024 ** 2);
      const pending = new Map([...again.pending()].map((one) => [one.id, one]));
      for (const [id, last] of sure) {
        const found = pending.get(id);
        if (found === undefined) assert.ok((settled.get(id) ?? 0) >= last, `row ${id}, version ${last} is lost`);
        else assert.ok(found.version >= last, `row ${id}: ${found.version} instead of ${last}`);
      }
      for (const { id, version: of, bytes } of pending.values()) {
        assert.equal(unclone(bytes), values.get(of));
        assert.ok(of <= (newest.get(id) ?? 0));
      }
      await again.close();
    }),
    { numRuns: 60 },
  );
});
