/** Who may do what, over HTTPS too, and how a gateway ends. Namespaces without a source: rights are the same for all. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { selfSigned } from '../support/certificate.ts';
import { FakeApi, openGateway, type TestGateway, until } from './support.ts';

const ALL = 'all-0123456789abcdef';
const READER = 'reader-0123456789abcdef';
const WRITER = 'writer-0123456789abcdef';
const HASHED = 'hashed-0123456789abcdef';
const HASH = createHash('sha256').update('hashed-0123456789abcdef').digest('hex');

let gateway: TestGateway;
before(async () => {
  gateway = await openGateway(`
access:
  anonymous: []
  tokens:
    all: { token: "${ALL}", rights: [read, write, invalidate, metrics] }
    reader: { token: "${READER}", rights: [read], namespaces: [a] }
    writer: { token: "${WRITER}", rights: [write, invalidate], namespaces: [a, b] }
    hashed: { token: "sha256:${HASH.toUpperCase()}", rights: [read] }
namespaces:
  a: { source: none, tags: ["x:{x}", "both:{x}"] }
  b: { source: none, tags: ["both:{x}"] }
  c: { source: none, tags: ["c:{x}"] }
`);
});

type Expected = 200 | 204 | 401 | 403 | 404;

describe('rights', () => {
  const cases: readonly [
    who: string | null,
    method: string,
    path: string,
    body: unknown,
    status: Expected,
    code?: string,
  ][] = [
    [null, 'GET', '/cache/a:1', undefined, 401, 'TOKEN_MISSING'],
    [null, 'GET', '/cache/unknown:1', undefined, 401, 'TOKEN_MISSING'],
    [null, 'GET', '/metrics', undefined, 401, 'TOKEN_MISSING'],
    [null, 'GET', '/healthz', undefined, 200],
    [null, 'GET', '/openapi.json', undefined, 200],
    ['wrong-0123456789abcdef', 'GET', '/cache/a:1', undefined, 401, 'TOKEN_INVALID'],
    [ALL, 'GET', '/cache/a:1', undefined, 404, 'KEY_KNOWN_ABSENT'],
    [ALL, 'GET', '/cache/unknown:1', undefined, 404, 'NAMESPACE_UNKNOWN'],
    [ALL, 'GET', '/metrics', undefined, 200],
    [ALL, 'PUT', '/cache/c:1', { value: { x: 1 } }, 200],
    [ALL, 'DELETE', '/cache/c:1', undefined, 204],
    [ALL, 'POST', '/cache/invalidate', { tags: ['whatever'], namespaces: ['elsewhere'], keys: ['x'] }, 200],
    [READER, 'GET', '/cache/a:1', undefined, 404, 'KEY_KNOWN_ABSENT'],
    [READER, 'GET', '/cache/b:1', undefined, 403, 'RIGHT_MISSING'],
    [READER, 'GET', '/cache/unknown:1', undefined, 403, 'RIGHT_MISSING'],
    [READER, 'PUT', '/cache/a:1', { value: 1 }, 403, 'RIGHT_MISSING'],
    [READER, 'DELETE', '/cache/a:1', undefined, 403, 'RIGHT_MISSING'],
    [READER, 'POST', '/cache/batch-get', { keys: ['a:1'] }, 200],
    [READER, 'POST', '/cache/batch-get', { keys: ['a:1', 'b:1'] }, 403, 'RIGHT_MISSING'],
    [READER, 'POST', '/cache/invalidate', { keys: ['a:1'] }, 403, 'RIGHT_MISSING'],
    [READER, 'GET', '/metrics', undefined, 403, 'RIGHT_MISSING'],
    [WRITER, 'GET', '/cache/a:1', undefined, 403, 'RIGHT_MISSING'],
    [WRITER, 'PUT', '/cache/b:1', { value: 1 }, 200],
    [WRITER, 'PUT', '/cache/c:1', { value: 1 }, 403, 'RIGHT_MISSING'],
    [WRITER, 'POST', '/cache/invalidate', { keys: ['a:1', 'b:2'], namespaces: ['a'] }, 200],
    [WRITER, 'POST', '/cache/invalidate', { keys: ['a:1', 'c:2'] }, 403, 'RIGHT_MISSING'],
    [WRITER, 'POST', '/cache/invalidate', { keys: ['no namespace'] }, 403, 'RIGHT_MISSING'],
    [WRITER, 'POST', '/cache/invalidate', { namespaces: ['c'] }, 403, 'RIGHT_MISSING'],
    [WRITER, 'POST', '/cache/invalidate', { tags: ['x:1', 'both:1'] }, 200],
    [WRITER, 'POST', '/cache/invalidate', { tags: ['c:1'] }, 403, 'RIGHT_MISSING'],
    [WRITER, 'POST', '/cache/invalidate', { tags: ['of nobody'] }, 403, 'RIGHT_MISSING'],
    [HASHED, 'GET', '/cache/c:9', undefined, 404, 'KEY_KNOWN_ABSENT'],
    [HASHED, 'PUT', '/cache/c:9', { value: 1 }, 403, 'RIGHT_MISSING'],
  ];
  for (const [who, method, path, body, status, code] of cases) {
    test(`${who?.split('-')[0] ?? 'nobody'}: ${method} ${path} ${body === undefined ? '' : JSON.stringify(body)} ${status}`, async () => {
      const headers: Record<string, string> = who === null ? {} : { authorization: `Bearer ${who}` };
      const answer = await gateway.call(method, path, body, headers);
      assert.equal(answer.status, status, answer.text);
      if (code !== undefined) assert.equal(answer.body.error.code, code);
      assert.equal(answer.headers.get('www-authenticate') !== null, status === 401);
      assert.doesNotMatch(answer.text, /0123456789abcdef/);
    });
  }

  test('other schemes and odd headers are tokens that are not known', async () => {
    for (const authorization of [
      `Basic ${ALL}`,
      'Bearer',
      `Bearer ${ALL} ${ALL}`,
      ALL,
      `Bearer ${ALL}x`,
      `Bearer sha256:${HASH}`,
    ]) {
      const { status, body } = await gateway.get('/cache/a:1', { authorization });
      assert.deepEqual([status, body.error.code], [401, 'TOKEN_INVALID'], authorization);
    }
    assert.equal((await gateway.get('/cache/a:1', { authorization: `bearer  ${ALL}` })).status, 404);
  });

  test('what some may read others keep apart: Cache-Control is private', async () => {
    const api = await FakeApi.start();
    api.items.set('1', { id: 1 });
    const yaml = (access: string): string =>
      `${access}sources: { api: { http: { base: "${api.url}" } } }\nnamespaces: { i: { source: api, path: "/items/{id}", maxAge: 1m } }\n`;
    const closed = await openGateway(yaml(`access: { tokens: { all: { token: "${ALL}", rights: [read] } } }\n`));
    const { headers } = await closed.get('/cache/i:1', { authorization: `Bearer ${ALL}` });
    assert.match(headers.get('cache-control') ?? '', /^private, max-age=/);
    const read = await openGateway(yaml(`access: { anonymous: [read] }\n`));
    assert.match((await read.get('/cache/i:1')).headers.get('cache-control') ?? '', /^public, max-age=/);
    assert.equal((await read.get('/metrics')).status, 401);
  });
});

describe('HTTPS', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bw-tls-'));
  after(() => rmSync(folder, { recursive: true }));

  test('with a certificate, which its clients check', async () => {
    const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
    const pair = selfSigned();
    writeFileSync(cert, pair.cert);
    writeFileSync(key, pair.key);
    const secure = await openGateway(
      `listen: { port: 0, tls: { cert: "${cert}", key: "${key}" } }\nnamespaces: { a: { source: none } }\n`,
    );
    assert.match(secure.url, /^https:/);
    const status = await new Promise((resolve, reject) => {
      request(`${secure.url}/healthz`, { ca: pair.cert, servername: 'localhost' }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on('error', reject)
        .end();
    });
    assert.equal(status, 200);
  });
});

describe('the end', () => {
  test('not ready at once, what is under way is answered, then nobody is', async () => {
    const api = await FakeApi.start();
    api.items.set('1', { id: 1 });
    const ending = await openGateway(`shutdown: { delay: 10m, drain: 60s }
sources: { api: { http: { base: "${api.url}", timeout: 30s } } }
namespaces: { i: { source: api, path: "/items/{id}", loadTimeout: 30s } }
`);
    await until(async () => (await ending.get('/readyz')).status === 200, 'it to be ready');
    let release = (): void => {};
    api.answer = (id, response) => {
      release = () => api.send(id, response);
    };
    const asked = api.requests.length;
    const underWay = ending.get('/cache/i:1');
    await until(() => api.requests.length > asked, 'the load to begin');
    const closed = ending.running.close();
    const { status, body } = await ending.get('/readyz');
    assert.deepEqual([status, body.error.code], [503, 'NOT_READY']);
    assert.equal((await ending.get('/healthz')).status, 200);
    assert.equal(ending.running.close(true), closed, 'closing twice is once');
    await until(async () => {
      try {
        await ending.get('/healthz');
        return false;
      } catch {
        return true;
      }
    }, 'it to stop listening');
    release();
    assert.equal((await underWay).status, 200);
    assert.deepEqual((await closed).unacknowledged, { keys: [], tags: [], namespaces: [] });
  });

  test('a port that is taken is said, and nothing stays open', async () => {
    const { port } = gateway.running;
    await assert.rejects(openGateway(`listen: { port: ${port} }\nnamespaces: { a: { source: none } }\n`), {
      code: 'LISTEN_FAILED',
    });
  });
});
