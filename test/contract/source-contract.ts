/**
 * What every source promises (src/sources/port.ts), as one suite that every maker passes: the loader, of one id and of batches, and the sink where there is
 * one. A plain function that loads is held to what a cache relies on; it has no codes of its own.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createBreakwater, type Loader, NOT_MODIFIED, Validated } from '../../src/cache/index.ts';
import type { DataSource, WritableSource } from '../../src/sources/port.ts';

export interface Item {
  readonly id: string;
  readonly name: string;
}

/** A source over a database with room for items; ids are decimal numbers. */
export interface SourceUnderTest {
  readonly source: DataSource<Item> | WritableSource<Item> | { readonly load: Loader<string, Item> };
  /** Straight in the database, behind the source's back. */
  put(item: Item): Promise<void>;
  remove(id: string): Promise<void>;
  /** From now on the database does not answer until what this gives is called. */
  stall(): Promise<() => Promise<void>>;
  /** What the database still works at for us. */
  busy(): Promise<number>;
  close(): Promise<void>;
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 120_000;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, 'within two minutes');
    await new Promise(setImmediate);
  }
}

const never = new AbortController().signal;
const NOTHING = new Map<string, unknown>();

/** @param answers whether the source answers "not modified" */
export function sourceContract(
  name: string,
  open: () => Promise<SourceUnderTest>,
  { skip, revalidates }: { readonly skip: string | false; readonly revalidates: boolean },
): void {
  describe(`source contract: ${name}`, { skip }, () => {
    let t: SourceUnderTest;
    before(async () => {
      t = await open();
    });
    after(() => t?.close());

    /** What the source will know each value by, as a cache keeps it beside the value. */
    const validators = new Map<string, string>();
    const load = async (ids: readonly string[], stale: ReadonlyMap<string, unknown> = NOTHING, signal = never) => {
      const shown = new Map<string, string>();
      for (const [id, value] of stale) {
        const validator = validators.get(JSON.stringify(value));
        if (validator !== undefined) shown.set(id, validator);
      }
      const result = await t.source.load(Object.freeze([...ids]), { signal, stale, validators: shown });
      const answer = (id: string, at: number): unknown =>
        Array.isArray(result) ? result[at] : (result as ReadonlyMap<string, unknown>).get(id);
      return ids.map((id, at) => {
        const one = answer(id, at) ?? null;
        if (!(one instanceof Validated)) return one;
        validators.set(JSON.stringify(one.value), one.validator);
        return one.value;
      });
    };
    const isAborted =
      () =>
      (error: unknown): boolean =>
        !('check' in t.source) || (error as { code?: string }).code === 'SOURCE_ABORTED';
    const names = (answers: readonly unknown[]) => answers.map((one) => (one as Item | null)?.name ?? null);

    test('check() passes', async () => {
      if ('check' in t.source) await t.source.check();
    });

    test('each id is answered by its own row, and null where there is none', async () => {
      for (const id of ['1', '2', '3']) await t.put({ id, name: `name ${id}` });
      assert.deepEqual(names(await load(['3', '99', '1', '2'])), ['name 3', null, 'name 1', 'name 2']);
      assert.deepEqual(names(await load(['2'])), ['name 2']);
      await t.remove('2');
      assert.deepEqual(names(await load(['2', '3'])), [null, 'name 3']);
    });

    test('another spelling of an id is never the row', async () => {
      await t.put({ id: '42', name: 'forty-two' });
      for (const id of ['042', '+42', ' 42', '42 ', '4e1', '0x2a', '42.0', '', "42' OR true --"]) {
        const [one] = await load([id]).catch((error: unknown) => [error]);
        assert.ok(one === null || one instanceof Error, `${JSON.stringify(id)} gave ${JSON.stringify(one)}`);
        const [neighbour] = await load(['42']);
        assert.equal((neighbour as Item).name, 'forty-two');
      }
    });

    test('a batch: each id by its own row whatever the order, those without a row absent, and a bad id alone', async () => {
      for (let id = 100; id < 160; id += 1) await t.put({ id: String(id), name: `name ${id}` });
      const ids = Array.from({ length: 120 }, (_, i) => String(100 + ((i * 37) % 120)));
      const expected = ids.map((id) => (Number(id) < 160 ? `name ${id}` : null));
      assert.deepEqual(names(await load(ids)), expected);
      const [one, bad, two] = await load(['101', 'no such id', '102']);
      assert.ok(bad === null || bad instanceof Error);
      assert.deepEqual(names([one, two]), ['name 101', 'name 102']);
      // Several batches at once, which have ids in common.
      const several = await Promise.all([load(ids), load([...ids].reverse()), load(ids.slice(0, 7))]);
      assert.deepEqual(several.map(names), [expected, [...expected].reverse(), expected.slice(0, 7)]);
    });

    test('behind a declared cache, getMany: every id its own row, also through maxBatch', async () => {
      const bw = createBreakwater();
      try {
        const items = bw.cache<Item>('item', { load: t.source.load, maxBatch: 16, loadTimeout: '60s' });
        const ids = Array.from({ length: 60 }, (_, i) => String(120 + i));
        const all = await items.getMany(ids);
        assert.deepEqual(
          ids.map((id) => all.get(id)?.name ?? null),
          ids.map((id) => (Number(id) < 160 ? `name ${id}` : null)),
        );
      } finally {
        await bw.close();
      }
    });

    test('behind a declared cache: one value, an absence, and a change that an invalidation shows', async () => {
      const bw = createBreakwater();
      try {
        const items = bw.cache<Item>('item', { load: t.source.load, loadTimeout: '60s' });
        await t.put({ id: '7', name: 'old' });
        assert.equal((await items.get('7'))?.name, 'old');
        assert.equal(await items.get('70'), null);
        await items.write('7', () => t.put({ id: '7', name: 'new' }));
        assert.equal((await items.get('7'))?.name, 'new');
      } finally {
        await bw.close();
      }
    });

    test('what the cache still has: not modified only while it is the truth', async () => {
      await t.put({ id: '8', name: 'first' });
      await t.put({ id: '9', name: 'other' });
      const [first] = await load(['8']);
      // As a cache keeps it.
      const stale = new Map([['8', JSON.parse(JSON.stringify(first))]]);
      const [again, other] = await load(['8', '9'], stale);
      if (revalidates) assert.equal(again, NOT_MODIFIED);
      else assert.deepEqual(again, first);
      assert.equal((other as Item).name, 'other');
      await t.put({ id: '8', name: 'second' });
      assert.equal(((await load(['8'], stale))[0] as Item).name, 'second');
      await t.remove('8');
      assert.deepEqual(await load(['8'], stale), [null]);
      await t.put({ id: '8', name: 'third' });
      assert.equal(((await load(['8'], stale))[0] as Item).name, 'third');
      // A value that this source did not make.
      assert.equal(((await load(['8'], new Map([['8', 'junk']])))[0] as Item).name, 'third');
    });

    test('a signal ends the call and what the database does for it; nothing is left behind', {
      timeout: 300_000,
    }, async () => {
      await t.put({ id: '1', name: 'one' });
      await load(['1']);
      await assert.rejects(load(['1'], NOTHING, AbortSignal.abort()), isAborted());
      const go = await t.stall();
      try {
        for (let round = 0; round < 5; round += 1) {
          const abort = new AbortController();
          const loading = assert.rejects(load(['1'], NOTHING, abort.signal), isAborted());
          await until(async () => (await t.busy()) > 0);
          abort.abort();
          await loading;
          await until(async () => (await t.busy()) === 0);
        }
      } finally {
        await go();
      }
      assert.deepEqual(names(await load(['1'])), ['one']);
    });

    test('the sink, where there is one: many rows at once, writers at once, and a signal that came before', async () => {
      if (!('sink' in t.source)) return;
      const { sink } = t.source;
      const rows = Array.from({ length: 300 }, (_, i) => String(1_000 + i));
      const written = await sink.upsert(new Map(rows.map((id) => [id, { id, name: `row ${id}` }])));
      assert.equal(written.size, rows.length);
      assert.deepEqual(
        names(await load(rows)),
        rows.map((id) => `row ${id}`),
      );
      const writers = ['a', 'b', 'c', 'd'];
      await Promise.all(writers.map((name) => sink.upsert(new Map(rows.map((id) => [id, { id, name }])))));
      const after = new Set(names(await load(rows)));
      assert.equal(after.size, 1, 'one of them was last, of all its rows');
      assert.ok(writers.includes([...after][0]!));
      const signal = AbortSignal.abort();
      await assert.rejects(sink.upsert(new Map([['1000', { id: '1000', name: 'no' }]]), { signal }), isAborted());
      await assert.rejects(sink.delete(['1000'], { signal }), isAborted());
      assert.ok(after.has(names(await load(['1000']))[0]!));
      assert.equal((await sink.delete(rows)).size, rows.length);
      assert.deepEqual(new Set(await load(rows)), new Set([null]));
    });

    test('the sink, where there is one: what it has written is there, what it has deleted is not', async () => {
      if (!('sink' in t.source)) return;
      const { sink } = t.source;
      const row = (id: string, name: string) => [id, { id, name }] as const;
      const first = await sink.upsert(new Map([row('21', 'a'), row('20', 'b')]));
      assert.deepEqual([...first.keys()].sort(), ['20', '21']);
      assert.deepEqual(names(await load(['20', '21'])), ['b', 'a']);
      const second = await sink.upsert(new Map([row('20', 'c')]));
      assert.deepEqual(names(await load(['20', '21'])), ['c', 'a']);
      const [before, now] = [first.get('20'), second.get('20')];
      if (before !== null && before !== undefined) assert.ok(BigInt(now!) > BigInt(before), 'a version rises');
      const gone = await sink.delete(['20', '77']);
      assert.deepEqual([...gone], [['20', now]]);
      assert.deepEqual(names(await load(['20', '21'])), [null, 'a']);
      assert.deepEqual([...(await sink.upsert(new Map()))], []);
      assert.deepEqual([...(await sink.delete([]))], []);
      await assert.rejects(sink.upsert(new Map([row('22', 'x'), ['23', { id: '24', name: 'y' }]])), {
        code: 'SOURCE_ROW_INVALID',
      });
      assert.deepEqual(names(await load(['22'])), [null], 'all or nothing');
    });
  });
}
