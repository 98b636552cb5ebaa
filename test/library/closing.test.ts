/** A service that is shut down in the middle of a write: its row changes, and the old value must not stay behind. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createBreakwater } from '../../src/cache/index.ts';
import { createTestBreakwater, TestNode, TestSource } from '../../src/testing/index.ts';

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
