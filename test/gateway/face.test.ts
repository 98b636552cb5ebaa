/** The HTTP face of a gateway over a JSON API that does as it is told: shapes, headers, freshness, failures, rights, hostile input. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { before, describe, test } from 'node:test';
import { type Answer, FakeApi, openGateway, type TestGateway, until } from './support.ts';

let api: FakeApi;
let gateway: TestGateway;

before(async () => {
  api = await FakeApi.start();
  gateway = await openGateway(`
sources:
  api:
    http: { base: "${api.url}", timeout: 3m }
    guard: { breaker: false, backoff: false, concurrency: 4, queue: 4 }
defaults: { loadTimeout: 3m, leaseWait: 3m }
namespaces:
  item: { source: api, path: "/items/{id}", tags: ["org:{org}", "kind:{kinds}"] }
  short: { source: api, path: "/items/{id}", ttl: 1ms, jitter: 0, grace: 1h }
  brief: { source: api, path: "/items/{id}", loadTimeout: 50ms, l1: false }
  deaf: { source: api, path: "/items/{id}", fresh: false }
  open: { source: api, path: "/items/{id}", maxAge: 1m }
  session: { source: none, tags: ["user:{user}"] }
`);
  for (let id = 0; id < 100; id += 1) api.items.set(`i${id}`, { id: `i${id}`, org: id % 10, kinds: ['a', `k${id}`] });
});

const isFailure = (answer: Answer, status: number, code: string): void => {
  assert.equal(answer.status, status, answer.text);
  assert.equal(answer.body.error.code, code);
  assert.ok(answer.body.error.message.length > 5);
};

describe('reading', () => {
  test('a value, its tier, its age; absent; HEAD', async () => {
    const got = await gateway.get('/cache/item:i1');
    assert.equal(got.status, 200);
    assert.deepEqual(
      { ...got.body, ttlSeconds: 0 },
      {
        key: 'item:i1',
        value: { id: 'i1', org: 1, kinds: ['a', 'k1'] },
        ttlSeconds: 0,
      },
    );
    assert.ok(got.body.ttlSeconds > 60 && got.body.ttlSeconds < 331);
    assert.equal(got.headers.get('breakwater-from'), 'loader');
    assert.equal(got.headers.get('cache-control'), 'no-cache');
    assert.match(got.headers.get('age') ?? '', /^\d+$/);
    assert.deepEqual(await gateway.read('item:i1'), [{ id: 'i1', org: 1, kinds: ['a', 'k1'] }, 'l1']);
    assert.equal((await gateway.call('HEAD', '/cache/item:i1')).status, 200);
    isFailure(await gateway.get('/cache/item:none'), 404, 'KEY_KNOWN_ABSENT');
    const asked = api.requests.length;
    assert.deepEqual(await gateway.read('item:none'), ['KEY_KNOWN_ABSENT', 'l1']);
    assert.equal(api.requests.length, asked, 'that it is absent was remembered');
  });

  test('a thousand callers are one load', async () => {
    const asked = api.requests.length;
    let release = (): void => {};
    const isReleased = new Promise<void>((resolve) => {
      release = resolve;
    });
    api.answer = async (id, response) => {
      await isReleased;
      api.send(id, response);
    };
    const all = Promise.all(Array.from({ length: 1000 }, () => gateway.get('/cache/item:i2')));
    await until(() => api.requests.length > asked, 'the load to begin');
    const inFlight = async (): Promise<number> =>
      Number(/requests_in_flight (\d+)/.exec((await gateway.get('/metrics')).text)?.[1]);
    await until(async () => (await inFlight()) > 1000, 'a thousand requests to wait');
    release();
    const answers = await all;
    api.answer = null;
    assert.ok(answers.every(({ status }) => status === 200));
    assert.equal(api.requests.length, asked + 1);
  });

  test('ETag: of the value, the same after a reload, another when it has changed', async () => {
    const etag = (await gateway.get('/cache/item:i3')).headers.get('etag') ?? '';
    const same = await gateway.get('/cache/item:i3', { 'if-none-match': `"x", ${etag}` });
    assert.deepEqual([same.status, same.text, same.headers.get('etag')], [304, '', etag]);
    await gateway.call('POST', '/cache/invalidate', { keys: ['item:i3'] });
    assert.equal((await gateway.get('/cache/item:i3', { 'if-none-match': etag })).status, 304);
    api.items.set('i3', { id: 'i3', org: 8 });
    await gateway.call('POST', '/cache/invalidate', { keys: ['item:i3'] });
    assert.equal((await gateway.get('/cache/item:i3', { 'if-none-match': etag })).status, 200);
  });

  test('no-cache and max-age=0 ask the source; where fresh is false they do not', async () => {
    await gateway.read('item:i4');
    await gateway.read('deaf:i4');
    api.items.set('i4', { id: 'i4', changed: true });
    assert.deepEqual((await gateway.read('item:i4', { 'cache-control': 'max-age=60' }))[1], 'l1');
    assert.deepEqual(await gateway.read('item:i4', { 'cache-control': 'No-Cache' }), [
      { id: 'i4', changed: true },
      'loader',
    ]);
    assert.equal((await gateway.read('item:i4', { 'cache-control': 'no-transform, max-age=0' }))[1], 'loader');
    assert.equal((await gateway.read('item:i4'))[1], 'l1', 'what was loaded is stored for the others');
    assert.equal((await gateway.read('deaf:i4', { 'cache-control': 'no-cache' }))[1], 'l1');
  });

  test('maxAge: others may keep it so long', async () => {
    await gateway.get('/cache/open:i5');
    const { headers } = await gateway.get('/cache/open:i5');
    assert.match(headers.get('cache-control') ?? '', /^public, max-age=(?:60|5\d)$/);
  });

  test('batch-get: the order, duplicates, what is missing, and namespaces side by side', async () => {
    const keys = ['item:i11', 'deaf:i10', 'item:none', 'item:i11', 'session:nobody'];
    const { status, body } = await gateway.call('POST', '/cache/batch-get', { keys });
    assert.equal(status, 200);
    assert.deepEqual(
      body.results.map(({ key, value }: { key: string; value: { id: string } }) => [key, value.id]),
      [
        ['item:i11', 'i11'],
        ['deaf:i10', 'i10'],
        ['item:i11', 'i11'],
      ],
    );
    assert.deepEqual(body.missing, ['item:none', 'session:nobody']);
    assert.ok(!('failed' in body));
    assert.deepEqual((await gateway.call('POST', '/cache/batch-get', { keys: [] })).body, { results: [], missing: [] });
  });

  test('keys in every spelling', async () => {
    for (const id of ['a b', 'ü/..%', 'x:y', '?q=1&b#c', '"quoted"', '\u{1f600}', '...']) {
      api.items.set(id, { id });
      assert.deepEqual((await gateway.read(`item:${id}`))[0], { id }, id);
    }
    isFailure(await gateway.get('/cache/item:..'), 400, 'SOURCE_KEY_INVALID');
    isFailure(await gateway.get('/cache/item:%ff'), 400, 'KEY_INVALID');
    isFailure(await gateway.get(`/cache/item:${'x'.repeat(600)}`), 400, 'KEY_INVALID');
    isFailure(await gateway.get('/cache/item:'), 400, 'CACHE_KEY_INVALID');
    isFailure(await gateway.get('/cache/item'), 404, 'NAMESPACE_UNKNOWN');
    isFailure(await gateway.get('/cache/itme:1'), 404, 'NAMESPACE_UNKNOWN');
    isFailure(await gateway.get('/cache/__proto__:1'), 404, 'NAMESPACE_UNKNOWN');
  });
});

describe('invalidating', () => {
  test('by key, tag and namespace; a write’s token is good for a read', async () => {
    for (const what of [
      { keys: ['item:i21'] },
      { tags: ['org:1'] },
      { tags: ['kind:k21'] },
      { namespaces: ['item'] },
    ]) {
      assert.equal((await gateway.read('item:i21')).length, 2);
      assert.equal((await gateway.read('item:i21'))[1], 'l1');
      const { status, body, headers } = await gateway.call('POST', '/cache/invalidate', {
        ...what,
        wait: 'everywhere',
      });
      assert.deepEqual([status, body], [200, { acknowledged: true }]);
      const token = headers.get('breakwater-token') ?? '';
      assert.equal((await gateway.read('item:i21', { 'breakwater-after': token }))[1], 'loader', JSON.stringify(what));
    }
    assert.equal((await gateway.call('POST', '/cache/invalidate', {})).status, 200, 'nothing is no error');
    isFailure(await gateway.get('/cache/item:i1', { 'breakwater-after': 'x' }), 400, 'CACHE_TOKEN_INVALID');
  });
});

describe('a namespace without a source', () => {
  test('PUT, GET, DELETE; ttl, version, tags', async () => {
    isFailure(await gateway.get('/cache/session:1'), 404, 'KEY_KNOWN_ABSENT');
    const put = await gateway.call('PUT', '/cache/session:1', { value: { user: 7 }, ttlSeconds: 100 });
    assert.deepEqual([put.status, put.body], [200, { key: 'session:1', result: 'stored' }]);
    const got = await gateway.get('/cache/session:1');
    assert.deepEqual(got.body.value, { user: 7 });
    assert.ok(got.body.ttlSeconds > 60 && got.body.ttlSeconds <= 100, 'no jitter: the client said it');
    await gateway.call('POST', '/cache/invalidate', { tags: ['user:7'] });
    isFailure(await gateway.get('/cache/session:1'), 404, 'KEY_KNOWN_ABSENT');

    assert.equal((await gateway.call('PUT', '/cache/session:2', { value: 'new', version: '9' })).status, 200);
    isFailure(await gateway.call('PUT', '/cache/session:2', { value: 'old', version: 8 }), 409, 'VERSION_OLDER');
    assert.equal((await gateway.get('/cache/session:2')).body.value, 'new');
    assert.equal((await gateway.call('DELETE', '/cache/session:2')).status, 204);
    assert.equal((await gateway.call('DELETE', '/cache/session:2')).status, 204);
    isFailure(await gateway.get('/cache/session:2'), 404, 'KEY_KNOWN_ABSENT');
    isFailure(await gateway.call('PUT', '/cache/session:3', { value: null }), 422, 'CACHE_VALUE_UNSERIALISABLE');
  });

  test('a source that can be read only is told so', async () => {
    const put = await gateway.call('PUT', '/cache/item:i1', { value: {} });
    isFailure(put, 405, 'NAMESPACE_READ_ONLY');
    assert.equal(put.headers.get('allow'), 'GET, HEAD');
    isFailure(await gateway.call('DELETE', '/cache/item:i1'), 405, 'NAMESPACE_READ_ONLY');
  });
});

describe('when the source fails', () => {
  test('502 without its words, which are in the log; stale within grace, and marked', async () => {
    assert.equal((await gateway.read('short:i30'))[1], 'loader');
    api.answer = (_, response) => {
      response.writeHead(500).end('password=hunter2');
    };
    const failed = await gateway.get('/cache/item:i30');
    isFailure(failed, 502, 'SOURCE_FAILED');
    assert.doesNotMatch(failed.text, /127\.0\.0\.1|hunter2/);
    assert.ok(
      gateway.log.all.some((line) => line.startsWith('cannot load item:i30') && line.includes('SOURCE_FAILED')),
    );
    const stale = await gateway.get('/cache/short:i30');
    assert.deepEqual([stale.status, stale.headers.get('breakwater-from'), stale.body.ttlSeconds], [200, 'stale', 0]);
    isFailure(await gateway.get('/cache/short:i30', { 'cache-control': 'max-stale=0' }), 502, 'SOURCE_FAILED');
    isFailure(await gateway.get('/cache/short:i30', { 'cache-control': 'no-cache' }), 502, 'SOURCE_FAILED');
    const { status, body } = await gateway.call('POST', '/cache/batch-get', { keys: ['short:i30', 'item:i31'] });
    assert.equal(status, 200);
    assert.deepEqual(
      [body.results.length, body.failed[0].key, body.failed[0].error.code],
      [1, 'item:i31', 'SOURCE_FAILED'],
    );
    isFailure(await gateway.call('POST', '/cache/batch-get', { keys: ['item:i31'] }), 502, 'SOURCE_FAILED');
    api.answer = null;
    assert.equal((await gateway.read('item:i30'))[1], 'loader');
  });

  test('504 when it does not answer in time, 503 with Retry-After when it is shed', async () => {
    const waiting: (() => void)[] = [];
    api.answer = (id, response) => {
      waiting.push(() => api.send(id, response));
    };
    isFailure(await gateway.get('/cache/brief:i40'), 504, 'CACHE_LOAD_TIMEOUT');
    // Four at the source, four in the queue: the ninth is not let in.
    const eight = Array.from({ length: 8 }, (_, n) => gateway.get(`/cache/item:i4${n}?`));
    const queued = async (): Promise<number> =>
      Number(
        /source_queued\{source="api",priority="foreground"\} (\d+)/.exec((await gateway.get('/metrics')).text)?.[1] ??
          0,
      );
    await until(async () => (await queued()) === 4, 'the queue to fill');
    const shed = await gateway.get('/cache/item:i49');
    isFailure(shed, 503, 'GUARD_QUEUE_FULL');
    assert.match(shed.headers.get('retry-after') ?? '', /^[1-9]\d*$/);
    api.answer = null;
    for (const send of waiting) send();
    assert.ok((await Promise.all(eight)).every(({ status }) => status === 200));
  });

  test('what it answers cannot be used: 502', async () => {
    api.answer = (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end('<html>');
    };
    isFailure(await gateway.get('/cache/item:i50'), 502, 'SOURCE_ANSWER_INVALID');
    api.answer = null;
  });
});

describe('bad input', () => {
  const put = (body: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
    gateway.call('PUT', '/cache/session:bad', body, headers);

  test('a status, a stable code and a sentence', async () => {
    isFailure(await put('{'), 400, 'JSON_INVALID');
    isFailure(await put('{}'), 400, 'BODY_INVALID');
    isFailure(await put('[]'), 400, 'BODY_INVALID');
    isFailure(await put({ value: 1, ttl: 5 }), 400, 'BODY_INVALID');
    isFailure(await put({ value: 1, ttlSeconds: -5 }), 400, 'BODY_INVALID');
    isFailure(await put({ value: 1, version: '01' }), 400, 'BODY_INVALID');
    isFailure(await put('{"value":1}', { 'content-type': 'text/plain' }), 415, 'CONTENT_TYPE_UNSUPPORTED');
    isFailure(await put('{"value":1}', { 'content-encoding': 'gzip' }), 415, 'CONTENT_TYPE_UNSUPPORTED');
    isFailure(await put({ value: 'x'.repeat(9 * 1024 ** 2) }), 413, 'BODY_TOO_LARGE');
    isFailure(await put({ value: 'x'.repeat(8 * 1024 ** 2) }), 413, 'VALUE_TOO_LARGE');
    isFailure(await put('{"value":12345678901234567890}'), 422, 'NUMBER_INEXACT');
    isFailure(await gateway.call('POST', '/cache/batch-get', { keys: ['item:1', 7] }), 400, 'BODY_INVALID');
    isFailure(await gateway.call('POST', '/cache/batch-get', { keys: ['nothing:1'] }), 404, 'NAMESPACE_UNKNOWN');
    const many = Array.from({ length: 1001 }, (_, n) => `item:${n}`);
    isFailure(await gateway.call('POST', '/cache/batch-get', { keys: many }), 400, 'BODY_INVALID');
    isFailure(await gateway.call('POST', '/cache/invalidate', { keys: ['x'], wait: 'long' }), 400, 'BODY_INVALID');
    isFailure(await gateway.call('PATCH', '/cache/item:1'), 405, 'METHOD_NOT_ALLOWED');
    isFailure(await gateway.get('/cache'), 404, 'ROUTE_NOT_FOUND');
    isFailure(await gateway.get('/../etc/passwd'), 404, 'ROUTE_NOT_FOUND');
  });

  test('deeply nested JSON is refused or stored, and harms nobody', async () => {
    const nested = (levels: number): string => `{"value":${'['.repeat(levels)}${']'.repeat(levels)}}`;
    isFailure(await put(nested(50_000)), 422, 'VALUE_TOO_DEEP');
    assert.equal((await put(nested(400))).status, 200);
    assert.equal((await gateway.get('/cache/session:bad')).status, 200);
    await gateway.call('DELETE', '/cache/session:bad');
  });

  /** Sends bytes as they are and gives back what comes until the end. */
  async function raw(text: string): Promise<string> {
    const socket = net.connect(Number(new URL(gateway.url).port), '127.0.0.1');
    let received = '';
    socket.on('data', (chunk) => {
      received += String(chunk);
    });
    socket.on('error', () => {});
    socket.write(text);
    await once(socket, 'close');
    return received;
  }

  test('what is no HTTP, headers that are too long, a name of another web site', async () => {
    assert.match(await raw('hello\r\n\r\n'), /400[\s\S]*REQUEST_INVALID/);
    const long = `GET / HTTP/1.1\r\nhost: localhost\r\nx: ${'y'.repeat(100_000)}\r\n\r\n`;
    assert.match(await raw(long), /431[\s\S]*HEADERS_TOO_LARGE/);
    const evil = 'GET /cache/item:i1 HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n';
    assert.match(await raw(evil), /403[\s\S]*HOST_REFUSED[\s\S]*listen\.hosts/);
    const strange = `GET /cache/item:i1 HTTP/1.1\r\nhost: localhost\r\ncache-control: ${',max-stale='.repeat(500)}\r\nconnection: close\r\n\r\n`;
    assert.match(await raw(strange), /200 OK/);
  });

  test('clients that stop in the middle of a body hold nobody up', async () => {
    const port = Number(new URL(gateway.url).port);
    const sockets = Array.from({ length: 50 }, () => net.connect(port, '127.0.0.1'));
    for (const socket of sockets) {
      socket.on('error', () => {});
      socket.write(
        'PUT /cache/session:slow HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"val',
      );
    }
    await until(
      async () => /requests_in_flight (?:5[0-9])/.test((await gateway.get('/metrics')).text),
      '50 bodies to wait',
    );
    assert.equal((await gateway.get('/cache/item:i60')).status, 200);
    for (const socket of sockets) socket.destroy();
    await until(
      async () => /requests_in_flight 1\n/.test((await gateway.get('/metrics')).text),
      'them to be forgotten',
    );
    isFailure(await gateway.get('/cache/session:slow'), 404, 'KEY_KNOWN_ABSENT');
  });
});

describe('for operators', () => {
  test('health, readiness, metrics, OpenAPI', async () => {
    assert.deepEqual((await gateway.get('/healthz')).body, { status: 'ok' });
    await until(async () => (await gateway.get('/readyz')).status === 200, 'it to be ready');
    assert.deepEqual((await gateway.get('/readyz?strict')).body, { status: 'ready', away: [] });
    const { text, headers } = await gateway.get('/metrics');
    assert.match(headers.get('content-type') ?? '', /^text\/plain/);
    for (const name of ['gateway_requests_total', 'gateway_answers_total', 'cache_loads_total', 'source_calls_total']) {
      assert.ok(text.includes(`breakwater_${name}`), name);
    }
    assert.match(text, /breakwater_gateway_source_up\{source="api"\} 1/);
    const { body } = await gateway.get('/openapi.json');
    assert.equal(body.openapi, '3.1.0');
    const paths = [
      '/cache/batch-get',
      '/cache/invalidate',
      '/cache/{key}',
      '/healthz',
      '/metrics',
      '/openapi.json',
      '/readyz',
    ];
    assert.deepEqual(Object.keys(body.paths).sort(), paths);
  });
});
