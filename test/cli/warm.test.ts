/** `breakwater warm --url`: a running gateway is asked for the ids of a list; interrupted, gone on with, crossed by an invalidation, and refused. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { BreakwaterError } from '../../src/base/errors.ts';
import type { WarmProgress } from '../../src/cache/warm.ts';
import { type WarmRun, warmByUrl } from '../../src/cli/warm/by-url.ts';
import { FakeApi, openGateway, type TestGateway, until } from '../gateway/support.ts';
import { runCli, startCli } from '../server/support.ts';

const SECRET = 'a-token-of-the-tests-0123456789';
const TOKEN = { authorization: `Bearer ${SECRET}` };
const directory = mkdtempSync(join(tmpdir(), 'breakwater-warm-url-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const file = (name: string, text: string): string => {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
};
const ids = Array.from({ length: 25 }, (_, i) => `w${i + 1}`);

/** Holds whoever waits for it until it is opened. */
function gateOf(): { readonly opened: Promise<void>; open(): void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

let api: FakeApi;
let gateway: TestGateway;

before(async () => {
  api = await FakeApi.start();
  gateway = await openGateway(`
access: { tokens: { all: { token: "${SECRET}", rights: [read, write, invalidate] } } }
sources:
  api:
    http: { base: "${api.url}", timeout: 3m }
    guard: { breaker: false, backoff: false, concurrency: 32 }
defaults: { loadTimeout: 3m, leaseWait: 3m, ttl: 1h }
namespaces:
  item: { source: api, path: "/items/{id}" }
`);
  for (const id of ids) api.items.set(id, { id });
});

const warm = (...args: string[]): string[] => ['warm', '--url', gateway.url, '--token', SECRET, ...args];

/** As the command does, in this process. */
function warmHere(
  list: readonly string[],
  {
    url = gateway.url,
    token = SECRET,
    namespace = 'item',
    ...more
  }: Partial<WarmRun & Record<'url' | 'token' | 'namespace', string>> = {},
): Promise<WarmProgress> {
  const signal = new AbortController().signal;
  const run = { batch: 100, concurrency: 1, rate: undefined, skip: 0, signal, onProgress: () => {}, ...more };
  const given = (async function* () {
    yield* list;
  })();
  return warmByUrl(url, token, namespace, given, run);
}

describe('breakwater warm --url', { timeout: 240_000 }, () => {
  test('interrupted it keeps its place, and goes on from there: each id is loaded once', async () => {
    const list = file('ids.txt', `${ids.join('\n')}\n`);
    const state = join(directory, 'state.json');
    const args = warm('item', '--ids', list, '--batch', '10', '--concurrency', '1', '--total', '25', '--state', state);
    const gate = gateOf();
    api.answer = async (id, response) => {
      if (Number(id.slice(1)) > 10) await gate.opened;
      api.send(id, response);
    };
    const child = startCli(args, {});
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    await until(() => api.requests.includes('w11'), 'the second batch');
    child.kill('SIGINT');
    const [code] = (await once(child, 'close')) as [number | null];
    assert.equal(code, 130, said);
    assert.match(said, /warming item 40 % · 10 ids/);
    assert.match(said, /stopped after 10 ids; .*state\.json has the place/);
    assert.equal((JSON.parse(readFileSync(state, 'utf8')) as { cursor: number }).cursor, 10);

    api.answer = null;
    gate.open();
    const again = await runCli(args);
    assert.deepEqual([again.code, again.stdout], [0, 'item: 15 ids: 15 loaded\n'], again.stderr);
    assert.equal(existsSync(state), false);
    assert.deepEqual(api.requests.filter((id) => ids.indexOf(id) < 10).length, 10);
    for (const id of ids) {
      assert.deepEqual((await gateway.get(`/cache/item:${id}`, TOKEN)).headers.get('breakwater-from'), 'l1', id);
    }
  });

  test('what is invalidated while its row is on its way is not stored', async () => {
    api.items.set('x', { n: 1 });
    const gate = gateOf();
    api.answer = async (id, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      const read = JSON.stringify(api.items.get(id));
      await gate.opened;
      response.end(read);
    };
    const warming = warmHere(['x']);
    await until(() => api.requests.includes('x'), 'the row to be read');
    api.items.set('x', { n: 2 });
    assert.equal((await gateway.call('POST', '/cache/invalidate', { keys: ['item:x'] }, TOKEN)).status, 200);
    api.answer = null;
    gate.open();
    assert.equal((await warming).done, 1);
    assert.deepEqual((await gateway.read('item:x', TOKEN))[0], { n: 2 });
  });

  test('what does not exist, what cannot be loaded, and who may not', async () => {
    api.answer = (id, response) => {
      if (id === 'bad') response.writeHead(500).end();
      else api.send(id, response);
    };
    const { done, loaded, absent, failed, errors } = await warmHere(['w1', 'nowhere', 'bad']);
    api.answer = null;
    assert.deepEqual([done, loaded, absent, failed, errors[0]?.id], [3, 1, 1, 1, 'bad']);
    await assert.rejects(warmHere(['w1'], { token: 'another' }), { code: 'WARM_REFUSED', message: /it answered 401/ });
    await assert.rejects(warmHere(['w1'], { namespace: 'nothing' }), {
      code: 'WARM_REFUSED',
      message: /it answered 4/,
    });
    const { code, stderr } = await runCli(warm('item'));
    assert.equal(code, 2, stderr);
    assert.match(stderr, /--url needs --ids/);
    const nowhere = await runCli(
      warm('item', '--ids', '-', '--state', join(import.meta.dirname, 'none', 'state.json')),
    );
    assert.equal(nowhere.code, 2, 'a place that cannot be kept is told of before anything is loaded');
    assert.match(nowhere.stderr, /--state .* cannot be written: ENOENT.*\[USAGE_INVALID\]\n$/);
  });

  test('a gateway that sheds is asked again; one that the rate holds back can be stopped', async () => {
    let asked = 0;
    const server = createServer((request, response) => {
      request.resume().on('end', () => {
        asked += 1;
        response.writeHead(asked < 3 ? 503 : 200, { 'content-type': 'application/json' });
        response.end(asked < 3 ? '{}' : '{"results":[{"key":"item:a","value":1}],"missing":[]}');
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const { loaded, waits } = await warmHere(['a'], { url });
      assert.deepEqual([loaded, waits, asked], [1, 2, 3]);
      const abort = new AbortController();
      const slow = warmHere(['a', 'b', 'c'], { url, batch: 1, rate: 0.001, signal: abort.signal });
      const ended = assert.rejects(slow, { code: 'INTERRUPTED' });
      await until(() => asked === 4, 'the first id');
      abort.abort(new BreakwaterError('INTERRUPTED', 'stopped'));
      await ended;
      assert.equal(asked, 4);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});
