/** A service that is shut down in the middle of a write: its row changes, and the old value must not stay behind. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createBreakwater } from '../../src/cache/index.ts';
import { createTestBreakwater, TestNode, TestSource } from '../../src/testing/index.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';

function open(store: TestNode, source: TestSource<string, number>, seed: number) {
  const { bw, clock } = createTestBreakwater({ store, seed });
  return { bw, clock, prices: bw.cache('price', { load: source.load }) };
}

test('a write whose update is under way when its Breakwater is closed is invalidated all the same', async () => {
  const store = new TestNode();
  const source = new TestSource<string, number>([['7', 100]]);
  const [ending, other] = [open(store, source, 1), open(store, source, 2)];
  assert.equal(await other.prices.get('7'), 100);
  let commit = (): void => {};
  const written = ending.prices.write('7', async () => {
    await new Promise<void>((resolve) => {
      commit = resolve;
    });
    source.rows.set('7', 90);
    return 'committed';
  });
  const closed = ending.bw.close();
  assert.equal(ending.bw.close(), closed);
  await assert.rejects(
    ending.prices.write('7', () => assert.fail('closed')),
    { code: 'CACHE_CLOSED' },
  );
  await store.clock.settle();
  commit();
  assert.equal((await written).result, 'committed');
  assert.deepEqual((await closed).unacknowledged, { keys: [], tags: [], namespaces: [] });
  assert.equal(await other.prices.get('7'), 90);
  await other.bw.close();
});

test('an update that outlasts the closing is told of: its key may be stale', async () => {
  const store = new TestNode();
  const source = new TestSource<string, number>([['7', 100]]);
  const { bw, clock, prices } = open(store, source, 1);
  const written = prices.write('7', () => new Promise<void>(() => {}));
  const closed = bw.close();
  await clock.advance('1s');
  assert.deepEqual((await closed).unacknowledged.keys, ['price:7']);
  void written;
});

test('what could not be written to the directory of the outbox is not said to be kept there', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'breakwater-closing-'));
  try {
    writeFileSync(join(directory, 'a-file'), '');
    for (const [name, isKept] of [
      ['a-file', false],
      ['a-directory', true],
    ] as const) {
      const outbox = { directory: join(directory, name) };
      const bw = createBreakwater({ store: 'breakwater://127.0.0.1:1', outbox, advice: false });
      const cache = bw.cache('row', { load: async (ids) => [...ids] });
      await assert.rejects(cache.delete('1'), { code: 'CACHE_INVALIDATION_UNACKNOWLEDGED' });
      const closed = await bw.close();
      assert.deepEqual([closed.unacknowledged.keys, closed.isKept], [['row:1'], isKept], name);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

// On Redis, since a node itself notices that the holder of a lease has gone.
const ORDERLY =
  'nobody waits for the leases of a process that closed in order: fills arrive, loads cut off give theirs back';
test(ORDERLY, requires('redis-server'), async () => {
  const server = await RedisServer.start();
  try {
    const loads: string[] = [];
    const start = () => {
      const bw = createBreakwater({
        store: `redis://127.0.0.1:${server.port}`,
        advice: false,
        readTimeout: '30s',
        writeTimeout: '30s',
      });
      const load = async (ids: readonly string[], { signal }: { signal: AbortSignal }): Promise<string[]> => {
        loads.push(...ids);
        if (ids[0] === 'slow' && loads.filter((id) => id === 'slow').length === 1)
          await new Promise((_, reject) => signal.addEventListener('abort', reject));
        return [...ids];
      };
      return { bw, rows: bw.cache<string>('row', { load, leaseWait: '30s', l1: false }) };
    };
    // It waits for them, but not for ever; a machine that slept so long tries again.
    let isFilled = false;
    for (let n = 0; n < 10 && !isFilled; n += 1) {
      const [writer, reader] = [start(), start()];
      await reader.rows.get('connected');
      await writer.rows.get(`quick-${n}`);
      await writer.bw.close();
      isFilled = (await reader.rows.getDetailed(`quick-${n}`)).from === 'l2';
      await reader.bw.close();
    }
    assert.ok(isFilled, 'its fill was waited for');
    const first = start();
    const cut = assert.rejects(first.rows.get('slow'), { code: 'CACHE_CLOSED' });
    await until(() => loads.includes('slow'));
    await first.bw.close();
    await cut;
    const second = start();
    assert.equal((await second.rows.getDetailed('slow', { timeout: '25s' })).from, 'loader');
    await second.bw.close();
  } finally {
    await server.close();
  }
});

async function until(isTrue: () => boolean): Promise<void> {
  for (let turn = 0; !isTrue(); turn += 1) {
    assert.ok(turn < 12_000, 'waited in vain');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
