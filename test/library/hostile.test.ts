/** Values and answers that nobody writes on purpose. None may cost more than the one get: no rejection unhandled, no get that hangs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { drainPromises, ManualScheduler } from '../../src/base/scheduler.ts';
import { EmbeddedStore } from '../../src/stores/embedded.ts';
import type { InvalidateRequest, StoreCall } from '../../src/stores/store.ts';
import { embeddedTruth, openLibrary } from './support.ts';

/** What a get came to, without waiting for one that never ends. */
async function outcome(promise: Promise<unknown>): Promise<unknown> {
  let result: unknown = 'still waiting';
  promise.then(
    (value) => {
      result = value;
    },
    (error: unknown) => {
      result = error;
    },
  );
  await drainPromises();
  return result;
}

function nested(levels: number): unknown {
  let value: unknown = 1;
  for (let i = 0; i < levels; i += 1) value = [value];
  return value;
}

test('a loader that fills an array by index leaves holes where there is no row: known absent', async () => {
  const { bw } = openLibrary();
  const cache = bw.cache<string>('holes', {
    load: async (ids) => {
      const rows = new Array<string>(ids.length);
      ids.forEach((id, index) => {
        if (id === 'there') rows[index] = id;
      });
      return rows;
    },
  });
  const [gone, there] = [cache.get('gone'), cache.get('there')];
  assert.equal(await outcome(gone), null);
  assert.equal(await outcome(there), 'there');
  assert.equal(cache.stats().flights, 0);
  await bw.close();
});

test('a Map with ids that are no text: refused, for it would say of every row that there is none', async () => {
  const { bw } = openLibrary();
  const rows = new Map<unknown, string>([[7, 'there']]);
  const cache = bw.cache<string>('numbers', { load: async () => rows as Map<string, string> });
  const error = (await outcome(cache.get('7'))) as Error;
  assert.equal((error as { code?: string }).code, 'CACHE_LOADER_RESULT');
  assert.match(error.message, /String\(row\.id\).*received 7/);
  rows.delete(7);
  rows.set('8', 'nobody asked for it');
  assert.equal(await outcome(cache.get('9')), null);
  assert.equal(cache.stats().loaderExtras, 1);
  await bw.close();
});

test('a value nested too deep to be walked is refused with a code, at any depth', async () => {
  const { bw } = openLibrary();
  for (const levels of [1_001, 4_000, 4_500, 20_000]) {
    const cache = bw.cache<unknown>(`deep${levels}`, { load: async (ids) => ids.map(() => nested(levels)) });
    await assert.rejects(cache.get('1'), { code: 'CACHE_VALUE_UNSERIALISABLE' });
    await assert.rejects(cache.set('1', nested(levels)), { code: 'CACHE_VALUE_UNSERIALISABLE' });
  }
  const cache = bw.cache<unknown>('deep-enough', { load: async (ids) => ids.map(() => nested(1_000)) });
  assert.deepEqual(await cache.get('1'), nested(1_000));
  await bw.close();
});

test('deep JSON that another client wrote under the key is unreadable: a counted miss, loaded and repaired', async () => {
  const scheduler = new ManualScheduler();
  const store = embeddedTruth(scheduler);
  const { bw } = openLibrary({ scheduler, store });
  const cache = bw.cache<string>('foreign', { load: async (ids) => [...ids] });
  const text = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
  await store.set('foreign:1', new TextEncoder().encode(text), { ttlMs: null, tags: [] }, { timeoutMs: 100 });
  assert.equal(await outcome(cache.get('1')), '1');
  const { unreadable, loads, flights } = cache.stats();
  assert.deepEqual({ unreadable, loads, flights }, { unreadable: 1, loads: 1, flights: 0 });
  await bw.close();
});

/** A store that has to connect first, as networked ones do: it looks at what it was asked for when the call has returned. */
class LateStore extends EmbeddedStore {
  override async invalidate(request: InvalidateRequest, call: StoreCall): Promise<void> {
    await drainPromises();
    return super.invalidate(request, call);
  }
}

test('a caller may empty the arrays that he handed to invalidate at once: what was named is invalidated', async () => {
  const scheduler = new ManualScheduler();
  const random = new SeededRandom(1);
  const store = new LateStore({
    memoryBytes: 1024 ** 2,
    eviction: 'lru',
    clock: scheduler.clock,
    scheduler,
    random,
  });
  const { bw } = openLibrary({ scheduler, store });
  let row = 0;
  const cache = bw.cache('row', { load: async (ids) => ids.map(() => row), tags: () => ['t'], l1: false });
  for (const what of [{ keys: ['row:1'] }, { tags: ['t'] }, { namespaces: ['row'] }]) {
    await cache.get('1');
    row += 1;
    const done = bw.invalidate(what);
    for (const list of Object.values(what)) list.length = 0;
    await done;
    assert.equal(await cache.get('1'), row, JSON.stringify(what));
  }
  await bw.close();
});

test('a tags function may give back the same array each time: each entry has its own tags', async () => {
  const { bw } = openLibrary();
  const tags: string[] = [];
  let row = 0;
  const cache = bw.cache<{ id: string; row: number }>('tagged', {
    load: async (ids) => ids.map((id) => ({ id, row })),
    tags: ({ id }) => {
      tags.length = 0;
      tags.push(`t${id}`);
      return tags;
    },
  });
  await cache.getMany(['1', '2', '3']);
  row = 1;
  await bw.invalidate({ tags: ['t1', 't3'] });
  const rows = [...(await cache.getMany(['1', '2', '3'])).values()].map((value) => value?.row);
  assert.deepEqual(rows, [1, 0, 1]);
  await bw.close();
});

/** At whatever is done with it, it throws a TypeError of its own. */
function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

test('a Proxy that was revoked, wherever one can be given: a code', async () => {
  const { bw } = openLibrary();
  let n = 0;
  const declare = (options: object) => {
    n += 1;
    const ones = async (ids: readonly string[]) => ids.map(() => 1);
    return bw.cache<unknown>(`proxy${n}`, { load: ones, ...options } as never);
  };
  const load = async (ids: readonly string[]) => ids.map(revoked);
  for (const l1 of [false, { ttl: '1m' }]) {
    const among = async (ids: readonly string[]) => ids.map((id) => (id === 'bad' ? revoked() : id));
    const mixed = declare({ l1, load: among });
    const [good, bad] = [mixed.get('good'), outcome(mixed.get('bad'))];
    assert.equal(((await bad) as { code: string }).code, 'CACHE_LOADER_RESULT');
    assert.equal(await good, 'good', 'its neighbour is served');
    const thrown = outcome(declare({ l1, load: () => Promise.reject(revoked()) }).get('1'));
    assert.equal(((await thrown) as { code: string }).code, 'CACHE_LOADER_RESULT');
    const thrownAtOnce = () => {
      throw revoked();
    };
    assert.equal(
      ((await outcome(declare({ l1, load: thrownAtOnce }).get('1'))) as { code: string }).code,
      'CACHE_LOADER_RESULT',
    );
    await assert.rejects(declare({ l1, load: async () => new Map([['1', revoked()]]) }).get('1'), {
      code: 'CACHE_LOADER_RESULT',
    });
    await assert.rejects(declare({ l1, tags: () => revoked() }).get('1'), { code: 'CACHE_TAGS_INVALID' });
    await assert.rejects(declare({ l1, tags: () => [revoked()] }).get('1'), { code: 'CACHE_TAGS_INVALID' });
    for (const codec of ['json', 'msgpack']) {
      await assert.rejects(declare({ l1, codec }).set('1', { a: [revoked()] }), { code: 'CACHE_VALUE_UNSERIALISABLE' });
    }
  }
  await assert.rejects(declare({ load }).get(revoked() as never), { code: 'CACHE_KEY_INVALID' });
  await assert.rejects(declare({ load }).get('1', revoked()), { code: 'CACHE_OPTION_INVALID' });
  assert.throws(() => declare({ schema: revoked() }), { code: 'CACHE_OPTION_INVALID' });
  assert.throws(() => bw.cache('proxy', revoked() as never), { code: 'CACHE_OPTION_INVALID' });
  await assert.rejects(bw.invalidate(revoked()), { code: 'CACHE_OPTION_INVALID' });
  await assert.rejects(bw.invalidate({ keys: revoked() as never }), { code: 'CACHE_OPTION_INVALID' });
  await bw.close();
});

test('null and symbols where options and names are meant: a code', async () => {
  const { bw } = openLibrary();
  const cache = bw.cache<number>('one', { load: async (ids) => ids.map(() => 1) });
  await assert.rejects(cache.warm(['1'], null as never), { code: 'CACHE_OPTION_INVALID' });
  for (const bad of [Symbol('s'), Object.create(null)]) {
    assert.throws(() => bw.counter(bad as never), { code: 'CACHE_OPTION_INVALID' });
  }
  for (const bad of [null, undefined, {}]) {
    assert.throws(() => bw.register(bad as never), { code: 'CACHE_OPTION_INVALID', message: /prom-client/ });
  }
  await bw.close();
});

test('a loader whose whole answer cannot be read: a code, and the next load of the key is a new one', async () => {
  const { bw } = openLibrary();
  const throwing = (what: string) => () => {
    throw new RangeError(what);
  };
  const answers: Readonly<Record<string, () => unknown>> = {
    revoked,
    revokedLater: async () => revoked(),
    touchy: async () => [revoked()],
    trap: async () => new Proxy([1], { get: (_, name) => (name === 'then' ? undefined : throwing('trap')()) }),
    map: async () => Object.assign(new Map([['1', 1]]), { get: throwing('get') }),
    size: async () => Object.defineProperty(new Map([['1', 1]]), 'size', { get: throwing('size') }),
    holes: async () => new Array(5),
    number: () => 5,
    text: async () => 'one',
    nothing: () => undefined,
    object: async () => ({ 1: 1 }),
    symbol: () => Symbol('one'),
  };
  for (const [name, answer] of Object.entries(answers)) {
    let calls = 0;
    const load = () => {
      calls += 1;
      return calls === 1 ? answer() : [calls];
    };
    const cache = bw.cache<unknown>(name, { load, guard: { backoff: false } } as never);
    const [one, two] = await Promise.all([outcome(cache.get('1')), outcome(cache.get('1'))]);
    assert.equal((one as { code: string }).code, 'CACHE_LOADER_RESULT', name);
    assert.equal(two, one, 'one load, one error for both');
    assert.equal(await cache.get('1'), 2, name);
  }
  await bw.close();
});

/** As promises of other libraries are. */
function thenable(then: (resolve: (value: unknown) => void, reject: (error: unknown) => void) => void): object {
  return Object.defineProperty({}, 'then', { value: then });
}

test('a schema that answers with what is no answer: refused, never taken for a yes', async () => {
  const { bw } = openLibrary();
  const answers: Readonly<Record<string, () => unknown>> = {
    thenable: () => thenable((resolve) => resolve({ value: 1 })),
    failing: () => thenable((_, reject) => reject(new Error('no'))),
    rejected: () => Promise.reject(new Error('no')),
    unreadable: () =>
      Object.defineProperty({}, 'then', {
        get: () => {
          throw new Error('no');
        },
      }),
    revoked,
    nothing: () => undefined,
    null: () => null,
    number: () => 5,
    count: () => ({ issues: 5 }),
    unsaid: () => ({ issues: [] }),
    odd: () => ({ issues: [revoked()] }),
    thrown: () => {
      throw revoked();
    },
  };
  for (const [name, validate] of Object.entries(answers)) {
    const schema = { '~standard': { version: 1, vendor: 'test', validate } };
    const load = async (ids: readonly string[]) => ids.map(() => 1);
    const cache = bw.cache<unknown>(name, { load, schema } as never);
    await assert.rejects(cache.get('1'), { code: 'CACHE_VALUE_INVALID' }, name);
    await assert.rejects(cache.set('1', 1), { code: 'CACHE_VALUE_INVALID' }, name);
  }
  await bw.close();
});
