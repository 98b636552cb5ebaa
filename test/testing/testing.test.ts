/** The kit that users test with: it is the production library on a clock turned by hand. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createBreakwater } from '../../src/cache/index.ts';
import {
  createTestBreakwater,
  StaleChecker,
  startTestNode,
  TestClock,
  TestNode,
  TestSource,
} from '../../src/testing/index.ts';

interface Row {
  readonly n: number;
}
const rowsOf = (n: number): TestSource<string, Row> => new TestSource([['1', { n }]]);

describe('the clock', () => {
  test('a TTL passes without waiting, and the embedded store expires with it', async () => {
    const { bw, clock } = createTestBreakwater();
    const source = rowsOf(1);
    const rows = bw.cache('row', { load: source.load, ttl: '1h', jitter: 0 });
    await rows.get('1');
    await clock.advance('59m');
    await rows.get('1');
    assert.equal(source.calls, 1);
    assert.equal((await rows.getDetailed('1')).ageMs, 59 * 60_000);
    await clock.advance('2m');
    await rows.get('1');
    assert.equal(source.calls, 2);
    await bw.close();
  });

  test("a loader's deadline, without waiting", async () => {
    const { bw, clock } = createTestBreakwater();
    const source = rowsOf(1);
    source.hold();
    const rows = bw.cache('row', { load: source.load, loadTimeout: '3s' });
    const got = rows.get('1');
    got.catch(() => undefined);
    await clock.advance('3s');
    await assert.rejects(got, { code: 'CACHE_LOAD_TIMEOUT' });
    assert.equal(source.held[0]?.signal.aborted, true);
    await bw.close();
  });

  test('one seed, one run', async () => {
    const run = async (seed: number): Promise<number[]> => {
      const { bw, clock } = createTestBreakwater({ seed });
      const source = new TestSource(Array.from({ length: 20 }, (_, i) => [`${i}`, i] as const));
      const rows = bw.cache('row', { load: source.load, ttl: '10s', jitter: 0.5 });
      const counts: number[] = [];
      for (let i = 0; i < 10; i += 1) {
        for (const id of source.rows.keys()) await rows.get(id);
        await clock.advance('2s');
        counts.push(source.ids.length);
      }
      await bw.close();
      return counts;
    };
    assert.deepEqual(await run(7), await run(7));
    assert.notDeepEqual(await run(7), await run(8));
  });
});

describe('two processes on a node in memory', () => {
  const open = () => {
    const node = new TestNode();
    const source = rowsOf(1);
    const [a, b] = [createTestBreakwater({ store: node, seed: 1 }), createTestBreakwater({ store: node, seed: 2 })];
    const declare = ({ bw }: typeof a) => bw.cache('row', { load: source.load, l1: {}, jitter: 0 });
    return { node, source, a, b, ofA: declare(a), ofB: declare(b), clock: node.clock };
  };
  const close = async ({ a, b }: ReturnType<typeof open>): Promise<void> => {
    await Promise.all([a.bw.close(), b.bw.close()]);
  };

  test('one load for both; an invalidation of one reaches the L1 of the other by the feed', async () => {
    const world = open();
    const { source, ofA, ofB, clock } = world;
    assert.deepEqual(await Promise.all([ofA.get('1'), ofB.get('1')]), [{ n: 1 }, { n: 1 }]);
    assert.equal(source.calls, 1);
    await clock.advance('100ms'); // connected with the first get: now the feeds are followed
    await Promise.all([ofA.get('1'), ofB.get('1')]);
    assert.equal((await ofB.getDetailed('1')).from, 'l1');
    await ofA.write('1', () => source.rows.set('1', { n: 2 }));
    await clock.settle();
    assert.equal(ofB.peek('1'), undefined);
    assert.deepEqual(await ofB.get('1'), { n: 2 });
    await close(world);
  });

  test('feed dropped: within the bound the old value may be served, after it L1 is bypassed', async () => {
    const world = open();
    const { source, ofA, ofB, b, clock } = world;
    await Promise.all([ofA.get('1'), ofB.get('1')]);
    await clock.advance('100ms');
    await Promise.all([ofA.get('1'), ofB.get('1')]);
    b.faults.dropFeed();
    await ofA.write('1', () => source.rows.set('1', { n: 2 }));
    assert.deepEqual(await ofB.get('1'), { n: 1 }, 'the bound is not over');
    await clock.advance('251ms');
    assert.deepEqual(await ofB.get('1'), { n: 2 });
    assert.ok((ofB.stats().l1?.bypassed ?? 0) > 0);
    b.faults.heal();
    await clock.advance('5s');
    await ofB.get('1');
    assert.equal((await ofB.getDetailed('1')).from, 'l1', 'and used again when the feed is back');
    await close(world);
  });

  test('connections can be broken, and come back', async () => {
    const world = open();
    const { node, source, ofA, ofB, clock } = world;
    await Promise.all([ofA.get('1'), ofB.get('1')]);
    assert.equal(node.connections, 2);
    node.disconnect();
    await clock.advance('2s');
    assert.equal(node.connections, 2);
    await ofA.delete('1');
    source.rows.set('1', { n: 3 });
    assert.deepEqual(await ofA.get('1'), { n: 3 });
    await close(world);
    assert.equal(node.connections, 0);
  });

  test('a clock of its own beside the node is refused', () => {
    assert.throws(() => createTestBreakwater({ store: new TestNode(), clock: new TestClock() }), TypeError);
  });
});

describe('faults', () => {
  const open = () => {
    const node = new TestNode();
    const { bw, faults } = createTestBreakwater({ store: node });
    const source = rowsOf(1);
    const rows = bw.cache('row', { load: source.load, jitter: 0, ttl: '1h' });
    return { node, bw, faults, source, rows, clock: node.clock };
  };

  test('cut: gets go to the loader, a delete is not acknowledged and is retried when healed', async () => {
    const { bw, faults, source, rows, clock } = open();
    await rows.get('1');
    faults.cut();
    await assert.rejects(rows.delete('1'), { code: 'CACHE_INVALIDATION_UNACKNOWLEDGED' });
    source.rows.set('1', { n: 2 });
    assert.deepEqual(await rows.get('1'), { n: 2 });
    assert.equal((await bw.stats()).outbox?.length, 1);
    faults.heal();
    await clock.advance('1m');
    assert.equal((await bw.stats()).outbox?.length, 0);
    assert.deepEqual(await rows.get('1'), { n: 2 });
    await bw.close();
  });

  test('freeze: a read runs into its deadline, then the loader is asked; nothing took effect', async () => {
    const { node, bw, faults, rows, clock } = open();
    faults.freeze();
    const got = rows.get('1');
    await clock.advance('250ms');
    assert.deepEqual(await got, { n: 1 });
    assert.equal(node.entries, 0);
    await bw.close();
  });

  test('loseAnswers: the delete took effect and its caller is told that nobody knows', async () => {
    const { node, bw, faults, rows, clock } = open();
    await rows.get('1');
    await clock.settle();
    assert.equal(node.entries, 1);
    faults.loseAnswers();
    const deleted = rows.delete('1');
    deleted.catch(() => undefined);
    await clock.advance('2s');
    await assert.rejects(deleted, { code: 'CACHE_INVALIDATION_UNACKNOWLEDGED' });
    assert.equal(node.entries, 0);
    faults.heal();
    await bw.close();
  });

  test('failNext: so many, and only of that operation; delay: by the clock', async () => {
    const { bw, faults, source, rows, clock } = open();
    faults.failNext(1, 'read');
    await rows.get('1'); // from the loader, without a lease: not stored
    await rows.get('1');
    await rows.get('1');
    assert.equal(source.calls, 2);
    faults.delay('100ms');
    let answer: Row | null | undefined;
    const got = rows.get('1').then((row) => {
      answer = row;
    });
    await clock.advance('99ms');
    assert.equal(answer, undefined);
    await clock.advance('1ms');
    await got;
    assert.deepEqual(answer, { n: 1 });
    assert.equal(source.calls, 2);
    assert.equal(faults.calls.read, 4);
    await bw.close();
  });
});

describe('the source and the checker', () => {
  test('a load that is held brings the old row, and the cache does not keep it', async () => {
    const { bw } = createTestBreakwater();
    const source = rowsOf(1);
    const rows = bw.cache('row', { load: source.load });
    const checker = new StaleChecker<Row>();
    source.hold();
    const early = checker.read('1', () => rows.get('1'));
    await Promise.resolve();
    await checker.write('1', { n: 2 }, () => rows.write('1', () => source.rows.set('1', { n: 2 })));
    source.release();
    await early;
    assert.deepEqual(await checker.read('1', () => rows.get('1')), { n: 2 });
    assert.equal(checker.reads, 2);
    await bw.close();
  });

  test('the checker sees a cache that is stale', async () => {
    const checker = new StaleChecker<number>();
    const naive = new Map([['1', 1]]);
    await checker.write('1', 1, async () => undefined);
    await checker.write('1', 2, async () => undefined); // nobody told the map
    await assert.rejects(
      checker.read('1', async () => naive.get('1')!),
      { code: 'TEST_STALE_READ', message: /gave 1, allowed were 2:/ },
    );
  });

  test('the checker allows old and new while a write is under way, and after one that failed', async () => {
    const checker = new StaleChecker<number>();
    await checker.write('1', 1, async () => undefined);
    let end = (): void => undefined;
    const writing = checker.write('1', 2, () => new Promise<void>((resolve) => (end = resolve)));
    await checker.read('1', async () => 1);
    await checker.read('1', async () => 2);
    await assert.rejects(
      checker.read('1', async () => 3),
      { code: 'TEST_STALE_READ' },
    );
    end();
    await writing;
    await assert.rejects(
      checker.read('1', async () => 1),
      { code: 'TEST_STALE_READ' },
    );
    await assert.rejects(checker.write('1', 4, () => Promise.reject(new Error('lost'))));
    await checker.read('1', async () => 2);
    await checker.read('1', async () => 4);
  });

  test('failures of the source in the order given', async () => {
    const { bw } = createTestBreakwater();
    const source = rowsOf(1);
    source.failNext(new Error('down'));
    const rows = bw.cache('row', { load: source.load });
    await assert.rejects(rows.get('1'), /down/);
    assert.deepEqual(await rows.get('1'), { n: 1 });
    assert.deepEqual([source.calls, source.ids], [2, ['1', '1']]);
    await bw.close();
  });
});

test('startTestNode: a real server on ports of its own', async () => {
  const node = await startTestNode();
  const bw = createBreakwater({ store: node.url, readTimeout: '30s', writeTimeout: '30s' });
  try {
    const source = rowsOf(1);
    const rows = bw.cache('row', { load: source.load });
    await rows.get('1');
    const answer = await fetch(`http://127.0.0.1:${node.httpPort}/healthz`, { headers: { connection: 'close' } });
    assert.equal(answer.status, 200);
    await answer.arrayBuffer();
    await rows.get('1');
    assert.equal(source.calls, 1);
  } finally {
    await bw.close();
    await node.close();
  }
});
