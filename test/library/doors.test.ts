/**
 * What stands at the doors: schemas, the filter of known keys, writes and their tokens.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { BreakwaterError } from '../../src/base/errors.ts';
import { drainPromises, ManualScheduler } from '../../src/base/scheduler.ts';
import { KnownKeys, type StandardSchema } from '../../src/cache/index.ts';
import { embeddedTruth, openLibrary, type Row, SlowStore, Source } from './support.ts';

const ROW = z.object({ id: z.string(), n: z.number().min(0) });

test('schema: what a loader or a set brings is checked before it is written', async () => {
  const { bw, scheduler } = openLibrary();
  const source = new Source();
  source.rows.set('good', 1);
  source.rows.set('bad', -1);
  const cache = bw.cache<Row>('row', { load: source.load, schema: ROW });
  const [good, bad] = await Promise.allSettled([cache.get('good'), cache.get('bad')]);
  assert.deepEqual(good, { status: 'fulfilled', value: { id: 'good', n: 1 } });
  assert.ok(bad?.status === 'rejected' && bad.reason.code === 'CACHE_VALUE_INVALID');
  assert.match(bad.reason.message, /row:bad.*n: /);
  await assert.rejects(cache.set('x', { id: 'x', n: -5 }), { code: 'CACHE_VALUE_INVALID' });
  assert.equal(cache.peek('x'), undefined);
  source.rows.set('bad', 2);
  await scheduler.run(601);
  assert.equal((await cache.get('bad'))?.n, 2);
  assert.equal(await cache.get('absent'), null, 'an absence is not checked');
});

test('schema: an entry that it refuses is a miss, counted, and repaired', async () => {
  const scheduler = new ManualScheduler();
  const truth = embeddedTruth(scheduler);
  const old = openLibrary({ scheduler, store: truth }).bw.cache<object>('row', { load: async () => [{ name: 'v1' }] });
  await old.get('1');
  const source = new Source();
  source.rows.set('1', 7);
  const { bw } = openLibrary({ scheduler, store: truth, defaults: { l1: false } });
  const cache = bw.cache<Row>('row', { load: source.load, schema: ROW });
  const got = await cache.getDetailed('1');
  assert.deepEqual([got.from, got.value?.n], ['loader', 7]);
  assert.equal((await cache.getDetailed('1')).from, 'l2');
  const { unreadable, schemaMisses } = cache.stats();
  assert.deepEqual([unreadable, schemaMisses], [1, 1]);
});

test('schema: one that is none, answers later or throws', async () => {
  const { bw } = openLibrary();
  const load = async (ids: readonly string[]): Promise<string[]> => [...ids];
  for (const schema of [{}, 'zod', null, { '~standard': { version: 2, validate: () => ({ value: 1 }) } }]) {
    assert.throws(() => bw.cache('none', { load, schema: schema as unknown as StandardSchema }), {
      code: 'CACHE_OPTION_INVALID',
    });
  }
  const made = (validate: StandardSchema['~standard']['validate']): StandardSchema => ({
    '~standard': { version: 1, vendor: 'test', validate },
  });
  const later = bw.cache('later', { load, schema: made(() => Promise.reject(new Error('x'))) });
  await assert.rejects(later.get('1'), /at once/);
  const throws = bw.cache('throws', {
    load,
    schema: made(() => {
      throw new Error('broken schema');
    }),
  });
  await assert.rejects(throws.get('1'), /broken schema/);
});

test('known: an id that certainly does not exist costs nothing; what is written is known at once', async () => {
  const { bw } = openLibrary();
  const known = new KnownKeys({ seed: 1, falsePositiveRate: 0.0001 });
  const source = new Source();
  for (let i = 0; i < 100; i += 1) source.rows.set(`${i}`, i);
  const cache = bw.cache<Row>('row', { load: source.load, known });
  assert.equal(await cache.get('ghost'), null);
  assert.equal(source.calls.length, 1, 'nothing is refused before the first build');
  await known.build(source.rows.keys());
  const ghosts = Array.from({ length: 50 }, (_, i) => `ghost${i}`);
  for (const id of ghosts) assert.equal(await cache.get(id), null);
  assert.equal((await cache.getMany(ghosts)).size, 50);
  assert.equal((await cache.getDetailed('ghost7')).from, 'filter');
  assert.equal(source.calls.length, 1);
  assert.equal(cache.stats().filtered, 101);
  assert.equal((await cache.get('42'))?.n, 42);
  await cache.write('new', () => {
    source.rows.set('new', 1);
  });
  assert.equal((await cache.get('new'))?.n, 1);
  source.rows.set('told', 2);
  await bw.invalidate({ keys: ['row:told'] });
  assert.equal((await cache.get('told'))?.n, 2);
  source.rows.set('ghost1', 3);
  assert.equal((await cache.get('ghost1', { fresh: true }))?.n, 3, 'the source’s answer is the source’s');
  await assert.rejects(cache.get(7 as unknown as string), { code: 'CACHE_KEY_INVALID' });
  await bw.close();
  await assert.rejects(cache.get('ghost2'), { code: 'CACHE_CLOSED' });
});

test('ids: what the rule refuses is refused before anything is asked, and can still be taken away', async () => {
  const { bw } = openLibrary();
  const source = new Source();
  const rows = bw.cache('row', { load: source.load, ids: /^\d{1,3}$/ });
  source.rows.set('12', 1);
  assert.equal((await rows.get('12'))?.n, 1);
  const refused = { code: 'CACHE_KEY_INVALID', message: /its declaration \(ids\).*received "x12"/ };
  await assert.rejects(rows.get('x12'), refused);
  await assert.rejects(rows.getDetailed('x12', { fresh: true }), refused);
  await assert.rejects(rows.getMany(['12', 'x12', '13']), refused);
  await assert.rejects(rows.set('x12', { id: 'x12', n: 1 }), refused);
  assert.equal(rows.peek('x12'), undefined);
  assert.deepEqual(
    source.calls.flatMap(({ ids }) => ids),
    ['12'],
  );
  assert.equal(await rows.delete('x12'), false);
  await rows.write('x12', () => undefined);
  await bw.invalidate({ keys: ['row:x12'] });

  const byFunction = bw.cache('fn', {
    load: source.load,
    ids: (id) => id.startsWith('1'),
    known: new KnownKeys({ seed: 1 }),
  });
  assert.equal((await byFunction.get('12'))?.n, 1);
  await assert.rejects(byFunction.get('21'), { code: 'CACHE_KEY_INVALID' });
  const late = bw.cache('late', { load: source.load, ids: (async () => true) as never });
  await assert.rejects(late.get('12'), { code: 'CACHE_KEY_INVALID' }, 'a promise is no yes');
  for (const ids of [/a/g, /a/y, 'a', null, ['1']]) {
    assert.throws(() => bw.cache('bad', { load: source.load, ids: ids as never }), { code: 'CACHE_OPTION_INVALID' });
  }
  await bw.close();
});

test('known: refused where rows of other processes would be called absent', () => {
  const scheduler = new ManualScheduler();
  const { bw } = openLibrary({ scheduler, store: new SlowStore(embeddedTruth(scheduler)) });
  const load = async (): Promise<string[]> => [];
  assert.throws(() => bw.cache('x', { load, known: new KnownKeys({ seed: 1 }) }), { code: 'CACHE_OPTION_INVALID' });
  assert.throws(() => openLibrary().bw.cache('x', { load, known: new Set() as unknown as KnownKeys }), {
    code: 'CACHE_OPTION_INVALID',
  });
});

test('wait everywhere is refused where the store does not know who keeps copies, and before anything is invalidated', async () => {
  const scheduler = new ManualScheduler();
  const store = new SlowStore(embeddedTruth(scheduler));
  store.direct = true;
  const { bw } = openLibrary({ scheduler, store });
  await assert.rejects(bw.invalidate({ keys: ['a:1'], wait: 'everywhere' }), {
    code: 'CACHE_OPTION_INVALID',
    message: /does not know who keeps copies/,
  });
  assert.equal(store.counts.invalidate, 0);
});

test('write: the source first, then the invalidation, acknowledged', async () => {
  const { bw } = openLibrary();
  const source = new Source();
  source.rows.set('1', 1);
  const cache = bw.cache<Row>('row', { load: source.load });
  await cache.get('1');
  let commit = (): void => undefined;
  const writing = cache.write('1', async () => {
    await new Promise<void>((resolve) => {
      commit = resolve;
    });
    source.rows.set('1', 2);
    return 'done';
  });
  await drainPromises();
  assert.equal(cache.peek('1')?.n, 1, 'the old value is the truth until the commit');
  commit();
  assert.equal((await writing).result, 'done');
  assert.equal(cache.peek('1'), undefined);
  assert.equal((await cache.get('1'))?.n, 2);
});

test('write: an update that throws invalidates all the same; an invalidation that fails is told', async () => {
  const scheduler = new ManualScheduler();
  const store = new SlowStore(embeddedTruth(scheduler), true);
  store.direct = true;
  const { bw } = openLibrary({ scheduler, store });
  const source = new Source();
  source.rows.set('1', 1);
  const cache = bw.cache<Row>('row', { load: source.load });
  await cache.get('1');
  const lost = new Error('connection lost after COMMIT');
  const update = (): void => {
    source.rows.set('1', 2);
    throw lost;
  };
  await assert.rejects(cache.write('1', update), (error) => error === lost);
  assert.equal((await cache.get('1'))?.n, 2);
  store.failing = { what: 'delete', error: new Error('gone') };
  const write = cache.write('1', () => 1);
  await assert.rejects(write, { code: 'CACHE_INVALIDATION_UNACKNOWLEDGED' });
  // Neither worked: the caller learns of both, under the code that says what to do.
  await assert.rejects(cache.write('1', update), (error) => {
    assert.ok(error instanceof BreakwaterError && error.code === 'CACHE_INVALIDATION_UNACKNOWLEDGED');
    assert.ok(error.cause instanceof AggregateError);
    const [updating, invalidating] = error.cause.errors;
    assert.equal(updating, lost);
    assert.equal(invalidating.code, 'CACHE_INVALIDATION_UNACKNOWLEDGED');
    assert.match(error.message, /connection lost after COMMIT.*gone/);
    return true;
  });
  await assert.rejects(cache.write('1', 'update' as unknown as () => void), { code: 'CACHE_OPTION_INVALID' });
});

test('after: a token covers all that its Breakwater had acknowledged: sets, deletes, tags, namespaces, other caches', async () => {
  const scheduler = new ManualScheduler();
  const truth = embeddedTruth(scheduler);
  const rows = new Source();
  const store = (): SlowStore => {
    const made = new SlowStore(truth);
    made.direct = true;
    return made;
  };
  const a = openLibrary({ scheduler, store: store(), seed: 1 }).bw;
  const b = openLibrary({ scheduler, store: store(), seed: 2 }).bw;
  const inA = a.cache<Row>('row', { load: rows.load, tags: ({ id }) => [`t${id}`] });
  const inB = b.cache<Row>('row', { load: rows.load, tags: ({ id }) => [`t${id}`], l1: { ttl: '1m' } });
  let n = 0;
  for (const change of [
    () => inA.set('1', { id: '1', n }),
    () => inA.delete('1'),
    () => a.invalidate({ tags: ['t1'] }),
    () => a.invalidate({ namespaces: ['row'] }),
    () => a.invalidate({ keys: ['row:1', 'else:1'] }),
  ]) {
    rows.rows.set('1', n);
    await inB.get('1', { fresh: true });
    await inB.get('1');
    n += 1;
    rows.rows.set('1', n);
    await change();
    const token = a.token();
    assert.equal(inB.peek('1')?.n, n - 1, 'its L1 has not heard of it');
    assert.equal((await inB.getDetailed('1', { after: token })).value?.n, n);
    assert.equal((await inA.get('1', { after: token }))?.n, n);
  }

  // A load with a lease that began before the invalidation by tag: joined, and refused at its fill.
  const slow = store();
  const c = openLibrary({ scheduler, store: slow, seed: 3 }).bw.cache<Row>('row', {
    load: rows.load,
    tags: ({ id }) => [`t${id}`],
  });
  await inA.delete('1');
  rows.automatic = false;
  const before = c.get('1');
  await drainPromises();
  rows.rows.set('1', 99);
  await a.invalidate({ tags: ['t1'] });
  const after = c.get('1', { after: a.token() });
  await drainPromises();
  rows.last.finish();
  await drainPromises();
  rows.last.finish();
  assert.deepEqual([(await before)?.n, (await after)?.n], [n, 99]);

  // An embedded store in each process: nothing is shared but the source.
  rows.automatic = true;
  const lone = openLibrary({ scheduler, seed: 4 }).bw.cache<Row>('row', { load: rows.load });
  await lone.get('1');
  rows.rows.set('1', 100);
  assert.equal((await lone.get('1'))?.n, 99);
  assert.equal((await lone.get('1', { after: a.token() }))?.n, 100);
});

test('after: another process’s write is seen past its L1 and past a load that began before it', async () => {
  const scheduler = new ManualScheduler();
  const truth = embeddedTruth(scheduler);
  const source = new Source();
  source.rows.set('1', 1);
  const store = (): SlowStore => {
    const made = new SlowStore(truth);
    made.direct = true;
    return made;
  };
  const a = openLibrary({ scheduler, store: store(), seed: 1 }).bw.cache<Row>('row', { load: source.load });
  const options = { load: source.load, l1: { ttl: '1m' } };
  const b = openLibrary({ scheduler, store: store(), seed: 2 }).bw.cache<Row>('row', options);
  await b.get('1');
  await b.get('1');
  const { token } = await a.write('1', () => {
    source.rows.set('1', 2);
  });
  assert.equal((await b.get('1'))?.n, 1, 'its L1 has not heard of it');
  assert.equal((await b.get('1', { after: token }))?.n, 2);
  await drainPromises(); // nobody waits for the fill
  assert.equal((await b.get('1'))?.n, 2, 'and L1 has it now');
  assert.equal((await a.getMany(['1'], { after: token })).get('1')?.n, 2);

  // The store cannot be reached, and a load that began before the write is under way here.
  source.automatic = false;
  const broken = store();
  broken.failing = { what: 'read', error: new Error('gone') };
  const c = openLibrary({ scheduler, store: broken, seed: 99 }).bw.cache<Row>('row', { load: source.load });
  const before = c.get('1');
  await drainPromises();
  const later = await a.write('1', () => {
    source.rows.set('1', 3);
  });
  const after = c.get('1', { after: later.token });
  await drainPromises();
  source.last.finish();
  assert.equal((await before)?.n, 2);
  await drainPromises();
  source.last.finish();
  assert.equal((await after)?.n, 3);
  for (const bad of ['', 'token', 7, null]) {
    await assert.rejects(a.get('1', { after: bad as string }), { code: 'CACHE_TOKEN_INVALID' });
  }
});

test('getDetailed says how long the value is fresh, from every tier', async () => {
  const scheduler = new ManualScheduler();
  const { bw } = openLibrary({ scheduler, store: embeddedTruth(scheduler), defaults: { jitter: 0 } });
  const source = new Source();
  source.rows.set('1', 7);
  const far = bw.cache<Row>('far', { load: source.load, ttl: '10s', grace: '10s', l1: false });
  const near = bw.cache<Row>('near', { load: source.load, ttl: '10s', negativeTtl: '3s' });
  for (const [cache, tier] of [
    [far, 'l2'],
    [near, 'l1'],
  ] as const) {
    const loaded = await cache.getDetailed('1');
    assert.deepEqual([loaded.from, loaded.ttlMs], ['loader', 10_000]);
    await scheduler.run(4_000);
    const { from, ttlMs, ageMs } = await cache.getDetailed('1');
    assert.deepEqual([from, ttlMs, ttlMs - ageMs], [tier, 10_000, 6_000]);
  }
  assert.equal((await near.getDetailed('none')).ttlMs, 3_000);
  await scheduler.run(10_000);
  const old = await far.getDetailed('1');
  assert.deepEqual([old.from, old.ttlMs], ['stale', 10_000]);
});
