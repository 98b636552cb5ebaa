/**
 * What every store promises (src/stores/store.ts), as one suite that every maker passes. A case that a store cannot pass is a
 * "no" in the documentation's table, never a skipped case here.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { CacheStore, ReadHit, ReadResult, SetOutcome } from '../../src/stores/store.ts';

/** One store under test, its own for the whole suite; cases use keys of their own. */
export interface StoreUnderTest {
  readonly store: CacheStore;
  /** Another client of the same truth, as another process would be. */
  readonly other: CacheStore;
  /** Lets time pass for the store; on a real server some more passes by itself, so a case leaves it a margin of seconds. */
  advance(ms: number): void | Promise<void>;
  /** A store of its own that nothing else uses, to be closed by the case. */
  fresh(): Promise<CacheStore>;
  close(): Promise<void>;
  /** False: the connection cannot carry a push (RESP2), and who waits for a lease asks. Default true. */
  readonly isTold?: boolean;
}

const CALL = { timeoutMs: 30_000 };
const LEASE = { ...CALL, lease: true };
const encoder = new TextEncoder();
const bytes = (text: string): Uint8Array => encoder.encode(text);
const text = (value: Uint8Array): string => new TextDecoder().decode(value);
const NO_TAGS: readonly string[] = [];

/** @param options what the store's server needs of the machine: `requires('redis-server')` */
export function storeContract(
  name: string,
  open: () => Promise<StoreUnderTest>,
  options: { readonly skip: string | false } = { skip: false },
): void {
  describe(`store contract: ${name}`, options, () => {
    let t: StoreUnderTest;
    before(async () => {
      t = await open();
    });
    after(() => t.close());

    const read = async (key: string): Promise<ReadResult> => (await t.store.read([key], { ...CALL, lease: false }))[0]!;
    const lease = async (key: string, store = t.store, leaseMs = 20_000): Promise<string | null> => {
      const [result] = await store.read([key], { ...LEASE, leaseMs });
      assert.equal(result?.kind, 'miss');
      return result.lease;
    };
    const token = async (key: string, store = t.store): Promise<string> => {
      const got = await lease(key, store);
      assert.notEqual(got, null, `a lease for ${key} is granted`);
      return got!;
    };
    const fill = async (key: string, value: string, by: string, tags = NO_TAGS): Promise<boolean> =>
      (await t.store.fill([{ key, value: bytes(value), ttlMs: 60_000, tags, lease: by }], CALL))[0]!;
    const put = (key: string, value: string, tags = NO_TAGS): Promise<SetOutcome> =>
      t.store.set(key, bytes(value), { ttlMs: 60_000, tags }, CALL);
    const putVersion = (
      key: string,
      value: string,
      version: bigint,
      store = t.store,
      tags = NO_TAGS,
    ): Promise<SetOutcome> => store.set(key, bytes(value), { ttlMs: 60_000, tags, version }, CALL);
    const hit = async (key: string): Promise<ReadHit> => {
      const result = await read(key);
      assert.equal(result.kind, 'hit', `${key} is there`);
      return result as ReadHit;
    };
    const miss = async (key: string): Promise<void> => {
      assert.deepEqual(await read(key), { kind: 'miss', lease: null, waitMs: 0 });
    };

    test('what is set is read, by everybody, with its time and a rising version', async () => {
      await put('a:1', 'one');
      const first = await hit('a:1');
      assert.equal(text(first.value), 'one');
      assert.ok(first.ttlMs !== null && first.ttlMs > 20_000 && first.ttlMs <= 60_000, `${first.ttlMs}`);
      await put('a:1', 'two');
      const second = await hit('a:1');
      assert.equal(text(second.value), 'two');
      assert.ok(second.version > first.version);
      const [elsewhere] = await t.other.read(['a:1'], { ...CALL, lease: false });
      assert.ok(elsewhere?.kind === 'hit' && elsewhere.ttlMs! > 20_000 && elsewhere.ttlMs! <= second.ttlMs!);
      assert.deepEqual([text(elsewhere.value), elsewhere.version], ['two', second.version]);
      await miss('a:2');
    });

    test('a batch is answered in order, duplicates and misses included', async () => {
      await put('b:1', 'one');
      await put('b:3', 'three');
      const results = await t.store.read(['b:3', 'b:2', 'b:1', 'b:3'], { ...CALL, lease: false });
      assert.deepEqual(
        results.map((result) => (result.kind === 'hit' ? text(result.value) : null)),
        ['three', null, 'one', 'three'],
      );
      assert.deepEqual(await t.store.read([], LEASE), []);
      assert.deepEqual(await t.store.fill([], CALL), []);
    });

    test('time to live: gone when it is over, for ever without one', async () => {
      await t.store.set('ttl:short', bytes('x'), { ttlMs: 20_000, tags: [] }, CALL);
      await t.store.set('ttl:none', bytes('x'), { ttlMs: null, tags: [] }, CALL);
      await t.advance(15_000);
      await hit('ttl:short');
      await t.advance(5_001);
      await miss('ttl:short');
      await t.advance(365 * 86_400_000);
      assert.equal((await hit('ttl:none')).ttlMs, null);
    });

    test('any bytes and any text come back: empty, binary, unicode, long keys, a large value', async () => {
      const binary = Uint8Array.from({ length: 256 }, (_, i) => i);
      const large = new Uint8Array(3 * 1024 ** 2);
      for (let i = 0; i < large.length; i += 1) large[i] = (i * 31) & 0xff;
      const cases: [string, Uint8Array][] = [
        ['bin:empty', new Uint8Array(0)],
        ['bin:all', binary],
        ['bin:crlf', bytes('a\r\n$5\r\n')],
        ['bin:große Schlüssel 🗝 \u0000\r\n', bytes('naïve 値 🌊')],
        [`bin:${'k'.repeat(508)}`, bytes('a key of 512 bytes')],
        ['bin:large', large],
      ];
      for (const [key, value] of cases) {
        await t.store.set(key, value, { ttlMs: 60_000, tags: ['tag 🏷'] }, CALL);
        const got = (await hit(key)).value;
        assert.ok(got.length === value.length && Buffer.compare(got, value) === 0, `${key.slice(0, 30)} comes back`);
      }
      await t.store.invalidate({ tags: ['tag 🏷'] }, CALL);
      for (const [key] of cases) await miss(key);
    });

    test('a value read is the reader’s own: changing it changes nothing in the store', async () => {
      const mine = bytes('mine');
      await t.store.set('own:1', mine, { ttlMs: 60_000, tags: [] }, CALL);
      mine.fill(0);
      (await hit('own:1')).value.fill(0);
      assert.equal(text((await hit('own:1')).value), 'mine');
    });

    test('delete removes and counts', async () => {
      await put('d:1', 'x');
      await put('d:2', 'x');
      assert.equal(await t.store.delete(['d:1', 'd:2', 'd:3'], CALL), 2);
      await miss('d:1');
      assert.equal(await t.store.delete(['d:1'], CALL), 0);
      assert.equal(await t.store.delete([], CALL), 0);
    });

    test('a lease goes to one caller; the others are told to wait', async () => {
      const granted = await token('l:1');
      const [refused] = await t.other.read(['l:1'], LEASE);
      assert.ok(refused?.kind === 'miss' && refused.lease === null && refused.waitMs > 0 && refused.waitMs <= 20_000);
      await miss('l:1'); // who does not ask for a lease is not told about it
      assert.equal(await fill('l:1', 'loaded', granted), true);
      assert.equal(text((await hit('l:1')).value), 'loaded');
      assert.equal(await fill('l:1', 'again', granted), false, 'a lease fills once');
      assert.equal(text((await hit('l:1')).value), 'loaded');
    });

    test('a holder that dies delays the next one by its lease time; if it lives, it may still fill', async () => {
      const first = await token('l:slow');
      await t.advance(15_000);
      assert.equal(await lease('l:slow', t.other), null);
      await t.advance(5_001);
      assert.notEqual(await lease('l:slow', t.other), null);
      assert.equal(await fill('l:slow', 'late but true', first), true);
    });

    test('who waits for a lease is told of its end: filled, given back, deleted, written over', async () => {
      const waiting = await t.fresh();
      try {
        const ends = waiting.leaseEnds ?? waiting.feed;
        if (ends === undefined) {
          assert.equal(waiting.inProcess, true, 'nobody else can hold a lease');
          return;
        }
        const told = new Set<string>();
        ends.listen((key) => told.add(key));
        for (const [key, end] of [
          ['ends:filled', (by: string) => fill('ends:filled', 'x', by)],
          ['ends:given-back', (by: string) => t.store.release([{ key: 'ends:given-back', lease: by }], CALL)],
          ['ends:deleted', () => t.other.delete(['ends:deleted'], CALL)],
          ['ends:written', () => put('ends:written', 'x')],
        ] as const) {
          const by = await token(key);
          const [held] = await waiting.read([key], { ...LEASE, leaseMs: 20_000 });
          assert.ok(held?.kind === 'miss' && held.lease === null && held.waitMs > 0, `${key} is held`);
          if (t.isTold === false) continue;
          assert.equal(ends.tellsOfLeases, true, key);
          assert.ok(!told.has(key), `${key}: not yet`);
          await end(by);
          for (const endMs = performance.now() + 60_000; !told.has(key); ) {
            assert.ok(performance.now() < endMs, `${key}: nobody told`);
            await new Promise((resolve) => setTimeout(resolve, 5));
          }
        }
      } finally {
        await waiting.close();
      }
    });

    test('a lease given back is granted to the next caller at once', async () => {
      const first = await token('l:back');
      assert.equal(await lease('l:back', t.other), null);
      await t.store.release([{ key: 'l:back', lease: first }], CALL);
      assert.equal(await fill('l:back', 'x', first), false);
      await token('l:back', t.other);
    });

    test('a lease given back changes nothing else: the entry stays, and other callers’ tokens', async () => {
      await put('l:keep', 'kept');
      const [mine] = await t.store.lease(['l:keep'], { ...CALL, leaseMs: 100 });
      await t.advance(101);
      const [theirs] = await t.other.lease(['l:keep'], { ...CALL, leaseMs: 100 });
      assert.ok(typeof mine === 'string' && typeof theirs === 'string');
      await t.store.release([{ key: 'l:keep', lease: mine }], CALL);
      assert.equal(text((await hit('l:keep')).value), 'kept');
      assert.equal(await fill('l:keep', 'new', mine), false);
      assert.equal(await fill('l:keep', 'newer', theirs), true);
    });

    test('a lease of a key that has an entry: one caller gets it, the entry is served, a fill replaces it', async () => {
      await put('l:there', 'old');
      assert.deepEqual(await t.store.lease([], CALL), []);
      const [there, absent] = await t.store.lease(['l:there', 'l:absent'], { ...CALL, leaseMs: 20_000 });
      assert.ok(typeof there === 'string' && typeof absent === 'string');
      assert.deepEqual(await t.other.lease(['l:there', 'l:absent'], CALL), [null, null]);
      assert.equal(text((await hit('l:there')).value), 'old');
      assert.equal(await fill('l:there', 'renewed', there), true);
      assert.equal(text((await hit('l:there')).value), 'renewed');
      // Crossed by a delete, it is void as any other.
      const [again] = await t.store.lease(['l:there'], CALL);
      await t.other.delete(['l:there'], CALL);
      assert.equal(await fill('l:there', 'old again', again!), false);
      await miss('l:there');
    });

    test('where a fill can be a write: it replaces what was there for everybody, and its lease is as good as any other', async () => {
      if (t.store.takesLeasedWrites !== true) return;
      for (const isThere of [false, true]) {
        const key = `l:write-${isThere}`;
        if (isThere) await put(key, 'old');
        const [first, second] = [await t.store.lease([key], CALL), await t.store.lease([key], CALL)].map(
          ([one]) => one,
        );
        assert.ok(typeof first === 'string' && second === null);
        const entry = { key, value: bytes('new'), ttlMs: 60_000, tags: ['write'], lease: first };
        assert.deepEqual(await t.store.fill([entry], { ...CALL, isWrite: true }), [true]);
        const [seen] = await t.other.read([key], { ...CALL, lease: false });
        assert.equal(text((seen as ReadHit).value), 'new');
        assert.deepEqual(await t.store.fill([entry], { ...CALL, isWrite: true }), [false], 'its lease is used');
        const [crossed] = await t.store.lease([key], CALL);
        await t.other.invalidate({ tags: ['write'] }, CALL);
        const late = { ...entry, lease: crossed! };
        assert.deepEqual(await t.store.fill([late], { ...CALL, isWrite: true }), [false], 'a tag that it has');
      }
    });

    test('a refused fill ends its lease: the next caller need not wait', async () => {
      const granted = await token('l:vain');
      await t.other.invalidate({ tags: ['vain'] }, CALL);
      assert.equal(await fill('l:vain', 'old', granted, ['vain']), false);
      await token('l:vain', t.other);
    });

    test('a load crossed by a delete, a set or an invalidation of its key is not stored', async () => {
      const crossings: [string, (key: string) => Promise<unknown>][] = [
        ['delete', (key) => t.other.delete([key], CALL)],
        ['set', (key) => t.other.set(key, bytes('newer'), { ttlMs: 60_000, tags: [] }, CALL)],
        ['invalidate key', (key) => t.other.invalidate({ keys: [key] }, CALL)],
        ['invalidate namespace', () => t.other.invalidate({ namespaces: ['x'] }, CALL)],
      ];
      for (const [what, cross] of crossings) {
        const key = `x:${what}`;
        const granted = await token(key); //                       1. a miss; the load reads the old row
        await cross(key); //                                       2. the row changes, and the cache is told
        assert.equal(await fill(key, 'old', granted), false, what); // 3. the load must not be stored
        if (what === 'set') assert.equal(text((await hit(key)).value), 'newer');
        else await miss(key);
        if (what !== 'set') assert.notEqual(await lease(key, t.store, 1), what === 'invalidate namespace' ? '' : null);
      }
    });

    test('a tag that is known only after the load voids it too', async () => {
      const granted = await token('tag:42');
      await t.other.invalidate({ tags: ['org:7'] }, CALL);
      assert.equal(await fill('tag:42', 'old', granted, ['org:7']), false);
      const next = await token('tag:43');
      await t.other.invalidate({ tags: ['org:8'] }, CALL);
      assert.equal(
        await fill('tag:43', 'fine', next, ['org:7']),
        true,
        'an invalidation of before the lease, or of another tag, does not',
      );
    });

    test('a tag and a namespace take everything that carries them and nothing else', async () => {
      await put('n1:1', 'x', ['red', 'blue']);
      await put('n1:2', 'x', ['blue']);
      await put('n2:1', 'x', ['red']);
      await put('n10:1', 'x');
      await t.store.invalidate({ tags: ['red'] }, CALL);
      await miss('n1:1');
      await miss('n2:1');
      await hit('n1:2');
      await t.store.invalidate({ namespaces: ['n1'] }, CALL);
      await miss('n1:2');
      await hit('n10:1');
      await put('n1:2', 'new', ['red', 'blue']);
      assert.equal(text((await hit('n1:2')).value), 'new', 'what is stored afterwards lives');
      await t.store.invalidate({ keys: ['n10:1'], tags: ['blue'], namespaces: ['n2', ''] }, CALL);
      await miss('n10:1');
      await miss('n1:2');
    });

    test('a batch of fills is judged one by one', async () => {
      const keys = ['f:1', 'f:2', 'f:3'];
      const results = await t.store.read(keys, LEASE);
      await t.other.delete(['f:2'], CALL);
      const entries = keys.map((key, i) => {
        const result = results[i]!;
        assert.ok(result.kind === 'miss' && result.lease !== null);
        return { key, value: bytes(key), ttlMs: 60_000, tags: [], lease: result.lease };
      });
      assert.deepEqual(await t.store.fill(entries, CALL), [true, false, true]);
      assert.equal(text((await hit('f:3')).value), 'f:3');
    });

    test('a token of another key or of no store is refused', async () => {
      const granted = await token('t:1');
      assert.equal(await fill('t:2', 'x', granted), false);
      assert.equal(await fill('t:1', 'x', '123-456'), false);
    });

    test('what cannot be stored leaves nothing old behind', async () => {
      await put('big:1', 'old');
      const huge = new Uint8Array(9 * 1024 ** 2);
      await assert.rejects(t.store.set('big:1', huge, { ttlMs: 60_000, tags: [] }, { timeoutMs: 5_000 }));
      await miss('big:1');
    });

    test('a version never replaces a later one, in whatever order they arrive; the same one changes nothing', async () => {
      const key = 'v:order';
      assert.equal(await putVersion(key, 'seven', 7n), 'stored');
      assert.equal(await putVersion(key, 'nine', 9n, t.other), 'stored');
      assert.equal(await putVersion(key, 'eight', 8n), 'older');
      assert.equal(await putVersion(key, 'nine again', 9n), 'same');
      assert.equal(text((await hit(key)).value), 'nine');
      const huge = 2n ** 64n - 1n;
      assert.equal(await putVersion(key, 'huge', huge), 'stored');
      assert.equal(await putVersion(key, 'huge less one', huge - 1n, t.other), 'older');
      assert.equal(text((await hit(key)).value), 'huge');
      assert.equal(await putVersion('v:zero', 'zero', 0n), 'stored');
      assert.equal(await putVersion('v:zero', 'one', 1n), 'stored');
    });

    test('after a delete: an older version does nothing, the deleted one is not sure, a later one is stored', async () => {
      const key = 'v:deleted';
      await putVersion(key, 'five', 5n, t.store, ['v-tag']);
      assert.equal(await t.store.delete([key], CALL), 1);
      await miss(key);
      assert.equal(await t.store.delete([key], CALL), 0, 'what is remembered of it is no entry');
      assert.equal(await putVersion(key, 'four', 4n, t.other), 'older');
      await miss(key);
      assert.equal(await putVersion(key, 'five', 5n), 'unsure');
      await miss(key);
      assert.equal(await putVersion(key, 'six', 6n, t.store, ['v-tag']), 'stored');
      assert.equal(text((await hit(key)).value), 'six');
      await t.store.invalidate({ tags: ['v-tag'] }, CALL);
      await miss(key);
      assert.equal(await putVersion(key, 'five', 5n), 'older');
      const again = await putVersion(key, 'six', 6n);
      assert.ok(again === 'same' || again === 'unsure', again);
      await miss(key);
      assert.equal(await putVersion(key, 'seven', 7n), 'stored');
      assert.equal(text((await hit(key)).value), 'seven');
    });

    test('a versioned set voids the load under way; a refused one leaves it good; a fill remembers what was there', async () => {
      const key = 'v:crossed';
      const crossed = await token(key); //                     1. a miss; the load reads row version 1
      await putVersion(key, 'two', 2n, t.other); //            2. the row is changed to version 2 and written through
      assert.equal(await fill(key, 'one', crossed), false); // 3. the load must not be stored
      assert.equal(text((await hit(key)).value), 'two');
      await t.store.delete([key], CALL);
      const good = await token(key);
      assert.equal(await putVersion(key, 'one', 1n, t.other), 'older');
      assert.equal(await fill(key, 'loaded', good), true);
      assert.equal(await putVersion(key, 'one', 1n, t.other), 'older');
      assert.equal(text((await hit(key)).value), 'loaded');
      // The one that was deleted: which of the two is newer cannot be told.
      assert.equal(await putVersion(key, 'two', 2n, t.other), 'unsure');
      await miss(key);
      assert.equal(await putVersion(key, 'three', 3n, t.other), 'stored');
    });

    test('a write without a version is stored, and an older version does not come back over it', async () => {
      const key = 'v:plain';
      await putVersion(key, 'five', 5n);
      assert.equal(await put(key, 'plain', ['v-plain']), 'stored');
      assert.equal(await putVersion(key, 'four', 4n), 'older');
      assert.equal(text((await hit(key)).value), 'plain');
      await t.store.invalidate({ tags: ['v-plain'] }, CALL);
      await miss(key);
      const [renewed] = await t.store.read([key], LEASE);
      assert.ok(renewed?.kind === 'miss' && renewed.lease !== null);
      await t.store.release([{ key, lease: renewed.lease }], CALL);
      assert.equal(await putVersion(key, 'four', 4n), 'older', 'neither a lease nor its end forgets the version');
      assert.equal(await putVersion(key, 'six', 6n), 'stored');
    });

    test('an aborted call settles with the signal’s reason', async () => {
      const reason = new Error('changed my mind');
      for (const call of [
        (signal: AbortSignal) => t.store.read(['s:1'], { ...LEASE, signal }),
        (signal: AbortSignal) => t.store.delete(['s:1'], { ...CALL, signal }),
        (signal: AbortSignal) => t.store.invalidate({ tags: ['s'] }, { ...CALL, signal }),
      ]) {
        await assert.rejects(call(AbortSignal.abort(reason)), (error) => error === reason);
      }
    });

    test('stats are numbers', async () => {
      const stats = await t.store.stats(CALL);
      for (const name of ['hits', 'misses', 'entries', 'usedBytes', 'memoryBytes', 'leasesGranted', 'leasesRefused']) {
        assert.equal(typeof stats[name], 'number', name);
        assert.ok(Number.isFinite(stats[name]), name);
      }
    });

    test('closed: calls are refused with a code, and closing twice is once', async () => {
      const store = await t.fresh();
      await store.set('c:1', bytes('x'), { ttlMs: null, tags: [] }, CALL);
      await store.close();
      await store.close();
      for (const call of [
        store.read(['c:1'], LEASE),
        store.set('c:1', bytes('x'), { ttlMs: null, tags: [] }, CALL),
        store.delete(['c:1'], CALL),
        store.invalidate({ keys: ['c:1'] }, CALL),
        store.stats(CALL),
      ]) {
        await assert.rejects(call, { code: 'STORE_CLOSED' });
      }
    });
  });
}
