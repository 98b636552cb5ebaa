import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { crc32 } from './crc32.ts';
import { syncData, writeAll } from './files.ts';
import { RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES } from './format.ts';
import { DiskLog } from './log.ts';
import type { DiskLogOptions } from './options.ts';

const root = mkdtempSync(join(tmpdir(), 'bw-disk-log-'));
after(() => rmSync(root, { recursive: true, force: true }));
let made = 0;
const folder = (): string => {
  made += 1;
  return join(root, String(made));
};
const record = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const SMALL: DiskLogOptions = { segmentBytes: 4096 };

async function all(log: DiskLog, from = 0): Promise<string[]> {
  const found: string[] = [];
  for await (const { position, bytes } of log.read(from)) found.push(`${position}:${text(bytes)}`);
  return found;
}

const logFiles = (directory: string): string[] =>
  readdirSync(directory)
    .filter((name) => name.endsWith('.log'))
    .sort();

/** Four groups of two records, all in one file. */
async function fourGroups(directory: string): Promise<string> {
  const log = await DiskLog.open(directory);
  for (let group = 0; group < 4; group += 1) {
    await Promise.all([log.append(record(`a${group}`)), log.append(record(`b${group}`))]);
  }
  assert.equal(log.stats.groups, 4);
  await log.close();
  return join(directory, logFiles(directory)[0]!);
}
const RECORD = RECORD_HEADER_BYTES + 2;

test('the checksum is CRC-32, also in pieces', () => {
  const bytes = record('123456789');
  assert.equal(crc32(bytes), 0xcbf4_3926);
  assert.equal(crc32(bytes.subarray(4), crc32(bytes.subarray(0, 4))), 0xcbf4_3926);
});

test('what was appended is read in order, after a restart too', async () => {
  const directory = folder();
  const log = await DiskLog.open(directory);
  assert.deepEqual([log.first, log.next], [1, 1]);
  assert.deepEqual(
    await Promise.all([log.append(record('one')), log.append(record('')), log.append(record('three'))]),
    [1, 2, 3],
  );
  assert.equal(log.stats.groups, 1, 'one write and one sync for all of them');
  assert.deepEqual(await all(log), ['1:one', '2:', '3:three']);
  assert.deepEqual(await all(log, 3), ['3:three']);
  assert.deepEqual(await all(log, 4), []);
  await log.close();
  await log.close();
  await assert.rejects(log.append(record('late')), { code: 'DISK_LOG_CLOSED' });
  const again = await DiskLog.open(directory);
  assert.equal(await again.append(record('four')), 4);
  assert.deepEqual(await all(again), ['1:one', '2:', '3:three', '4:four']);
  assert.equal(again.cutBytes, 0);
  await again.close();
});

test('close writes what waits', async () => {
  const directory = folder();
  const log = await DiskLog.open(directory);
  const appended = log.append(record('last'));
  await log.close();
  assert.equal(await appended, 1);
});

test('segments follow each other, and trim removes those that hold nothing needed', async () => {
  const directory = folder();
  const log = await DiskLog.open(directory, SMALL);
  for (let i = 1; i <= 19; i += 1) await log.append(record(String(i).padEnd(1000, '.')));
  const files = logFiles(directory);
  assert.equal(files.length, 7, '3 records of 1,020 bytes in 4,096');
  assert.equal(
    log.stats.bytes,
    files.reduce((sum, name) => sum + statSync(join(directory, name)).size, 0),
  );
  await log.trim(7);
  assert.equal(log.first, 7, 'record 8 is needed, and 7 stands in its segment');
  assert.equal(logFiles(directory).length, 5);
  assert.equal((await all(log)).length, 13);
  await log.trim(19);
  assert.deepEqual([log.first, log.next], [19, 20], 'the last segment is too small to be worth a new one');
  await log.append(record('x'.repeat(1000)));
  await log.trim(20);
  assert.deepEqual([log.first, log.next, logFiles(directory).length], [21, 21, 1]);
  assert.deepEqual(await all(log), []);
  await log.close();
  const again = await DiskLog.open(directory, SMALL);
  assert.equal(await again.append(record('after')), 21, 'positions never start again');
  await again.close();
});

test('a reader goes on while the log is trimmed under it', async () => {
  const log = await DiskLog.open(folder(), SMALL);
  for (let i = 1; i <= 9; i += 1) await log.append(record('x'.repeat(1000)));
  const seen: number[] = [];
  for await (const { position } of log.read()) {
    seen.push(position);
    if (position === 2) await log.trim(6);
  }
  assert.deepEqual(seen, [1, 2, 3, 7, 8, 9]);
  await log.close();
});

test('a trim comes about under a load that never pauses', async () => {
  const log = await DiskLog.open(folder(), SMALL);
  let goesOn = true;
  const writer = async (): Promise<void> => {
    while (goesOn) await log.append(record('x'.repeat(200)));
  };
  const writers = Promise.all([writer(), writer(), writer()]);
  while (log.next < 200) await log.append(record('y'));
  await log.trim(190);
  assert.ok(log.first > 150, `${log.first}`);
  goesOn = false;
  await writers;
  await log.close();
});

test('full: refused at once, and open again after a trim', async () => {
  const log = await DiskLog.open(folder(), { segmentBytes: 4096, maxBytes: 8192 });
  const big = new Uint8Array(1900);
  const outcomes = await Promise.allSettled([1, 2, 3, 4, 5].map(() => log.append(big)));
  assert.deepEqual(
    outcomes.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value : outcome.reason.code)),
    [1, 2, 3, 4, 'DISK_LOG_FULL'],
  );
  assert.ok(log.stats.bytes <= 8192);
  await log.trim(4);
  assert.equal(await log.append(big), 5);
  await assert.rejects(log.append(new Uint8Array(8192)), { code: 'DISK_LOG_RECORD_TOO_LARGE' });
  await log.close();
});

test('what waits for the disk is bounded', async () => {
  const log = await DiskLog.open(folder(), { maxPendingBytes: 100 });
  const [first, second] = await Promise.allSettled([log.append(new Uint8Array(60)), log.append(new Uint8Array(60))]);
  assert.equal(first.status, 'fulfilled');
  assert.equal(second.status === 'rejected' && second.reason.code, 'DISK_LOG_BUSY');
  await log.append(new Uint8Array(60));
  await log.close();
});

test('a torn tail is cut at every byte, and what was acknowledged before it stays', async () => {
  const directory = folder();
  const path = await fourGroups(directory);
  const whole = readFileSync(path);
  for (let length = 0; length < whole.length; length += 1) {
    writeFileSync(path, whole.subarray(0, length));
    const log = await DiskLog.open(directory);
    const kept = Math.max(0, Math.floor((length - SEGMENT_HEADER_BYTES) / RECORD));
    assert.equal((await all(log)).length, kept, `cut at ${length}`);
    assert.equal(await log.append(record('on')), kept + 1);
    await log.close();
  }
});

test('a tail of zeros, as a file system may leave it, is cut', async () => {
  const directory = folder();
  const path = await fourGroups(directory);
  writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.alloc(5000)]));
  const log = await DiskLog.open(directory);
  assert.equal(log.cutBytes, 5000);
  assert.equal((await all(log)).length, 8);
  await log.close();
});

test('damage in the middle: refused by its code, or opened without it and said so', async () => {
  const directory = folder();
  const path = await fourGroups(directory);
  const bytes = readFileSync(path);
  bytes[SEGMENT_HEADER_BYTES + 2 * RECORD + RECORD_HEADER_BYTES]! ^= 1; // record 3
  writeFileSync(path, bytes);
  await assert.rejects(DiskLog.open(directory), { code: 'DISK_LOG_CORRUPT' });
  assert.deepEqual(readFileSync(path), bytes, 'nothing was changed');
  const log = await DiskLog.open(directory, { damaged: 'skip' });
  assert.deepEqual(log.damage, [{ file: logFiles(directory)[0], from: 3, to: 4 }]);
  assert.deepEqual(await all(log), ['1:a0', '2:b0', '4:b1', '5:a2', '6:b2', '7:a3', '8:b3']);
  assert.deepEqual(await all(log, 3), ['4:b1', '5:a2', '6:b2', '7:a3', '8:b3']);
  assert.equal(log.stats.records, 7);
  assert.equal(await log.append(record('on')), 9);
  await log.close();
});

test('a hole within the last group is no damage: it was never acknowledged', async () => {
  const directory = folder();
  const path = await fourGroups(directory);
  const bytes = readFileSync(path);
  bytes[SEGMENT_HEADER_BYTES + 6 * RECORD + RECORD_HEADER_BYTES]! ^= 1; // record 7, with the good record 8 of its group behind it
  writeFileSync(path, bytes);
  const log = await DiskLog.open(directory);
  assert.equal((await all(log)).length, 6);
  assert.equal(await log.append(record('on')), 7);
  await log.close();
});

test('a missing or shortened segment in the middle is damage', async () => {
  for (const hurt of [
    (path: string) => rmSync(path),
    (path: string) => truncateSync(path, 1500),
    (path: string) => truncateSync(path, 3),
  ]) {
    const directory = folder();
    const log = await DiskLog.open(directory, SMALL);
    for (let i = 1; i <= 9; i += 1) await log.append(new Uint8Array(1000).fill(i));
    await log.close();
    hurt(join(directory, logFiles(directory)[1]!));
    await assert.rejects(DiskLog.open(directory, SMALL), { code: 'DISK_LOG_CORRUPT' });
    const again = await DiskLog.open(directory, { ...SMALL, damaged: 'skip' });
    assert.equal(again.damage.length, 1);
    assert.equal(again.damage[0]!.to, 7);
    const positions = (await all(again)).map((line) => Number(line.split(':')[0]));
    assert.deepEqual(
      positions.filter((position) => position < 4 || position > 6),
      [1, 2, 3, 7, 8, 9],
    );
    await again.close();
  }
});

test('a write that the disk refuses takes back its own records only', async () => {
  const refusals = { writes: 0 };
  const log = await DiskLog.open(folder(), {
    files: {
      syncData,
      writeAll: async (fd, bytes, at) => {
        if (refusals.writes === 0) return writeAll(fd, bytes, at);
        refusals.writes -= 1;
        await writeAll(fd, bytes.subarray(0, bytes.length >> 1), at);
        throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
      },
    },
  });
  await log.append(record('one'));
  refusals.writes = 1;
  await assert.rejects(log.append(record('two')), { code: 'DISK_LOG_FULL' });
  assert.equal(await log.append(record('three')), 2);
  assert.deepEqual(await all(log), ['1:one', '2:three']);
  await log.close();
});

test('after a failed fdatasync the log is over, until it is opened again', async () => {
  const directory = folder();
  const state = { fails: false };
  const log = await DiskLog.open(directory, {
    files: {
      writeAll,
      syncData: (fd) => (state.fails ? Promise.reject(new Error('input/output error')) : syncData(fd)),
    },
  });
  await log.append(record('one'));
  state.fails = true;
  await assert.rejects(log.append(record('two')), { code: 'DISK_LOG_FAILED' });
  state.fails = false;
  await assert.rejects(log.append(record('three')), { code: 'DISK_LOG_FAILED' });
  await log.trim(1);
  await log.close();
  const again = await DiskLog.open(directory);
  assert.equal((await all(again))[0], '1:one');
  await again.close();
});

test('one log a directory: a second open is refused, and works after close', async () => {
  const directory = folder();
  const log = await DiskLog.open(directory);
  await assert.rejects(DiskLog.open(directory), { code: 'DISK_LOG_LOCKED' });
  await log.close();
  await (await DiskLog.open(directory)).close();
  assert.equal(readdirSync(directory).filter((name) => name.startsWith('lock')).length, 1);
});

test('options are checked', async () => {
  for (const options of [{ segmentBytes: 10 }, { maxBytes: 1 }, { sync: 'maybe' }, { damaged: 'cut' }, { size: 1 }]) {
    await assert.rejects(DiskLog.open(folder(), options as DiskLogOptions), { code: 'DISK_LOG_OPTION_INVALID' });
  }
});

test('an append is acknowledged after its sync, and those that come meanwhile share the next one', async () => {
  const syncs: (() => void)[] = [];
  let holds = false;
  const log = await DiskLog.open(folder(), {
    files: {
      writeAll,
      syncData: async (fd) => {
        if (holds) await new Promise<void>((resolve) => syncs.push(resolve));
        await syncData(fd);
      },
    },
  });
  holds = true;
  const acknowledged: number[] = [];
  const append = (): Promise<void> => log.append(record('x')).then((position) => void acknowledged.push(position));
  const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 10));
  const appends = [append()];
  while (syncs.length < 1) await turn();
  appends.push(append(), append());
  await turn();
  assert.deepEqual([acknowledged, await all(log)], [[], []]);
  syncs[0]!();
  while (syncs.length < 2) await turn();
  assert.deepEqual(acknowledged, [1]);
  assert.deepEqual(await all(log), ['1:x']);
  syncs[1]!();
  await Promise.all(appends);
  assert.deepEqual([acknowledged, syncs.length], [[1, 2, 3], 2]);
  await log.close();
});
