/**
 * The outbox between the library and a store that fails when the test says so, on a clock turned by hand.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { BreakwaterError } from '../../src/base/errors.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { drainPromises, ManualScheduler } from '../../src/base/scheduler.ts';
import { UnacknowledgedError } from '../../src/cache/acknowledged.ts';
import type { Breakwater } from '../../src/cache/breakwater.ts';
import { packingSettings } from '../../src/cache/codec/options.ts';
import { Packing, type Parcel } from '../../src/cache/codec/packing.ts';
import type { EmbeddedStore } from '../../src/stores/embedded.ts';
import { UnacknowledgedStoreError } from '../../src/stores/outbox/errors.ts';
import { OutboxStore } from '../../src/stores/outbox.ts';
import type { ReadResult } from '../../src/stores/store.ts';
import { embeddedTruth, openLibrary, type Row, SlowStore, Source } from '../library/support.ts';

const root = mkdtempSync(join(tmpdir(), 'bw-outbox-'));
after(() => rmSync(root, { recursive: true, force: true }));
let made = 0;

const CALL = { timeoutMs: 1_000 };
const READ = { ...CALL, lease: false };
const LEASE = { ...CALL, lease: true };
const DOWN = new BreakwaterError('STORE_UNAVAILABLE', 'the connection was lost');
const WITHHELD = { kind: 'miss', lease: null, waitMs: 0, withheld: true };
const lifetime = { ttlMs: 60_000, graceMs: 0, loadMs: 0 };
const packing = new Packing(packingSettings({}, {}, 'test'), Number.POSITIVE_INFINITY);
const bytes = (tags: readonly string[] = []): Uint8Array =>
  (packing.pack('any:1', '"old"', lifetime, tags, 0) as Parcel).bytes;

interface World {
  readonly scheduler: ManualScheduler;
  readonly truth: EmbeddedStore;
  readonly slow: SlowStore;
  readonly store: OutboxStore;
}

function open(
  options: { readonly maxEntries?: number; readonly directory?: string; readonly from?: World } = {},
): World {
  const scheduler = options.from?.scheduler ?? new ManualScheduler();
  const truth = options.from?.truth ?? embeddedTruth(scheduler);
  const slow = new SlowStore(truth);
  slow.direct = true;
  const store = new OutboxStore(slow, {
    maxEntries: options.maxEntries ?? 100,
    directory: options.directory ?? null,
    timeoutMs: 1_000,
    clock: scheduler.clock,
    scheduler,
    random: new SeededRandom(9),
  });
  return { scheduler, truth, slow, store };
}

/** Closing waits by the clock while something is pending. */
async function end<T = void>(
  world: World,
  close: () => Promise<T> = () => world.store.close() as Promise<T>,
): Promise<T> {
  let closed = false;
  const closing = close().finally(() => {
    closed = true;
  });
  while (!closed) {
    await world.scheduler.run(50);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return closing;
}

const down = (slow: SlowStore): void => {
  slow.failing = { what: ['delete', 'invalidate', 'set', 'read', 'fill', 'lease'], error: DOWN };
};
const put = (truth: EmbeddedStore, key: string, tags: readonly string[] = []): Promise<unknown> =>
  truth.set(key, bytes(tags), { ttlMs: 60_000, tags }, CALL);
const kinds = (results: readonly ReadResult[]): string[] =>
  results.map((result) => (result.kind === 'miss' && result.withheld === true ? 'withheld' : result.kind));
const queued = (error: unknown): boolean =>
  error instanceof UnacknowledgedStoreError && error.queued && error.code === 'STORE_UNAVAILABLE';

describe('at the port', () => {
  test('a delete that is not acknowledged: rejected, withheld, retried, and then the store is asked again', async () => {
    const world = open();
    const { scheduler, truth, slow, store } = world;
    await put(truth, 'user:1');
    await put(truth, 'user:2');
    down(slow);
    await assert.rejects(store.delete(['user:1'], CALL), queued);
    slow.failing = null;
    const reads = slow.counts.read;
    assert.deepEqual(await store.read(['user:1'], LEASE), [WITHHELD]);
    assert.equal(slow.counts.read, reads, 'the store is not even asked');
    assert.deepEqual(kinds(await store.read(['user:1', 'user:2', 'user:1', 'user:3'], READ)), [
      'withheld',
      'hit',
      'withheld',
      'miss',
    ]);
    assert.deepEqual(store.outbox.stats().length, 1);
    assert.deepEqual(store.outbox.left(), { keys: ['user:1'], tags: [], namespaces: [] });
    await scheduler.run(100);
    const { length, oldestAgeMs, retried, attempts, failures } = store.outbox.stats();
    assert.deepEqual([length, oldestAgeMs, retried, attempts, failures], [0, null, 1, 1, 0]);
    assert.deepEqual(kinds(await store.read(['user:1'], READ)), ['miss']);
    const [leased] = await store.read(['user:1'], LEASE);
    assert.ok(leased?.kind === 'miss' && leased.lease !== null, 'and leases are granted again');
    await end(world);
  });

  test('retried with a back-off that grows, and jitter; the age of the oldest shows', async () => {
    const world = open();
    const { scheduler, slow, store } = world;
    down(slow);
    await assert.rejects(store.delete(['user:1'], CALL), queued);
    const times: number[] = [];
    const beganMs = scheduler.clock.now();
    for (let before = 0; scheduler.clock.now() - beganMs < 60_000; ) {
      await scheduler.run(10);
      const { attempts } = store.outbox.stats();
      if (attempts > before) times.push(scheduler.clock.now() - beganMs);
      before = attempts;
    }
    assert.ok(times.length > 12 && times.length < 40, `${times.length} attempts in a minute`);
    const gaps = times.map((ms, i) => ms - (times[i - 1] ?? 0));
    assert.ok(Math.max(...gaps) <= 5_010 && Math.max(...gaps) > 2_500, `${gaps}`);
    assert.ok(gaps[0]! <= 110, 'the first one soon');
    assert.ok(new Set(gaps.slice(-8)).size > 4, 'no two alike');
    assert.ok(store.outbox.stats().oldestAgeMs! >= 60_000);
    assert.ok(store.outbox.stats().failures >= times.length);
    slow.failing = null;
    await scheduler.run(5_000);
    assert.equal(store.outbox.stats().length, 0);
    await end(world);
  });

  test('a set that is not acknowledged becomes a delete of its key: what it did or did not do is gone', async () => {
    for (const arrives of [true, false]) {
      const world = open();
      const { scheduler, truth, slow, store } = world;
      await put(truth, 'user:1');
      down(slow);
      if (arrives) await put(truth, 'user:1');
      await assert.rejects(store.set('user:1', bytes(), { ttlMs: 60_000, tags: [] }, CALL), queued);
      slow.failing = null;
      assert.deepEqual(kinds(await store.read(['user:1'], READ)), ['withheld']);
      await scheduler.run(100);
      assert.deepEqual(kinds(await store.read(['user:1'], READ)), ['miss']);
      await end(world);
    }
  });

  test('what the store refused is nothing to retry', async () => {
    const world = open();
    const { slow, store } = world;
    for (const code of ['STORE_TOO_LARGE', 'STORE_NO_ROOM', 'STORE_KEY_RESERVED']) {
      slow.failing = { what: 'set', error: new BreakwaterError(code, 'no') };
      await assert.rejects(store.set('user:1', bytes(), { ttlMs: null, tags: [] }, CALL), { code });
    }
    slow.failing = { what: 'delete', error: new BreakwaterError('STORE_KEY_RESERVED', 'no') };
    await assert.rejects(store.delete(['user:1'], CALL), { code: 'STORE_KEY_RESERVED' });
    assert.equal(store.outbox.stats().length, 0);
    await end(world);
  });

  test('a tag: entries that carry it, and those whose tags cannot be read, are withheld', async () => {
    const world = open();
    const { scheduler, truth, slow, store } = world;
    await put(truth, 'user:1', ['red']);
    await put(truth, 'user:2', ['blue']);
    await truth.set('user:3', new TextEncoder().encode('"from elsewhere"'), { ttlMs: null, tags: ['red'] }, CALL);
    down(slow);
    await assert.rejects(store.invalidate({ tags: ['red'] }, CALL), queued);
    slow.failing = null;
    const keys = ['user:1', 'user:2', 'user:3'];
    assert.deepEqual(kinds(await store.read(keys, READ)), ['withheld', 'hit', 'withheld']);
    await scheduler.run(100);
    assert.deepEqual(kinds(await store.read(keys, READ)), ['miss', 'hit', 'miss']);
    await end(world);
  });

  test('a namespace withholds its keys, and nobody else’s', async () => {
    const world = open();
    const { truth, slow, store } = world;
    for (const key of ['user:1', 'users:1', 'user', 'order:1']) await put(truth, key);
    down(slow);
    await assert.rejects(store.invalidate({ namespaces: ['user'] }, CALL), queued);
    slow.failing = null;
    const results = await store.read(['user:1', 'users:1', 'user', 'order:1'], READ);
    assert.deepEqual(kinds(results), ['withheld', 'hit', 'hit', 'hit']);
    await end(world);
  });

  test('a read that was on its way while a tag was pending takes no hit, though it comes after the retry', async () => {
    const world = open();
    const { scheduler, truth, slow, store } = world;
    await put(truth, 'user:1', ['red']);
    down(slow);
    await assert.rejects(store.invalidate({ tags: ['red'] }, CALL), queued);
    slow.failing = null;
    slow.direct = false;
    const read = store.read(['user:1'], READ);
    await drainPromises();
    slow.steps.shift()!.go(); // arrives, finds the old value
    slow.direct = true;
    await scheduler.run(100); // the retry overtakes its answer
    assert.equal(store.outbox.stats().length, 0);
    await slow.settle();
    assert.deepEqual(kinds(await read), ['withheld']);
    await end(world);
  });

  test('a fill under a lease from before the invalidation is not sent, and its lease is given back', async () => {
    const world = open();
    const { scheduler, truth, slow, store } = world;
    const [one, two] = await store.read(['user:1', 'user:2'], LEASE);
    assert.ok(one?.kind === 'miss' && two?.kind === 'miss');
    slow.failing = { what: ['delete', 'invalidate'], error: DOWN };
    await assert.rejects(store.delete(['user:1'], CALL), queued);
    await assert.rejects(store.invalidate({ tags: ['red'] }, CALL), queued);
    const entry = { value: bytes(), ttlMs: 60_000 };
    const stored = await store.fill(
      [
        { key: 'user:1', lease: one.lease!, tags: [], ...entry },
        { key: 'user:2', lease: two.lease!, tags: ['red'], ...entry },
      ],
      CALL,
    );
    assert.deepEqual(stored, [false, false]);
    assert.equal(slow.counts.fill, 0);
    const [again] = await truth.read(['user:1'], LEASE);
    assert.ok(again?.kind === 'miss' && again.lease !== null, 'another process may load it at once');
    assert.deepEqual(
      await store.lease(['user:1', 'user:9'], CALL).then((leases) => leases.map((lease) => lease !== null)),
      [false, true],
    );
    slow.failing = null;
    await scheduler.run(1_000);
    assert.equal(store.outbox.stats().length, 0);
    await end(world);
  });

  test('an acknowledged delete of the same key settles it, and wakes the others; one that began before does not', async () => {
    const world = open();
    const { scheduler, truth, slow, store } = world;
    await put(truth, 'user:1');
    slow.direct = false;
    const early = store.delete(['user:1'], CALL);
    slow.direct = true;
    down(slow);
    await assert.rejects(store.delete(['user:1'], CALL), queued);
    await assert.rejects(store.delete(['user:2'], CALL), queued);
    for (let i = 0; i < 8; i += 1) await scheduler.run(5_000);
    slow.failing = null;
    await slow.settle();
    assert.equal(await early, 1);
    assert.equal(store.outbox.stats().keys, 2, 'the row may have changed after that delete was done');
    await store.delete(['user:1'], CALL);
    assert.ok(store.outbox.stats().keys <= 1);
    await scheduler.run(1);
    assert.equal(store.outbox.stats().length, 0, 'the store is there: no waiting for the end of the back-off');
    await end(world);
  });

  test('registered again while its retry is under way: retried again', async () => {
    const world = open();
    const { scheduler, slow, store } = world;
    down(slow);
    await assert.rejects(store.delete(['user:1'], CALL), queued);
    slow.failing = null;
    slow.direct = false;
    await scheduler.run(100);
    assert.equal(slow.counts.invalidate, 1);
    slow.steps.shift()!.go(); // in force at the store
    slow.failing = { what: 'delete', error: DOWN };
    await assert.rejects(store.delete(['user:1'], CALL), queued);
    await slow.settle();
    assert.equal(store.outbox.stats().length, 1);
    slow.direct = true;
    await scheduler.run(100);
    assert.deepEqual([store.outbox.stats().length, slow.counts.invalidate], [0, 2]);
    await end(world);
  });

  test('names that fail for ever do not take the others with them', async () => {
    const world = open();
    const { scheduler, truth, slow, store } = world;
    down(slow);
    for (let i = 0; i < 40; i += 1) await store.delete([`user:${i}`], CALL).catch(() => undefined);
    slow.failing = null;
    const invalidate = truth.invalidate.bind(truth);
    truth.invalidate = (request, call) =>
      request.keys!.includes('user:7') ? Promise.reject(DOWN) : invalidate(request, call);
    await scheduler.run(60_000);
    assert.deepEqual(store.outbox.left().keys, ['user:7']);
    await end(world);
  });

  test('full: keys become their namespace; what cannot be kept is said so', async () => {
    const world = open({ maxEntries: 3 });
    const { scheduler, truth, slow, store } = world;
    await put(truth, 'user:99');
    down(slow);
    await assert.rejects(store.delete(['user:1', 'user:2', 'user:3', 'user:4'], CALL), queued);
    assert.deepEqual(store.outbox.left(), { keys: [], tags: [], namespaces: ['user'] });
    assert.equal(store.outbox.stats().folded, 3);
    await assert.rejects(store.invalidate({ namespaces: ['a', 'b'] }, CALL), queued);
    await assert.rejects(
      store.invalidate({ namespaces: ['c'] }, CALL),
      (error) => error instanceof UnacknowledgedStoreError && !error.queued,
    );
    slow.failing = null;
    assert.deepEqual(kinds(await store.read(['user:99'], READ)), ['withheld']);
    await scheduler.run(1_000);
    assert.deepEqual(kinds(await store.read(['user:99'], READ)), ['miss']);
    await end(world);
  });

  test('close tries once more within a second, and says what is left', async () => {
    const world = open();
    const { scheduler, slow, store } = world;
    down(slow);
    await assert.rejects(store.delete(['user:1'], CALL), queued);
    const beganMs = scheduler.clock.now();
    let closed = false;
    const closing = store.close().then(() => {
      closed = true;
    });
    for (let i = 0; i < 40 && !closed; i += 1) await scheduler.run(50);
    await closing;
    assert.ok(scheduler.clock.now() - beganMs <= 1_100);
    assert.deepEqual(store.outbox.left().keys, ['user:1']);
    assert.ok(store.outbox.stats().attempts > 1);

    const second = open();
    down(second.slow);
    await assert.rejects(second.store.delete(['user:1'], CALL), queued);
    second.slow.failing = null;
    await second.store.close();
    assert.deepEqual(second.store.outbox.left().keys, []);
  });
});

describe('through the library', () => {
  const declare = (world: World, source: Source): { readonly bw: Breakwater; users: ReturnType<typeof users> } => {
    const { bw } = openLibrary({ scheduler: world.scheduler, store: world.store });
    return { bw, users: users(bw, source) };
  };
  const users = (bw: Breakwater, source: Source) =>
    bw.cache<Row>('user', { load: source.load, tags: ({ n }) => [n % 2 === 0 ? 'even' : 'odd'], l1: { ttl: '1h' } });

  test('a write whose invalidation is not acknowledged: no get here is stale, and L1 keeps nothing until the retry', async () => {
    const world = open();
    const source = new Source();
    const { bw, users } = declare(world, source);
    source.rows.set('1', 1);
    assert.equal((await users.get('1'))?.n, 1);
    await drainPromises();
    assert.equal(users.peek('1')?.n, 1);
    world.slow.failing = { what: ['delete', 'invalidate'], error: DOWN };
    await assert.rejects(
      users.write('1', () => source.rows.set('1', 2)),
      (error) =>
        error instanceof UnacknowledgedError &&
        error.queued &&
        error.code === 'CACHE_INVALIDATION_UNACKNOWLEDGED' &&
        /queued, and will be retried/.test(error.message),
    );
    for (const n of [2, 3, 4]) {
      source.rows.set('1', n); // straight in the database: seen all the same, as nothing is kept
      assert.equal((await users.get('1'))?.n, n);
      assert.equal((await users.getDetailed('1')).from, 'loader');
      await drainPromises();
      assert.equal(users.peek('1'), undefined);
    }
    await assert
      .rejects(users.set('1', { id: '1', n: 9 }), { code: 'CACHE_WRITE_UNACKNOWLEDGED' })
      .catch(() => undefined);
    const stats = await bw.stats();
    assert.deepEqual([stats.outbox?.length, stats.caches['user']?.fillsRefused], [1, 0]);
    world.slow.failing = null;
    await world.scheduler.run(1_000);
    assert.equal((await bw.stats()).outbox?.length, 0);
    assert.equal((await users.get('1'))?.n, 4);
    await drainPromises();
    assert.equal(users.peek('1')?.n, 4, 'normal service');
    assert.deepEqual(await bw.close(), {
      unacknowledged: { keys: [], tags: [], namespaces: [] },
      isKept: false,
      queued: 0,
    });
  });

  test('a tag: L1 and L2 are passed by for what carries it; other entries are served', async () => {
    const world = open();
    const source = new Source();
    const { bw, users } = declare(world, source);
    source.rows.set('1', 1).set('2', 2);
    await users.getMany(['1', '2']);
    world.slow.failing = { what: ['invalidate'], error: DOWN };
    source.rows.set('1', 11).set('2', 12);
    await assert.rejects(bw.invalidate({ tags: ['odd'] }), { code: 'CACHE_INVALIDATION_UNACKNOWLEDGED', queued: true });
    assert.equal((await users.get('1'))?.n, 11);
    assert.equal((await users.get('2'))?.n, 2);
    await drainPromises();
    assert.deepEqual([users.peek('1'), users.peek('2')?.n], [undefined, 2]);
    await end(world, () => bw.close());
  });

  test('a caller does not wait for a lease that nobody holds: a withheld miss loads at once', async () => {
    const world = open();
    const source = new Source();
    const { bw, users } = declare(world, source);
    source.rows.set('1', 1);
    world.slow.failing = { what: ['delete', 'invalidate'], error: DOWN };
    await assert.rejects(users.delete('1'), { queued: true });
    const beganMs = world.scheduler.clock.now();
    const answers = await Promise.all(Array.from({ length: 100 }, () => users.get('1')));
    assert.ok(answers.every((row) => row?.n === 1));
    assert.equal(source.calls.length, 1, 'one flight');
    assert.equal(world.scheduler.clock.now(), beganMs);
    assert.equal((await users.get('1', { fresh: true }))?.n, 1);
    await end(world, () => bw.close());
  });

  test('what is left at the end is told', async () => {
    const world = open();
    const { bw, users } = declare(world, new Source());
    world.slow.failing = { what: ['delete', 'invalidate'], error: DOWN };
    await assert.rejects(users.delete('1'));
    await assert.rejects(bw.invalidate({ tags: ['odd'], namespaces: ['order'] }));
    const closing = bw.close();
    for (let i = 0; i < 30; i += 1) await world.scheduler.run(50);
    assert.deepEqual(await closing, {
      unacknowledged: { keys: ['user:1'], tags: ['odd'], namespaces: ['order'] },
      isKept: false,
      queued: 0,
    });
  });
});

describe('on disk', () => {
  const folder = (): string => {
    made += 1;
    return join(root, String(made));
  };
  /** The disk is a real one: waits for it while the clock stands. */
  const until = async (isSo: () => boolean): Promise<void> => {
    for (let i = 0; !isSo(); i += 1) {
      assert.ok(i < 2_000, 'waited in vain');
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  };
  const opened = (store: OutboxStore): Promise<void> => until(() => store.outbox.stats().disk?.isOpen === true);

  test('what is pending survives the process: withheld from the first read on, and retried', async () => {
    const directory = folder();
    const first = open({ directory });
    await put(first.truth, 'user:1', ['red']);
    await put(first.truth, 'user:2', ['red']);
    await put(first.truth, 'user:3');
    down(first.slow);
    await opened(first.store);
    await assert.rejects(first.store.delete(['user:1'], CALL), queued);
    await assert.rejects(first.store.delete(['user:9'], CALL), queued);
    await assert.rejects(first.store.invalidate({ tags: ['red'] }, CALL), queued);
    await end(first);
    const second = open({ directory, from: first });
    second.slow.failing = { what: 'invalidate', error: DOWN };
    // At once, before the directory can have been read.
    const results = second.store.read(['user:1', 'user:2', 'user:3'], READ);
    await opened(second.store);
    assert.deepEqual(kinds(await results), ['withheld', 'withheld', 'hit']);
    assert.deepEqual(second.store.outbox.left(), { keys: ['user:1', 'user:9'], tags: ['red'], namespaces: [] });
    second.slow.failing = null;
    await second.scheduler.run(10_000);
    assert.deepEqual(kinds(await second.store.read(['user:1', 'user:2', 'user:3'], READ)), ['miss', 'miss', 'hit']);
    await end(second);
    const third = open({ directory, from: first });
    await opened(third.store);
    assert.equal(third.store.outbox.stats().length, 0, 'settled is settled');
    await end(third);
  });

  test('what is registered before the directory is open survives too, also when the store is closed at once', async () => {
    const directory = folder();
    const first = open({ directory });
    await put(first.truth, 'user:1');
    await opened(first.store);
    await end(first);
    const second = open({ directory, from: first });
    down(second.slow);
    await assert.rejects(second.store.delete(['user:1'], CALL), queued);
    await end(second);
    assert.deepEqual(second.store.outbox.left().keys, ['user:1']);
    assert.equal(second.store.outbox.stats().disk?.isOpen, true, 'closed is not lost: it was written');
    const third = open({ directory, from: first });
    third.slow.failing = { what: 'invalidate', error: DOWN };
    await opened(third.store);
    assert.deepEqual(third.store.outbox.left().keys, ['user:1']);
    await end(third);
  });

  test('an intent that was not closed is pending at the next start', async () => {
    const directory = folder();
    const first = open({ directory });
    await put(first.truth, 'user:1');
    await put(first.truth, 'user:2');
    const close = await first.store.outbox.intend(['user:2'], CALL);
    await first.store.outbox.intend(['user:1'], CALL);
    close();
    assert.equal(first.store.outbox.stats().disk?.intents, 1);
    assert.deepEqual(
      kinds(await first.store.read(['user:1'], READ)),
      ['hit'],
      'here nothing is withheld: the change is not made yet',
    );
    await end(first);
    for (let life = 0; life < 2; life += 1) {
      const next = open({ directory, from: first });
      next.slow.failing = { what: 'invalidate', error: DOWN };
      await opened(next.store);
      assert.deepEqual(next.store.outbox.left().keys, ['user:1']);
      // Its number is not given again.
      (await next.store.outbox.intend(['user:7'], CALL))();
      await end(next);
    }
    const last = open({ directory, from: first });
    await opened(last.store);
    await last.scheduler.run(1_000);
    assert.deepEqual(kinds(await last.store.read(['user:1', 'user:2'], READ)), ['miss', 'hit']);
    await end(last);
  });

  test('a write notes its key first, and takes the note away when all is acknowledged', async () => {
    const world = open({ directory: folder() });
    const { bw } = openLibrary({ scheduler: world.scheduler, store: world.store });
    const users = bw.cache<Row>('user', { load: new Source().load, l1: false });
    const during: number[] = [];
    await users.write('1', () => during.push(world.store.outbox.stats().disk!.intents));
    await assert.rejects(
      users.write('2', () => {
        during.push(world.store.outbox.stats().disk!.intents);
        throw new Error('no');
      }),
      /no/,
    );
    assert.deepEqual([during, world.store.outbox.stats().disk?.intents], [[1, 1], 0]);
    down(world.slow);
    await assert.rejects(
      users.write('3', () => 0),
      { queued: true },
    );
    assert.deepEqual([world.store.outbox.stats().disk?.intents, world.store.outbox.stats().keys], [0, 1]);
    world.slow.failing = null;
    await end(world);
  });

  test('a directory that another process has: nothing of the store is served, no write begins, until it is free', async () => {
    const directory = folder();
    const holder = open({ directory });
    await opened(holder.store);
    const world = open({ directory, from: holder });
    await put(world.truth, 'user:1');
    const source = new Source();
    source.rows.set('1', 1);
    const { bw } = openLibrary({ scheduler: world.scheduler, store: world.store });
    const users = bw.cache<Row>('user', { load: source.load, l1: false });
    await until(() => world.store.outbox.stats().disk?.lastError !== null);
    assert.match(world.store.outbox.stats().disk!.lastError!, /a directory of its own/);
    assert.deepEqual(await world.store.read(['user:1'], LEASE), [WITHHELD]);
    assert.equal((await users.get('1'))?.n, 1);
    let ran = false;
    await assert.rejects(
      users.write('1', () => {
        ran = true;
      }),
      { code: 'CACHE_WRITE_NOT_BEGUN' },
    );
    assert.equal(ran, false);
    // An invalidation is no worse off than without a directory.
    await users.delete('1');
    await end(holder);
    await world.scheduler.run(10_000);
    await opened(world.store);
    assert.deepEqual(kinds(await world.store.read(['user:1'], READ)), ['miss']);
    await users.write('1', () => undefined);
    await end(world);
  });

  test('a damaged directory: every declared cache is invalidated, since any may have been meant', async () => {
    const directory = folder();
    const first = open({ directory });
    await opened(first.store);
    down(first.slow);
    for (let i = 0; i < 4; i += 1) await assert.rejects(first.store.delete([`user:${i}`], CALL), queued);
    await end(first);
    const path = join(directory, readdirSync(directory).find((name) => name.endsWith('.log'))!);
    const log = readFileSync(path);
    log[log.indexOf('user:1')]! ^= 1;
    writeFileSync(path, log);
    const world = open({ directory, from: first });
    world.slow.failing = { what: 'invalidate', error: DOWN };
    const { bw } = openLibrary({ scheduler: world.scheduler, store: world.store });
    bw.cache<Row>('user', { load: new Source().load, l1: false });
    await opened(world.store);
    bw.cache<Row>('order', { load: new Source().load, l1: false });
    assert.deepEqual(world.store.outbox.left(), { keys: [], tags: [], namespaces: ['user', 'order'] });
    world.slow.failing = null;
    await end(world);
  });

  test('the log does not grow with what is long done', async () => {
    const world = open({ directory: folder() });
    await opened(world.store);
    down(world.slow);
    await assert.rejects(world.store.delete(['stuck:1'], CALL), queued);
    const name = 'x'.repeat(480);
    for (let round = 0; round < 40; round += 1) {
      const intents = Array.from({ length: 250 }, (_, i) => world.store.outbox.intend([`user:${name}${i}`], CALL));
      for (const close of await Promise.all(intents)) close();
    }
    const bytes = 40 * 250 * 500;
    assert.ok(
      world.store.outbox.stats().disk!.bytes < bytes * 0.9,
      `${world.store.outbox.stats().disk!.bytes} of ${bytes}`,
    );
    assert.equal(world.store.outbox.stats().disk!.lastError, null);
    await end(world);
    const again = open({ directory: join(root, String(made)), from: world });
    again.slow.failing = { what: 'invalidate', error: DOWN };
    await opened(again.store);
    assert.deepEqual(again.store.outbox.left().keys, ['stuck:1']);
    again.slow.failing = null;
    await end(again);
  });
});
