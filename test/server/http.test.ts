import assert from 'node:assert/strict';
import { request } from 'node:http';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { type EnvelopeHeader, encodeEnvelope as encodeWith } from '../../src/base/envelope.ts';
import { RespClient } from '../../src/client/client.ts';
import { replyText } from '../../src/resp/reply.ts';
import { eventually, type ServedNode, serveNode } from './support.ts';

const encodeEnvelope = (of: EnvelopeHeader, payload: string): Uint8Array => encodeWith(of, payload, crc32);

let node: ServedNode;
let resp: RespClient;

before(async () => {
  node = await serveNode();
  resp = new RespClient({ port: node.port, commandTimeoutMs: 60_000 });
});
after(async () => {
  await resp?.close();
  await node?.stop('SIGKILL');
});

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: its shape is what the tests check
  readonly body: any;
}

async function http(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetch(`${node.url}${path}`, {
    method,
    headers: body === undefined ? headers : { 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.startsWith('application/json') && text !== '';
  return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : null };
}

async function expectError(answer: Answer, status: number, code: string): Promise<void> {
  assert.equal(answer.status, status, answer.text);
  assert.equal(answer.body.error.code, code);
  assert.ok(answer.body.error.message.length > 5);
}

const respGet = async (key: string): Promise<string | null> => replyText(await resp.command(['GET', key]));

test('PUT, GET, DELETE', async () => {
  const created = await http('PUT', '/cache/user:1', { value: { name: 'Ada' }, ttlSeconds: 300, tags: ['org:7'] });
  assert.equal(created.status, 201);
  assert.deepEqual(created.body, { key: 'user:1', result: 'created' });
  assert.equal((await http('PUT', '/cache/user:1', { value: { name: 'Ada' }, ttlSeconds: 300 })).status, 200);

  const got = await http('GET', '/cache/user:1');
  assert.equal(got.status, 200);
  assert.equal(got.headers.get('cache-control'), 'no-cache');
  assert.deepEqual({ ...got.body, ttlSeconds: 0 }, { key: 'user:1', value: { name: 'Ada' }, ttlSeconds: 0 });
  assert.ok(got.body.ttlSeconds > 290 && got.body.ttlSeconds <= 300);

  const head = await fetch(`${node.url}/cache/user:1`, { method: 'HEAD' });
  assert.equal(head.status, 200);
  assert.equal((await http('DELETE', '/cache/user:1')).status, 204);
  assert.equal((await http('DELETE', '/cache/user:1')).status, 204);
  await expectError(await http('GET', '/cache/user:1'), 404, 'KEY_NOT_FOUND');
});

test('PUT with a version: an older one is refused and changes nothing; what cannot be told is removed', async () => {
  const put = (value: string, version: unknown) => http('PUT', '/cache/v:1', { value, version });
  assert.equal((await put('eight', 8)).status, 201);
  await expectError(await put('seven', '7'), 409, 'VERSION_OLDER');
  const same = await put('eight again', 8);
  assert.deepEqual([same.status, same.body], [200, { key: 'v:1', result: 'same' }]);
  assert.equal((await http('GET', '/cache/v:1')).body.value, 'eight');
  assert.equal((await put('huge', '18446744073709551615')).status, 200);
  await http('DELETE', '/cache/v:1');
  await expectError(await put('huge', '18446744073709551615'), 409, 'VERSION_UNSURE');
  await expectError(await http('GET', '/cache/v:1'), 404, 'KEY_NOT_FOUND');
  for (const version of [-1, 1.5, '18446744073709551616', '01', 'x', null]) {
    await expectError(await put('x', version), 400, 'BODY_INVALID');
  }
});

test('no ttlSeconds, or null, means no expiry; fractions count; what is over is gone', async () => {
  for (const body of [{ value: 1 }, { value: 1, ttlSeconds: null }]) {
    await http('PUT', '/cache/forever', body);
    assert.equal((await http('GET', '/cache/forever')).body.ttlSeconds, null);
    assert.equal(await resp.command(['PTTL', 'forever']), -1);
  }
  await http('PUT', '/cache/short', { value: 1, ttlSeconds: 0.25 });
  const left = Number(await resp.command(['PTTL', 'short']));
  assert.ok(left > 0 && left <= 250);
  await eventually(
    async () => (await http('GET', '/cache/short')).status === 404,
    () => 'the entry to expire',
  );
});

test('what PUT stores redis-cli reads, and the other way round, to the last digit', async () => {
  const texts = [
    '{"id":12345678901234567890,"x":1.0}',
    '12345678901234567890',
    '"text"',
    'null',
    '[1, 2]',
    '{"a":"\\u00e9"}',
  ];
  for (const text of texts) {
    assert.ok((await http('PUT', '/cache/exact', `{"value": ${text} }`)).status < 300);
    assert.equal(await respGet('exact'), text);
    const { text: shown } = await http('GET', '/cache/exact');
    assert.equal(shown, `{"key":"exact","value":${text},"ttlSeconds":null}`);
  }
  const foreign: [string | Uint8Array, string][] = [
    ['hello', '"hello"'],
    ['12345678901234567890', '12345678901234567890'],
    [' {"a" : 1} ', '{"a" : 1}'],
    ['{"a":', '"{\\"a\\":"'],
    ['', '""'],
    ['héllo ✓', '"héllo ✓"'],
  ];
  for (const [stored, shown] of foreign) {
    await resp.command(['SET', 'foreign', stored]);
    assert.equal((await http('GET', '/cache/foreign')).text, `{"key":"foreign","value":${shown},"ttlSeconds":null}`);
  }
  await resp.command(['SET', 'foreign', new Uint8Array([0xff, 0x00, 0xfe])]);
  assert.deepEqual((await http('GET', '/cache/foreign')).body, {
    key: 'foreign',
    value: '/wD+',
    ttlSeconds: null,
    encoding: 'base64',
  });
});

test('entries of the library show their value; a remembered absence is a 404 of its own', async () => {
  const header = {
    codec: 'json',
    absent: false,
    storedAtMs: 0,
    freshMs: null,
    keptMs: null,
    loadMicros: 0,
    tags: [],
  } as const;
  await resp.command(['SET', 'lib', encodeEnvelope(header, '{"n":1}')]);
  assert.deepEqual((await http('GET', '/cache/lib')).body.value, { n: 1 });
  await resp.command(['SET', 'lib', encodeEnvelope({ ...header, codec: 'none', absent: true }, '')]);
  await expectError(await http('GET', '/cache/lib'), 404, 'KEY_KNOWN_ABSENT');
  const inChunks = { codecId: '', compression: 'none', plainBytes: 0, keyId: '', role: 'manifest' } as const;
  const manifest = { ...header, codec: 'none', wrapping: { ...inChunks, nonce: new Uint8Array(0) } } as const;
  for (const bytes of [encodeWith(manifest, Uint8Array.of(1), crc32), Uint8Array.of(0xc1, 99, 0)]) {
    await resp.command(['SET', 'lib', bytes]);
    const refused = await http('GET', '/cache/lib');
    await expectError(refused, 404, 'VALUE_NOT_SHOWN');
    assert.equal(refused.headers.get('breakwater-lease'), null, 'nobody is told to fill over it');
    const batch = await http('POST', '/cache/batch-get', { keys: ['lib'] });
    assert.deepEqual(batch.body['missing'], ['lib']);
  }
});

test('keys: every UTF-8 text of 1 to 512 bytes, URL-encoded', async () => {
  const keys = ['a/b', 'ключ', '100%', 'a b?c#d', '..', '.', 'batch-get', 'x'.repeat(512), '\u0000', '\\', '"', '✓:✓'];
  for (const key of keys) {
    const path = `/cache/${encodeURIComponent(key).replaceAll('.', '%2E')}`;
    const answer = await raw('PUT', path, JSON.stringify({ value: key }));
    assert.equal(answer.status, 201, `${key}: ${answer.text}`);
    assert.equal(await respGet(key), JSON.stringify(key));
    assert.equal(JSON.parse((await raw('GET', path)).text).key, key);
    await resp.command(['DEL', key]);
  }
  await expectError(await http('GET', `/cache/${'x'.repeat(513)}`), 400, 'KEY_INVALID');
  await expectError(await http('GET', `/cache/${encodeURIComponent('é'.repeat(257))}`), 400, 'KEY_INVALID');
  await expectError(await http('GET', '/cache/%FF'), 400, 'KEY_INVALID');
  await expectError(await http('GET', '/cache/'), 404, 'ROUTE_NOT_FOUND');
  await expectError(await http('GET', '/cache/a/b'), 404, 'ROUTE_NOT_FOUND');
});

/** As fetch, but the path goes out exactly as given. */
function raw(method: string, path: string, body?: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    const call = request(
      { host: '127.0.0.1', port: node.httpPort, method, path, headers, agent: false },
      (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => {
          text += chunk.toString();
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      },
    );
    call.on('error', reject);
    call.end(body);
  });
}

test('a miss hands out a lease; a fill that presents it is stored once, and refused when something changed since', async () => {
  const miss = await http('GET', '/cache/leased:1');
  const lease = miss.headers.get('breakwater-lease');
  assert.ok(lease);
  const second = await http('GET', '/cache/leased:1');
  assert.equal(second.headers.get('breakwater-lease'), null);
  assert.ok(Number(second.headers.get('breakwater-lease-wait-ms')) > 0);
  assert.equal((await http('PUT', '/cache/leased:1', { value: 1 }, { 'breakwater-lease': lease })).status, 201);

  await http('DELETE', '/cache/leased:1');
  const again = (await http('GET', '/cache/leased:1')).headers.get('breakwater-lease')!;
  await http('POST', '/cache/invalidate', { keys: ['leased:1'] });
  await expectError(
    await http('PUT', '/cache/leased:1', { value: 'old' }, { 'breakwater-lease': again }),
    409,
    'LEASE_VOID',
  );
  assert.equal(await respGet('leased:1'), null);

  const tagged = (await http('GET', '/cache/leased:2')).headers.get('breakwater-lease')!;
  await http('POST', '/cache/invalidate', { tags: ['t'] });
  await expectError(
    await http('PUT', '/cache/leased:2', { value: 'old', tags: ['t'] }, { 'breakwater-lease': tagged }),
    409,
    'LEASE_VOID',
  );
  await expectError(
    await http('PUT', '/cache/leased:2', { value: 1 }, { 'breakwater-lease': 'no lease' }),
    400,
    'LEASE_INVALID',
  );
});

test('ETag: 304 until the entry is written again', async () => {
  await http('PUT', '/cache/tagged', { value: 1 });
  const etag = (await http('GET', '/cache/tagged')).headers.get('etag')!;
  for (const header of [etag, `"other", ${etag}`, '*', etag.replace('W/', '')]) {
    const answer = await http('GET', '/cache/tagged', undefined, { 'if-none-match': header });
    assert.equal(answer.status, 304);
    assert.equal(answer.headers.get('etag'), etag);
  }
  await http('PUT', '/cache/tagged', { value: 1 });
  assert.equal((await http('GET', '/cache/tagged', undefined, { 'if-none-match': etag })).status, 200);
});

test('batch-get keeps the order, answers duplicates twice, names what is missing', async () => {
  await http('PUT', '/cache/b:1', { value: 1 });
  await http('PUT', '/cache/b:2', { value: '2', ttlSeconds: 100 });
  const { status, body } = await http('POST', '/cache/batch-get', { keys: ['b:2', 'b:x', 'b:1', 'b:2', 'b:x'] });
  assert.equal(status, 200);
  assert.deepEqual(
    body.results.map((each: { key: string; value: unknown }) => [each.key, each.value]),
    [
      ['b:2', '2'],
      ['b:1', 1],
      ['b:2', '2'],
    ],
  );
  assert.deepEqual(body.missing, ['b:x', 'b:x']);
  assert.deepEqual((await http('POST', '/cache/batch-get', { keys: [] })).body, { results: [], missing: [] });
  const keys = Array.from({ length: 1000 }, (_, i) => `n:${i}`);
  assert.equal((await http('POST', '/cache/batch-get', { keys })).body.missing.length, 1000);
  await expectError(await http('POST', '/cache/batch-get', { keys: [...keys, 'one more'] }), 400, 'BODY_INVALID');
});

test('a batch whose values are too large together is refused, not built', async () => {
  const value = 'v'.repeat(8_000_000);
  await http('PUT', '/cache/huge', { value });
  await expectError(
    await http('POST', '/cache/batch-get', { keys: Array.from({ length: 20 }, () => 'huge') }),
    413,
    'BATCH_TOO_LARGE',
  );
  await http('DELETE', '/cache/huge');
});

test('invalidate: keys, tags, namespaces; nothing is no error', async () => {
  await http('PUT', '/cache/i:1', { value: 1, tags: ['red'] });
  await http('PUT', '/cache/i:2', { value: 2, tags: ['red', 'blue'] });
  await http('PUT', '/cache/j:1', { value: 3 });
  await http('PUT', '/cache/k', { value: 4 });
  assert.deepEqual((await http('POST', '/cache/invalidate', { keys: ['k', 'nobody'] })).body, { keysRemoved: 1 });
  await http('POST', '/cache/invalidate', { tags: ['blue'] });
  assert.equal((await http('GET', '/cache/i:2')).status, 404);
  assert.equal((await http('GET', '/cache/i:1')).status, 200);
  await http('POST', '/cache/invalidate', { tags: ['red'], namespaces: ['j'] });
  assert.equal(await respGet('i:1'), null);
  assert.equal(await respGet('j:1'), null);
  assert.deepEqual((await http('POST', '/cache/invalidate', { keys: [], tags: [], namespaces: [] })).body, {
    keysRemoved: 0,
  });
  await expectError(await http('POST', '/cache/invalidate', { namespaces: ['a:b'] }), 400, 'BODY_INVALID');
  await expectError(await http('POST', '/cache/invalidate', { tag: ['a'] }), 400, 'BODY_INVALID');
});

test('bad input: a status, a stable code and a sentence', async () => {
  const put = (body: unknown, headers?: Record<string, string>) => http('PUT', '/cache/bad', body, headers);
  await expectError(await put('{bad'), 400, 'JSON_INVALID');
  await expectError(await put(''), 400, 'JSON_INVALID');
  await expectError(await put('[]'), 400, 'BODY_INVALID');
  await expectError(await put('null'), 400, 'BODY_INVALID');
  await expectError(await put({ ttlSeconds: 1 }), 400, 'BODY_INVALID');
  await expectError(await put({ value: 1, ttl: 5 }), 400, 'BODY_INVALID');
  for (const ttlSeconds of [0, -1, '5', 1e300, true])
    await expectError(await put({ value: 1, ttlSeconds }), 400, 'BODY_INVALID');
  for (const tags of ['a', [1], [''], Array.from({ length: 256 }, String)])
    await expectError(await put({ value: 1, tags }), 400, 'BODY_INVALID');
  await expectError(await put('{"value":1}', { 'content-type': 'text/plain' }), 415, 'CONTENT_TYPE_UNSUPPORTED');
  await expectError(
    await put('{"value":1}', { 'content-type': 'application/json; charset=latin1' }),
    415,
    'CONTENT_TYPE_UNSUPPORTED',
  );
  await expectError(await put('{"value":1}', { 'content-encoding': 'gzip' }), 415, 'CONTENT_TYPE_UNSUPPORTED');
  assert.equal((await put('{"value":1}', { 'content-type': 'application/json; charset=utf-8' })).status, 201);
  await expectError(await http('GET', '/nothing'), 404, 'ROUTE_NOT_FOUND');
  const patch = await http('PATCH', '/cache/bad', {});
  await expectError(patch, 405, 'METHOD_NOT_ALLOWED');
  assert.equal(patch.headers.get('allow'), 'DELETE, GET, HEAD, PUT');
  await expectError(await http('POST', '/metrics', {}), 405, 'METHOD_NOT_ALLOWED');
  const half = '"\\ud800"'; // its UTF-8 would be that of U+FFFD, another key
  await expectError(await http('POST', '/cache/batch-get', `{"keys":[${half}]}`), 400, 'BODY_INVALID');
  await expectError(await put(`{"value":1,"tags":[${half}]}`), 400, 'BODY_INVALID');
  await expectError(await http('POST', '/cache/invalidate', `{"namespaces":[${half}]}`), 400, 'BODY_INVALID');
  assert.equal(await respGet('bad'), '1');
});

test('what is no HTTP is refused in the same shape', async () => {
  const cases = [
    ['NO HTTP\r\n\r\n', '400 Bad Request', 'REQUEST_INVALID'],
    ['GET /cache/\x80 HTTP/1.1\r\nHost: localhost\r\n\r\n', '400 Bad Request', 'REQUEST_INVALID'],
    [
      `GET /cache/${'a'.repeat(20_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
      '431 Request Header Fields Too Large',
      'HEADERS_TOO_LARGE',
    ],
  ] as const;
  for (const [request, status, code] of cases) {
    const socket = net.connect(node.httpPort, '127.0.0.1');
    socket.end(request, 'latin1');
    let answer = '';
    for await (const chunk of socket) answer += (chunk as Buffer).toString();
    const [head = '', body = ''] = answer.split('\r\n\r\n');
    assert.ok(head.startsWith(`HTTP/1.1 ${status}\r\n`), head);
    const { error } = JSON.parse(body) as { error: { code: string; message: string } };
    assert.equal(error.code, code);
    assert.match(error.message, / /);
  }
});

test('a value of 8 MiB is stored, a larger one refused, and a flood of body cut off', async () => {
  const limit = 8 * 1024 * 1024;
  const largest = `"${'a'.repeat(limit - 2)}"`;
  assert.equal((await http('PUT', '/cache/large', `{"value":${largest}}`)).status, 201);
  assert.equal(await resp.command(['STRLEN', 'large']), limit);
  assert.equal((await http('GET', '/cache/large')).body.value.length, limit - 2);
  await expectError(await http('PUT', '/cache/large', `{"value":"a${largest.slice(1)}}`), 413, 'VALUE_TOO_LARGE');
  await expectError(
    await http('PUT', '/cache/large', `{"value":${largest},"tags":["${'x'.repeat(limit)}"]}`),
    413,
    'BODY_TOO_LARGE',
  );
  await http('DELETE', '/cache/large');

  const before = node.rssBytes();
  const flood = net.connect(node.httpPort, '127.0.0.1');
  let answer = '';
  flood.on('data', (chunk) => {
    answer += chunk.toString();
  });
  flood.on('error', () => {});
  flood.write(
    'PUT /cache/flood HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n',
  );
  const piece = `10000\r\n${'x'.repeat(0x10000)}\r\n`;
  const pour = (): void => {
    while (!flood.destroyed && flood.write(piece));
  };
  flood.on('drain', pour);
  pour();
  await eventually(
    () => answer.includes('BODY_TOO_LARGE') && flood.destroyed,
    () => `the flood to be cut off: ${answer.slice(0, 200)}`,
  );
  assert.ok(node.rssBytes() - before < 150 * 1024 * 1024);
  assert.equal((await http('GET', '/healthz')).status, 200);
});

test('health, readiness, OpenAPI, metrics', async () => {
  assert.deepEqual((await http('GET', '/healthz')).body, { status: 'ok' });
  assert.deepEqual((await http('GET', '/readyz')).body, { status: 'ready' });
  const { body } = await http('GET', '/openapi.json');
  assert.match(body.openapi, /^3\.1/);
  assert.deepEqual(Object.keys(body.paths).sort(), [
    '/cache/batch-get',
    '/cache/invalidate',
    '/cache/{key}',
    '/healthz',
    '/metrics',
    '/openapi.json',
    '/readyz',
    '/stats.json',
  ]);
  assert.deepEqual(body.components.schemas.PutBody.required, ['value']);
  assert.ok(body.components.schemas.Entry.required.includes('value'));
  const operations = Object.values<Record<string, { operationId: string }>>(body.paths).flatMap((path) =>
    Object.values(path),
  );
  assert.equal(new Set(operations.map(({ operationId }) => operationId)).size, 10);
  await resp.command(['SET', 'm', '1']);
  await resp.command(['GET', 'm']);
  await resp.command(['GET', 'no such']);
  const { text, headers } = await http('GET', '/metrics');
  assert.match(headers.get('content-type')!, /^text\/plain; version=0\.0\.4/);
  for (const name of [
    'breakwater_hits_total',
    'breakwater_misses_total',
    'breakwater_commands_total{command="get"}',
    'breakwater_memory_used_bytes',
    'breakwater_connections',
  ]) {
    const value = Number(
      text
        .split('\n')
        .find((line) => line.startsWith(`${name} `))
        ?.split(' ')[1],
    );
    assert.ok(value > 0, `${name} is ${value}`);
  }
  assert.match(text, /breakwater_request_duration_seconds_bucket\{family="read",le="0.001"\} \d+/);
  assert.match(text, /breakwater_evictions_total \d/);
});

test('50 slow readers of a large entry do not grow the node without bound', async () => {
  await http('PUT', '/cache/wide', { value: 'w'.repeat(8_000_000) });
  const before = node.rssBytes();
  const readers = Array.from({ length: 50 }, () => {
    const socket = net.connect(node.httpPort, '127.0.0.1');
    socket.on('error', () => {});
    socket.pause();
    socket.write('GET /cache/wide HTTP/1.1\r\nHost: localhost\r\n\r\n');
    return socket;
  });
  await eventually(
    async () => (await http('GET', '/cache/wide')).status === 503,
    () => 'large answers to be refused',
  );
  assert.ok(node.rssBytes() - before < 700 * 1024 * 1024, `grew by ${node.rssBytes() - before}`);
  assert.equal((await http('GET', '/cache/b:1')).status, 200);
  for (const reader of readers) reader.destroy();
  await eventually(
    async () => (await http('GET', '/cache/wide')).status === 200,
    () => 'large answers to be given again',
  );
});

test('a name that is not of loopback is refused: another web site’s page cannot get at the node', async () => {
  const port = Number(new URL(node.url).port);
  const ask = (host: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      request({ port, host: '127.0.0.1', path: '/cache/user:1', headers: { host } }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on('error', reject)
        .end();
    });
  assert.equal(await ask('evil.example'), 403);
  assert.equal(await ask(`evil.example:${port}`), 403);
  assert.notEqual(await ask(`localhost:${port}`), 403);
});
