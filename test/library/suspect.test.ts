/**
 * After a gap in the feed: what L1 has is suspect, is asked of L2 by version before it is served, and is kept where the version is the same. The feed is
 * played by hand, so that a gap, a restart and an answer that crosses them come exactly where the test wants them.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { drainPromises, ManualScheduler } from '../../src/base/scheduler.ts';
import { Breakwater } from '../../src/cache/breakwater.ts';
import { WIDE } from '../../src/freshness/feed-kinds.ts';
import type { FeedHandlers, StoreFeed } from '../../src/stores/feed.ts';
import type { CacheStore, ReadCall, ReadResult } from '../../src/stores/store.ts';
import { embeddedTruth, SlowStore, Source } from './support.ts';

/** A node of which the test says what it tells. */
class HandFeed implements StoreFeed {
  readonly tellsOfReadsOnly = false;
  readonly tellsOfLeases = true;
  handlers!: FeedHandlers;
  link = 0;
  head = 0;
  #id = 0;
  #number = 0;
  #wide = 0;
  follow(handlers: FeedHandlers): void {
    this.handlers = handlers;
  }
  listen(): void {}
  subscribe(_link: number, id: number): void {
    this.#id = id;
  }
  ping(link: number, id: number): void {
    if (link === this.link) queueMicrotask(() => this.handlers.pong(link, id, this.head));
  }
  acknowledge(): void {}
  reconnect(): void {}
  everywhere(): Promise<void> {
    return Promise.resolve();
  }
  /** A connection stands and the subscription is answered. */
  async connect(run: string, replay: boolean): Promise<void> {
    this.link += 1;
    const { link } = this;
    this.handlers.open(link, 'node');
    await drainPromises();
    const ballot = { epoch: 1, node: run };
    const streams = [
      { range: WIDE, ballot, number: this.#wide, replay },
      { range: 0, ballot, number: this.#number, replay },
    ];
    this.handlers.subscribed(link, this.#id, this.head, streams);
    await drainPromises();
  }
  disconnect(): void {
    this.handlers.closed(this.link);
  }
  key(run: string, name: string): void {
    this.head += 1;
    this.#number += 1;
    this.handlers.record(this.link, this.head, 0, { epoch: 1, node: run }, this.#number, 'key', name);
  }
  namespace(run: string, name: string): void {
    this.head += 1;
    this.#wide += 1;
    this.handlers.record(this.link, this.head, WIDE, { epoch: 1, node: run }, this.#wide, 'namespace', name);
  }
}

/** A store with a feed, whose truth can be replaced: a node started anew, counting versions from the beginning. */
class NodeStore extends SlowStore {
  override readonly inProcess = false;
  readonly feed = new HandFeed();
  truth: CacheStore;
  reads: (readonly string[])[] = [];
  /** While set, answers wait for it. */
  gate: Promise<void> | null = null;
  constructor(truth: CacheStore) {
    super(truth);
    this.truth = truth;
    this.direct = true;
  }
  override async read(keys: readonly string[], call: ReadCall): Promise<ReadResult[]> {
    this.reads.push(keys);
    const answer = this.truth.read(keys, call);
    await this.gate;
    return answer;
  }
}

async function open() {
  const scheduler = new ManualScheduler();
  const store = new NodeStore(embeddedTruth(scheduler));
  const bw = new Breakwater({
    store,
    ports: { clock: scheduler.clock, scheduler, random: new SeededRandom(5) },
    defaults: { jitter: 0 },
    readTimeoutMs: 250,
    writeTimeoutMs: 2_000,
    stalenessMs: 250,
  });
  const source = new Source();
  const cache = bw.cache('row', { load: source.load, l1: {}, tags: (row) => [`t${row.id}`], ttl: '1h' });
  await store.feed.connect('run-1', false);
  await scheduler.run(1);
  return { scheduler, store, bw, source, cache };
}

const call = { timeoutMs: 100 };
const text = (id: string, n: number) => new TextEncoder().encode(JSON.stringify({ id, n }));

test('an unchanged entry costs no load and is the very same object; a changed one is never served', async () => {
  const { scheduler, store, bw, source, cache } = await open();
  const ids = ['1', '2', '3', '4'];
  for (const id of ids) source.rows.set(id, 1);
  await cache.getMany(ids);
  bw.cache('other', { load: source.load });
  for (const id of ids) {
    // Once more from L2, so that their versions are known.
    await store.truth.set(`row:${id}`, text(id, 1), { ttlMs: null, tags: [] }, call);
    store.feed.key('run-1', `row:${id}`);
  }
  const before = await cache.getMany(ids);
  assert.equal(cache.peek('1'), before.get('1'));
  const loads = source.calls.length;

  store.feed.disconnect();
  await store.truth.set('row:2', text('2', 2), { ttlMs: null, tags: [] }, call); // another process; nobody tells us
  await store.truth.delete(['row:3'], call);
  source.rows.set('3', 2);
  await store.feed.connect('run-1', false); // a gap
  await scheduler.run(1);
  assert.equal((await bw.stats()).feed?.isInTime, true);
  for (const id of ids) assert.equal(cache.peek(id), undefined, 'not before L2 was asked');

  store.reads = [];
  const after = await cache.getMany(ids);
  assert.deepEqual(store.reads, [['row:1', 'row:2', 'row:3', 'row:4']], 'one round trip');
  assert.equal(after.get('1'), before.get('1'));
  assert.equal(after.get('4'), before.get('4'));
  assert.deepEqual([after.get('2')?.n, after.get('3')?.n], [2, 2]);
  assert.equal(source.calls.length, loads + 1, 'only what was deleted is loaded');
  assert.equal(cache.stats().revalidated, 2);
  store.reads = [];
  await cache.getMany(['1', '2', '4']);
  assert.deepEqual(store.reads, [], 'trusted again');
  assert.equal((await cache.getDetailed('1')).from, 'l1');
  store.feed.key('run-1', 'row:1');
  assert.equal(cache.peek('1'), undefined, 'and invalidated as any other');
  await bw.close();
});

test('another run of the node: the same version number is another value, whether it was heard of or not', async () => {
  const { scheduler, store, bw, source, cache } = await open();
  await store.truth.set('row:1', text('1', 1), { ttlMs: null, tags: [] }, call);
  await cache.get('1');
  const { version } = await cache.getDetailed('1');

  // A gap, and the read that is to revalidate is on its way when the node dies: it is answered by the new one.
  store.feed.disconnect();
  await store.feed.connect('run-1', false);
  await scheduler.run(1);
  const anew = embeddedTruth(scheduler, 9);
  await anew.set('row:1', text('1', 2), { ttlMs: null, tags: [] }, call);
  const [hit] = await anew.read(['row:1'], { lease: false, ...call });
  assert.ok(hit?.kind === 'hit' && hit.version === version, 'versions begin anew');
  let release = (): void => undefined;
  store.gate = new Promise((resolve) => {
    release = resolve;
  });
  store.truth = anew;
  const crossing = cache.get('1');
  await drainPromises();
  store.feed.disconnect();
  release();
  assert.equal((await crossing)?.n, 2);

  // And one that begins when the new one is followed.
  await store.feed.connect('run-2', false);
  await scheduler.run(1);
  assert.equal(cache.peek('1'), undefined);
  source.rows.set('1', 2);
  assert.equal((await cache.get('1'))?.n, 2);
  assert.equal(cache.stats().revalidated, 0);
  await bw.close();
});

test('what is invalidated while it is revalidated is not trusted; nor is what was on its way when the gap came', async () => {
  const { scheduler, store, bw, cache } = await open();
  await store.truth.set('row:1', text('1', 1), { ttlMs: null, tags: [] }, call);
  await store.truth.set('row:2', text('2', 1), { ttlMs: null, tags: [] }, call);
  await cache.getMany(['1', '2']);
  store.feed.disconnect();
  await store.feed.connect('run-1', false);
  await scheduler.run(1);
  let release = (): void => undefined;
  store.gate = new Promise((resolve) => {
    release = resolve;
  });
  const asked = cache.get('1');
  await drainPromises();
  store.feed.key('run-1', 'row:1'); // overtakes the answer
  release();
  store.gate = null;
  assert.equal((await asked)?.n, 1, 'who asked before may have it');
  assert.equal(cache.peek('1'), undefined, 'L1 may not');

  // The same by namespace: the entry is still there when the answer comes.
  store.gate = new Promise((resolve) => {
    release = resolve;
  });
  const [named, unseen] = [cache.get('2'), cache.get('3')];
  await drainPromises();
  store.feed.namespace('run-1', 'row');
  release();
  await named;
  assert.equal(cache.peek('2'), undefined);
  await unseen;
  await cache.get('2');
  assert.equal(cache.peek('2')?.n, 1);

  // What was on its way when the gap came is for its caller alone.
  await store.truth.set('row:4', text('4', 1), { ttlMs: null, tags: [] }, call);
  store.gate = new Promise((resolve) => {
    release = resolve;
  });
  const crossing = cache.get('4');
  await drainPromises();
  store.feed.disconnect();
  await store.feed.connect('run-1', false);
  await scheduler.run(1);
  release();
  store.gate = null;
  assert.equal((await crossing)?.n, 1);
  assert.equal(cache.peek('4'), undefined);

  // A second gap while an entry is suspect already, then a replay.
  store.feed.disconnect();
  await store.feed.connect('run-1', false);
  store.feed.disconnect();
  await store.feed.connect('run-1', true);
  await scheduler.run(1);
  assert.equal(cache.peek('2'), undefined, 'a replay of what came later proves nothing about the gap before');
  assert.equal((await cache.get('2'))?.n, 1);
  assert.equal(cache.peek('2')?.n, 1);
  await bw.close();
});
