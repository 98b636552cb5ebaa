/** The queue over a disk that does not do what it is told: full, and with an fdatasync that fails. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { SeededRandom } from '../../base/random.ts';
import { drainPromises, ManualScheduler } from '../../base/scheduler.ts';
import { syncData, writeAll } from '../../disk-log/files.ts';
import { behindSettings } from './behind-options.ts';
import { diskStorage } from './disk-queue.ts';
import { WriteQueue } from './queue.ts';
import { cloneOf, unclone } from './queue-log.ts';
import { Versions } from './versions.ts';

const root = mkdtempSync(join(tmpdir(), 'breakwater-queue-disk-'));
after(() => rmSync(root, { recursive: true, force: true }));

/** A queue over a database in memory; time is turned by hand. */
class Bench {
  readonly scheduler = new ManualScheduler();
  readonly rows = new Map<string, unknown>();
  readonly disk = { isFull: false, failsToSync: false };
  readonly queue: WriteQueue;
  #sum = 2 ** 32;

  constructor(directory: string) {
    const { scheduler } = this;
    const settings = behindSettings({ directory, flushInterval: '1s', writeTimeout: '60s' }, {}, 'a test');
    const storage = diskStorage(directory, 64 * 1024 ** 2, {
      writeAll: async (fd, bytes, at) => {
        if (!this.disk.isFull) return await writeAll(fd, bytes, at);
        // A part of it finds room.
        await writeAll(fd, bytes.subarray(0, bytes.length >> 1), at);
        throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
      },
      syncData: async (fd) => {
        if (this.disk.failsToSync) throw Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO' });
        await syncData(fd);
      },
    });
    const epoch = async (by: number, atLeast: number): Promise<number> => Math.max(1 + by, atLeast);
    const draw = async (by: number): Promise<number> => {
      this.#sum += by;
      return this.#sum;
    };
    this.queue = new WriteQueue('row', storage, settings, {
      clock: scheduler.clock,
      scheduler,
      random: new SeededRandom(1),
      versions: new Versions({ draw, epoch }),
      apply: async (changes) => {
        for (const [id, { value }] of changes) this.rows.set(id, value);
        return new Map(Array.from(changes, ([id, { version }]) => [id, version]));
      },
      landed: async () => undefined,
      show: async (writes) => writes.map(() => ({ status: 'fulfilled', value: undefined })),
      remind: async () => undefined,
      onDeadLetter: () => undefined,
    });
  }

  write(id: string, value: unknown): Promise<number> {
    return this.queue.write(id, cloneOf(value, id), new Uint8Array(1));
  }

  /** All that waits has been sent, and its room given back. */
  async drained(): Promise<void> {
    const draining = this.queue.drain(60_000);
    let isDone = false;
    void draining.finally(() => {
      isDone = true;
    });
    while (!isDone) await this.scheduler.run(0);
    await draining;
  }

  async close(): Promise<number> {
    const closing = this.queue.close();
    let isDone = false;
    void closing.finally(() => {
      isDone = true;
    });
    while (!isDone) await this.scheduler.run(0);
    return await closing;
  }
}

const left = async (directory: string): Promise<[string, unknown][]> => {
  const { log, dead } = await diskStorage(directory, 64 * 1024 ** 2).open({ adopt: () => {}, disown: () => {} });
  const found = [...log.pending()].map(({ id, bytes }) => [id, unclone(bytes)] as [string, unknown]);
  await dead.close();
  await log.close();
  return found;
};

test('a full disk: the writer is told, what was acknowledged goes on to the database, and with room writes go on', {
  timeout: 60_000,
}, async () => {
  const directory = join(root, 'full');
  const bench = new Bench(directory);
  await bench.write('1', 'one');
  bench.disk.isFull = true;
  for (const id of ['2', '1']) {
    await assert.rejects(bench.write(id, 'lost'), (error: { code?: string; message: string }) => {
      assert.equal(error.code, 'WRITE_BEHIND_FULL');
      assert.match(error.message, /^cannot queue the write of row:\d, nothing was queued: .*no space left on device/);
      return true;
    });
  }
  assert.equal(bench.queue.stats().refused, 2);
  assert.equal(unclone(bench.queue.pendingOf('1')!.bytes), 'one');
  await bench.drained();
  assert.deepEqual([...bench.rows], [['1', 'one']]);
  // That 1 is written could not be said.
  while (!bench.queue.stats().lastError?.includes('no space left on device')) await drainPromises();
  bench.disk.isFull = false;
  await bench.write('3', 'three');
  await bench.write('1', 'once more');
  assert.equal(await bench.close(), 0);
  assert.deepEqual([...bench.rows].sort(), [
    ['1', 'once more'],
    ['3', 'three'],
  ]);
  assert.deepEqual(await left(directory), []);
});

test('an fdatasync that fails: no more writes until the next start, what was acknowledged goes on to the database', {
  timeout: 60_000,
}, async () => {
  const directory = join(root, 'sync');
  const bench = new Bench(directory);
  await bench.write('1', 'one');
  bench.disk.failsToSync = true;
  await assert.rejects(bench.write('2', 'two'), { code: 'WRITE_BEHIND_UNACKNOWLEDGED' });
  bench.disk.failsToSync = false;
  await assert.rejects(bench.write('3', 'three'), (error: { code?: string; message: string }) => {
    assert.equal(error.code, 'WRITE_BEHIND_STOPPED');
    assert.match(error.message, /nothing was queued: .*until this process is started again.*i\/o error, fdatasync/);
    return true;
  });
  await bench.drained();
  assert.deepEqual([...bench.rows], [['1', 'one']]);
  await bench.close();
  // What was not acknowledged may be there; what was refused is not.
  const found = new Map(await left(directory));
  assert.ok(!found.has('3'));
  const next = new Bench(directory);
  await next.write('4', 'four');
  await next.close();
  assert.equal(next.rows.get('4'), 'four');
});
