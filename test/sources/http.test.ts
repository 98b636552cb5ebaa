/** `httpSource()` against a real HTTP server: the contract, and all that an API can answer instead of a value. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { createBreakwater, GuardShedError, NOT_MODIFIED, SourceBusyError, Validated } from '../../src/cache/index.ts';
import { type HttpOptions, httpSource } from '../../src/sources/http.ts';
import { createTestBreakwater, TestNode } from '../../src/testing/index.ts';
import { type Item, sourceContract } from '../contract/source-contract.ts';
import { type JsonApi, openJsonApi } from '../support/json-api.ts';

for (const [what, path, revalidates, more] of [
  ['one URL an id', '/items/{id}', true, {}],
  ['ids in the URL', '/items?ids={ids}', false, { maxIds: 50 }],
  ['ids in the body', '/items', false, { body: (ids: readonly string[]) => ({ ids }) }],
] as const) {
  sourceContract(
    `http, ${what}`,
    async () => {
      const api = await openJsonApi();
      return {
        source: httpSource<Item>({ url: `${api.origin}${path}`, key: 'id', timeout: '60s', ...more }),
        put: async (item) => api.put(item.id, item),
        remove: async (id) => api.remove(id),
        stall: async () => {
          const go = api.stall();
          return async () => go();
        },
        busy: async () => api.busy(),
        close: () => api.close(),
      };
    },
    { skip: false, revalidates },
  );
}

describe('httpSource()', () => {
  let api: JsonApi;
  before(async () => {
    api = await openJsonApi();
  });
  after(() => api.close());
  beforeEach(() => {
    api.answer(null);
    api.seen.length = 0;
  });
  const never = new AbortController().signal;
  const NEVER = { signal: never, stale: new Map<string, unknown>() };
  const single = (more: Partial<HttpOptions<Item>> = {}) =>
    httpSource<Item>({ url: `${api.origin}/items/{id}?api_key=hidden`, timeout: '60s', ...more });
  const load = async (source: ReturnType<typeof single>, ...ids: string[]) =>
    (await source.load(ids, NEVER)) as ReadonlyMap<string, unknown>;
  const answering = (status: number, headers: Record<string, string>, body: string) =>
    api.answer((_, response) => {
      response.writeHead(status, headers);
      response.end(body);
    });
  const code = (error: unknown) => (error as { code?: string }).code;

  test('each answer that is no value has its code, and nothing secret is said', async () => {
    const source = single({ headers: { authorization: 'Bearer hidden' }, maxBytes: 1_000, timeout: '10s' });
    const json = { 'content-type': 'application/json' };
    for (const [status, headers, body, expected] of [
      [200, json, '{"id":"1"', 'SOURCE_ANSWER_INVALID'],
      [200, { 'content-type': 'text/html' }, '<html>hidden</html>', 'SOURCE_ANSWER_INVALID'],
      [200, json, 'null', 'SOURCE_ANSWER_INVALID'],
      [200, json, '', 'SOURCE_ANSWER_INVALID'],
      [200, json, `"${'x'.repeat(2_000)}"`, 'SOURCE_TOO_LARGE'],
      [204, {}, '', 'SOURCE_FAILED'],
      [304, {}, '', 'SOURCE_REDIRECTED'],
      [302, { location: 'http://hidden.example/' }, '', 'SOURCE_REDIRECTED'],
      [400, json, '{"message":"hidden"}', 'SOURCE_REFUSED'],
      [401, {}, '', 'SOURCE_REFUSED'],
      [403, {}, '', 'SOURCE_REFUSED'],
      [408, {}, '', 'SOURCE_FAILED'],
      [429, {}, '', 'SOURCE_BUSY'],
      [500, {}, 'hidden', 'SOURCE_FAILED'],
      [503, {}, '', 'SOURCE_FAILED'],
      [503, { 'retry-after': '2' }, '', 'SOURCE_BUSY'],
    ] as const) {
      answering(status, headers, body);
      const error = await load(source, '1').then(
        () => assert.fail(`${status} ${body} was taken for a value`),
        (thrown: unknown) => thrown as Error,
      );
      assert.equal(code(error), expected, `${status} ${body.slice(0, 20)}`);
      assert.doesNotMatch(`${error.message} ${error.stack} ${String(error.cause)}`, /hidden/);
    }
    for (const status of [404, 410]) {
      answering(status, {}, 'gone');
      assert.deepEqual([...(await load(source, '1')).values()], [null]);
    }
    answering(410, {}, '');
    await assert.rejects(load(single({ absent: [404] }), '1'), { code: 'SOURCE_REFUSED' });
  });

  test('a body without an announced length is counted as it comes, and cut off', async () => {
    let isCut = false;
    api.answer((_, response) => {
      response.writeHead(200);
      const more = (): void => {
        if (!isCut) response.write('x'.repeat(10_000), () => setImmediate(more));
      };
      response.on('close', () => {
        isCut = true;
      });
      more();
    });
    await assert.rejects(load(single({ maxBytes: 50_000 }), '1'), { code: 'SOURCE_TOO_LARGE' });
    while (!isCut) await new Promise(setImmediate);
  });

  test('an answer that does not come, or not to its end: SOURCE_TIMEOUT; a server that is not there: SOURCE_FAILED', async () => {
    for (const begin of [false, true]) {
      api.answer((_, response) => {
        if (begin) {
          response.writeHead(200);
          response.write('{"id":');
        }
      });
      await assert.rejects(load(single({ timeout: 50 }), '1'), { code: 'SOURCE_TIMEOUT' });
    }
    const slow = single({ timeout: 50, headers: () => new Promise(() => {}) });
    await assert.rejects(load(slow, '1'), { code: 'SOURCE_TIMEOUT' });
    const nowhere = httpSource({ url: 'http://127.0.0.1:1/{id}' });
    await assert.rejects(async () => nowhere.load(['1'], NEVER), { code: 'SOURCE_FAILED' });
    await assert.rejects(nowhere.check(), { code: 'SOURCE_FAILED' });
  });

  test('one id fails alone; when all fail the load does', async () => {
    api.put('1', { id: '1', name: 'one' });
    api.answer((request, response) => {
      const fails = request.url!.includes('/2');
      response.writeHead(fails ? 500 : 200);
      response.end(fails ? '' : JSON.stringify({ id: '1', name: 'one' }));
    });
    const found = await load(single(), '1', '2');
    assert.deepEqual(found.get('1'), { id: '1', name: 'one' });
    assert.equal(code(found.get('2')), 'SOURCE_FAILED');
    await assert.rejects(load(single(), '2', '22'), { code: 'SOURCE_FAILED' });
  });

  test('what a batch may not answer: an object, values nobody asked for, two of one id, values without an id', async () => {
    const source = httpSource<Item>({ url: `${api.origin}/items?ids={ids}`, key: 'id' });
    const said = (value: unknown) => answering(200, {}, JSON.stringify(value));
    said({ items: [] });
    await assert.rejects(load(source, '1'), { code: 'SOURCE_ANSWER_INVALID' });
    said([{ id: '1' }, { id: '3' }]);
    await assert.rejects(load(source, '1', '2'), { code: 'SOURCE_ROW_UNASKED' });
    for (const bad of [{ name: 'x' }, null, 'text', { id: null }, { id: 1.5 }]) {
      said([bad]);
      await assert.rejects(load(source, '1'), { code: 'SOURCE_ROW_UNASKED' });
    }
    said([
      { id: '1', name: 'a' },
      { id: 2, name: 'b' },
      { id: '1', name: 'c' },
    ]);
    const found = await load(source, '1', '2', '3');
    assert.equal(code(found.get('1')), 'SOURCE_ROW_DUPLICATE');
    assert.deepEqual(found.get('2'), { id: 2, name: 'b' });
    assert.equal(found.get('3'), null);
    answering(404, {}, '');
    await assert.rejects(load(source, '1'), { code: 'SOURCE_REFUSED' }, 'no batch is absent as a whole');
    said({ data: { items: [{ id: '1', name: 'picked' }] } });
    const picking = httpSource<Item>({
      url: `${api.origin}/items?ids={ids}`,
      key: 'id',
      pick: (json) => (json as { data: { items: Item[] } }).data.items,
    });
    assert.equal(((await load(picking, '1')).get('1') as Item).name, 'picked');
  });

  test('ids are one segment of the path, or one part of the query, whatever they consist of', async () => {
    api.answer((_, response) => response.writeHead(404).end());
    const odd = ['a/b', '../admin', 'x?y=1', 'x#y', '%2e%2e', 'ü', ' ', '{id}', 'a&b'];
    await load(single(), ...odd);
    assert.deepEqual(
      api.seen.map(({ url }) => url).sort(),
      odd.map((id) => `/items/${encodeURIComponent(id)}?api_key=hidden`).sort(),
    );
    const before = api.seen.length;
    const refused = await load(single(), '.', '..', '', '\ud800');
    for (const one of refused.values()) assert.equal(code(one), 'SOURCE_KEY_INVALID');
    const batch = httpSource<Item>({ url: `${api.origin}/items?ids={ids}`, key: 'id' });
    assert.equal(code((await load(batch, '1,2')).get('1,2')), 'SOURCE_KEY_INVALID');
    assert.equal(api.seen.length, before);
  });

  test('a batch is cut by maxIds and by the length of its URL', async () => {
    api.answer((_, response) => response.end('[]'));
    const ids = Array.from({ length: 250 }, (_, i) => `${i}`.padStart(100, '0'));
    await load(httpSource<Item>({ url: `${api.origin}/items?ids={ids}`, key: 'id' }), ...ids);
    assert.ok(api.seen.length >= 4);
    assert.ok(api.seen.every(({ url }) => url.length <= 8_000));
    const asked = api.seen.flatMap(({ url }) => new URL(url, 'http://x').searchParams.get('ids')!.split(','));
    assert.deepEqual(asked.sort(), ids);
  });

  test('at most `concurrency` requests at once over all loads, over connections that are kept', async () => {
    for (let id = 1; id <= 40; id += 1) api.put(String(id), { id: String(id), name: 'n' });
    const source = single({ concurrency: 3 });
    let now = 0;
    let most = 0;
    const before = api.connections();
    api.answer((_, response) => {
      now += 1;
      most = Math.max(most, now);
      setImmediate(() => {
        now -= 1;
        response.end('{"name":"n"}');
      });
    });
    const ids = Array.from({ length: 40 }, (_, i) => String(i + 1));
    await Promise.all([load(source, ...ids.slice(0, 20)), load(source, ...ids.slice(20))]);
    assert.equal(most, 3);
    assert.equal(api.seen.length, 40);
    assert.ok(api.connections() - before <= 6, `${api.connections() - before} connections for 40 requests`);
  });

  test('a signal ends what waits for its turn, too, and takes nobody else along', { timeout: 60_000 }, async () => {
    const source = single({ concurrency: 1 });
    const go = api.stall();
    api.put('1', { id: '1', name: 'one' });
    const first = load(source, '1');
    while (api.busy() === 0) await new Promise(setImmediate);
    const abort = new AbortController();
    const second = assert.rejects(async () => source.load(['2'], { ...NEVER, signal: abort.signal }), {
      code: 'SOURCE_ABORTED',
    });
    abort.abort();
    await second;
    go();
    assert.equal(((await first).get('1') as Validated<Item>).value.name, 'one');
    assert.equal(api.seen.length, 1);
  });

  test('revalidation lives with the value: another process, or the same one started anew, asks by its ETag', async () => {
    api.put('5', { id: '5', name: 'five' });
    const source = single();
    const first = (await load(source, '5')).get('5') as Validated<Item>;
    assert.ok(first instanceof Validated);
    const again = async (validator: string, from = single()) =>
      (
        (await from.load(['5'], {
          ...NEVER,
          stale: new Map([['5', first.value]]),
          validators: new Map([['5', validator]]),
        })) as ReadonlyMap<string, unknown>
      ).get('5');
    assert.equal(await again(first.validator), NOT_MODIFIED);
    const elsewhere = httpSource<Item>({ url: `${api.origin}/items/{id}?fields=all` });
    assert.ok((await again(first.validator, elsewhere)) instanceof Validated, 'an ETag of another URL means nothing');
    for (const junk of ['', 'E', 'junk', `00000000E"v1"`]) assert.ok((await again(junk)) instanceof Validated);
    assert.equal(
      (
        (await source.load(['5'], { ...NEVER, validators: new Map([['5', first.validator]]) })) as Map<string, unknown>
      ).get('5') instanceof Validated,
      true,
    );
    assert.ok(api.seen.every(({ headers }) => headers['cache-control'] === 'no-cache'));
  });

  test('Last-Modified is believed only of what is settled', async () => {
    for (const [modified, kept] of [
      ['Wed, 21 Oct 2015 07:28:00 GMT', true],
      ['Wed, 21 Oct 2015 07:29:30 GMT', false],
    ] as const) {
      answering(200, { 'last-modified': modified, date: 'Wed, 21 Oct 2015 07:30:00 GMT' }, '{"id":"1"}');
      assert.equal((await load(single(), '1')).get('1') instanceof Validated, kept);
    }
    answering(200, { etag: 'not quoted' }, '{"id":"1"}');
    assert.equal((await load(single(), '1')).get('1') instanceof Validated, false);
  });

  test('behind caches of two processes on one store: the second asks by what the first has stored', async () => {
    api.put('6', { id: '6', name: 'six' });
    const node = new TestNode();
    const declared = { ttl: '1m', jitter: 0, grace: '1h', staleWhileReload: false } as const;
    const open = () => {
      const { bw } = createTestBreakwater({ store: node });
      return { bw, cache: bw.cache<Item>('item', { load: single().load, ...declared }) };
    };
    const [one, two] = [open(), open()];
    try {
      assert.equal((await one.cache.get('6'))?.name, 'six');
      await node.clock.settle();
      for (const { cache } of [two, one, two]) {
        await node.clock.advance('61s');
        const before = cache.stats().notModified;
        assert.equal((await cache.get('6'))?.name, 'six');
        await node.clock.settle();
        assert.equal(cache.stats().notModified, before + 1);
      }
      assert.equal(api.seen.filter(({ headers }) => headers['if-none-match'] === undefined).length, 1);
      api.put('6', { id: '6', name: 'changed' });
      await node.clock.advance('61s');
      assert.equal((await two.cache.get('6'))?.name, 'changed');
    } finally {
      await Promise.all([one.bw.close(), two.bw.close(), node.clock.advance('5s')]);
    }
  });

  test('a busy server is not asked again before it wants to be, whatever is asked for', async () => {
    answering(429, { 'retry-after': '60' }, '');
    const bw = createBreakwater();
    try {
      const cache = bw.cache<Item>('item', { load: single().load, guard: { queueTimeout: '5s' }, loadTimeout: '20s' });
      await assert.rejects(
        cache.get('1'),
        (error: unknown) => error instanceof SourceBusyError && error.retryAfterMs === 60_000,
      );
      const asked = api.seen.length;
      for (const id of ['1', '2', '3']) {
        await assert.rejects(
          cache.get(id),
          (error: unknown) =>
            error instanceof GuardShedError && error.code === 'GUARD_RATE_LIMITED' && error.retryAfterMs! > 25_000,
        );
      }
      assert.equal(api.seen.length, asked);
      assert.equal((await bw.stats()).sources['cache:item']?.breaker, 'closed');
    } finally {
      await bw.close();
    }
    const date = 'Wed, 21 Oct 2015 07:28:00 GMT';
    answering(503, { 'retry-after': 'Wed, 21 Oct 2015 07:28:07 GMT', date }, '');
    await assert.rejects(
      load(single(), '1', '2', '3'),
      (error: unknown) => error instanceof SourceBusyError && error.retryAfterMs === 7_000,
    );
    const before = api.seen.length;
    await assert.rejects(load(single({ concurrency: 1 }), ...Array.from({ length: 50 }, (_, i) => `${i}`)));
    assert.equal(api.seen.length, before + 1, 'who was told "not now" does not ask for the rest');
  });

  test('options: what makes no sense is refused, without showing what may be secret', () => {
    const wrong: object[] = [
      {},
      { url: 'nonsense/{id}' },
      { url: 'ftp://h/{id}' },
      { url: 'http://h/x' },
      { url: 'http://h/{id}/{id}' },
      { url: 'http://h/{key}' },
      { url: 'http://{id}.h/' },
      { url: 'http://h/x#{id}' },
      { url: 'http://user:hidden@h/{id}' },
      { url: 'http://h/{ids}' },
      { url: 'http://h/{id}', body: () => 1, key: 'id' },
      { url: 'http://h/x', body: () => 1 },
      { url: 'http://h/{id}', ulr: 1 },
      { url: 'http://h/{id}', timeout: 0 },
      { url: 'http://h/{id}', concurrency: 0 },
      { url: 'http://h/{id}', maxIds: 5 },
      { url: 'http://h/{id}', absent: [200] },
      { url: 'http://h/{id}', checkUrl: 'http://other/' },
      { url: 'http://h/{id}', pick: 'data' },
    ];
    for (const one of wrong) {
      assert.throws(
        () => httpSource(one as HttpOptions<unknown>),
        (error: unknown) => /^CACHE_OPTION_/.test(String(code(error))) && !/hidden/.test(String(error)),
        JSON.stringify(one),
      );
    }
  });

  test('a header that cannot be sent is named and not shown; headers may be asked for each time', async () => {
    await assert.rejects(load(single({ headers: { 'x-token': 'hidden\n' } }), '1'), (error: unknown) => {
      assert.equal(code(error), 'SOURCE_FAILED');
      return /x-token/.test(String(error)) && !/hidden/.test(String(error));
    });
    let turn = 0;
    api.answer((_, response) => response.end('{}'));
    const source = single({
      headers: async () => {
        turn += 1;
        return { authorization: `Bearer ${turn}` };
      },
    });
    await load(source, '1');
    await load(source, '1');
    assert.deepEqual(
      api.seen.map(({ headers }) => headers.authorization),
      ['Bearer 1', 'Bearer 2'],
    );
  });
});
