/**
 * What every sink promises (src/cache/data-source.ts), as one suite that every maker passes: `write` for policy `through`, `ordered` for policy `behind`.
 * (`upsert` and `delete`, for policy `aside`, are in source-contract.ts.)
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import type { OrderedChange, Sink } from '../../src/cache/index.ts';

export interface Item {
  readonly id: string;
  readonly name: string;
}

/** A table whose rows may not have the name `bad`. */
export interface SinkUnderTest {
  readonly sink: Sink<Item>;
  /** Another process's, of the same table. */
  readonly other: Sink<Item>;
  /** Of another table of the same database. */
  readonly neighbour: Sink<Item>;
  /** What the table says, straight from the database. */
  rows(): Promise<Record<string, string>>;
  /** From now on the database cannot be reached, until what this gives is called. */
  away(): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

const REFUSED: readonly unknown[] = ['SOURCE_REFUSED', 'SOURCE_ROW_INVALID', 'SOURCE_KEY_INVALID'];
const isRefused = (error: unknown): boolean => REFUSED.includes((error as { code?: unknown }).code);
const isAway = (error: unknown): boolean => !isRefused(error);

type Change = readonly [id: string, name: string | null];
type Versioned = readonly [id: string, version: number, name: string | null];
const item = (id: string, name: string | null): Item | null => (name === null ? null : { id, name });
const changes = (...list: readonly Change[]) => new Map(list.map(([id, name]) => [id, item(id, name)] as const));
const ordered = (...list: readonly Versioned[]): Map<string, OrderedChange<Item>> =>
  new Map(list.map(([id, version, name]) => [id, { version, value: item(id, name) }]));
const sorted = (map: ReadonlyMap<string, unknown>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));

/** @param numRuns of the property: a real database has fewer */
export function sinkContract(
  name: string,
  open: () => Promise<SinkUnderTest>,
  { skip, numRuns }: { readonly skip: string | false; readonly numRuns: number },
): void {
  describe(`sink contract: ${name}`, { skip, timeout: 300_000 }, () => {
    let t: SinkUnderTest;
    before(async () => {
      t = await open();
    });
    after(() => t?.close());

    describe('write-through', () => {
      const write = (...list: readonly Change[]) => t.sink.write!(changes(...list));

      test('rows and deletions in one call; the rows as they are afterwards come back', async () => {
        assert.deepEqual(sorted(await write(['t1', 'one'], ['t2', 'two'])), [
          ['t1', { id: 't1', name: 'one' }],
          ['t2', { id: 't2', name: 'two' }],
        ]);
        const answer = await write(['t1', null], ['t2', 'deux'], ['t3', null]);
        assert.deepEqual(sorted(answer), [
          ['t1', null],
          ['t2', { id: 't2', name: 'deux' }],
          ['t3', null],
        ]);
        const { t1, t2 } = await t.rows();
        assert.deepEqual([t1, t2], [undefined, 'deux']);
        assert.deepEqual([...(await t.sink.write!(new Map()))], []);
      });

      test('what is refused takes all of its call along, and is told by a code', async () => {
        await write(['t4', 'before']);
        await assert.rejects(write(['t4', 'after'], ['t5', 'bad'], ['t2', null]), isRefused);
        await assert.rejects(t.sink.write!(new Map([['t4', { id: 'other', name: 'x' }]])), isRefused);
        const { t2, t4, t5 } = await t.rows();
        assert.deepEqual([t2, t4, t5], ['deux', 'before', undefined]);
      });

      test('writers at once: all rows of a call are of one writer', async () => {
        const ids = Array.from({ length: 30 }, (_, n) => `w${n}`);
        const writers = ['a', 'b', 'c', 'd'];
        const answers = await Promise.all(
          writers.map((who, at) => {
            const list = at % 2 === 0 ? ids : [...ids].reverse();
            return (at % 2 === 0 ? t.sink : t.other).write!(changes(...list.map((id) => [id, who] as const)));
          }),
        );
        answers.forEach((answer, at) => {
          assert.deepEqual(new Set([...answer.values()].map((row) => row?.name)), new Set([writers[at]]));
        });
        const now = await t.rows();
        assert.equal(new Set(ids.map((id) => now[id])).size, 1);
      });

      test('a signal that came before, and a database that is away: nothing is written, and it is no refusal', async () => {
        const signal = AbortSignal.abort();
        await assert.rejects(t.sink.write!(changes(['t4', 'no']), { signal }), isAway);
        const back = await t.away();
        await assert.rejects(write(['t4', 'no']), isAway);
        await back();
        assert.equal((await t.rows())['t4'], 'before');
        await write(['t4', 'on']);
        assert.equal((await t.rows())['t4'], 'on');
      });
    });

    describe('write-behind', () => {
      const apply = async (...list: readonly Versioned[]) => sorted(await t.sink.ordered!.apply(ordered(...list)));

      test('late, twice, deleted: only a later version changes anything, and what is there now is told', async () => {
        assert.deepEqual(await apply(['b1', 5, 'five'], ['b2', 6, 'six']), [
          ['b1', 5],
          ['b2', 6],
        ]);
        assert.deepEqual(await apply(['b1', 4, 'four'], ['b2', 6, 'six again'], ['b3', 7, null]), [
          ['b1', 5],
          ['b2', 6],
          ['b3', 7],
        ]);
        assert.deepEqual(await apply(['b1', 9, null], ['b3', 6, 'too late']), [
          ['b1', 9],
          ['b3', 7],
        ]);
        assert.deepEqual(await apply(['b1', 8, 'too late']), [['b1', 9]]);
        const { b1, b2, b3 } = await t.rows();
        assert.deepEqual([b1, b2, b3], [undefined, 'six', undefined]);
        assert.deepEqual(await apply(['b1', 10, 'back']), [['b1', 10]]);
        assert.equal((await t.rows())['b1'], 'back');
        const large = Number.MAX_SAFE_INTEGER;
        assert.deepEqual(await apply(['b4', large, 'last'], ['b5', 1, 'first']), [
          ['b4', large],
          ['b5', 1],
        ]);
        assert.deepEqual(await apply(['b4', large - 1, 'no']), [['b4', large]]);
        assert.deepEqual(await apply(), []);
      });

      test('applied: the version of each id that has one, deleted ones too, in every process', async () => {
        assert.deepEqual(sorted(await t.other.ordered!.applied(['b1', 'b2', 'b3', 'nobody'])), [
          ['b1', 10],
          ['b2', 6],
          ['b3', 7],
        ]);
        assert.deepEqual([...(await t.sink.ordered!.applied([]))], []);
        assert.deepEqual([...(await t.neighbour.ordered!.applied(['b1']))], [], 'tables have orders of their own');
      });

      test('a row that is refused takes its batch along, its version too', async () => {
        await assert.rejects(apply(['c1', 20, 'good'], ['c2', 21, 'bad']), isRefused);
        assert.deepEqual([...(await t.sink.ordered!.applied(['c1', 'c2']))], []);
        assert.equal((await t.rows())['c1'], undefined);
        await apply(['c1', 20, 'good']);
        assert.equal((await t.rows())['c1'], 'good', 'its version was not used up');
        if (t.sink.ordered!.accept !== undefined) {
          assert.throws(() => t.sink.ordered!.accept!('c1', { id: 'c9', name: 'x' }), isRefused);
          t.sink.ordered!.accept('c1', { id: 'c1', name: 'x' });
        }
      });

      test('a signal that came before, and a database that is away: no refusal, all or nothing, and it may come again', async () => {
        const change = ordered(['c3', 30, 'thirty'], ['c4', 30, 'thirty']);
        await assert.rejects(t.sink.ordered!.apply(change, { signal: AbortSignal.abort() }), isAway);
        const back = await t.away();
        for (const call of [
          () => t.sink.ordered!.apply(change),
          () => t.sink.ordered!.applied(['c3']),
          () => t.sink.ordered!.epoch(1, 1),
        ]) {
          await assert.rejects(call(), isAway);
        }
        await back();
        const { c3, c4 } = await t.rows();
        assert.deepEqual([c3, c4], [undefined, undefined]);
        await t.sink.ordered!.apply(change);
        await t.sink.ordered!.apply(change);
        assert.equal((await t.rows())['c3'], 'thirty');
      });

      test('a call that is cut off in the middle is done or not, as a whole', async () => {
        for (let round = 0; round < 10; round += 1) {
          const abort = new AbortController();
          const ids = Array.from({ length: 20 }, (_, n) => `x${n}`);
          const version = 100 + round;
          const applying = t.sink.ordered!.apply(ordered(...ids.map((id) => [id, version, String(version)] as const)), {
            signal: abort.signal,
          });
          for (let turns = 0; turns < 3 * round; turns += 1) await new Promise((resolve) => setImmediate(resolve));
          abort.abort();
          await applying.then(
            () => undefined,
            (error: unknown) => assert.ok(isAway(error)),
          );
          const [versions, now] = [await t.sink.ordered!.applied(ids), await t.rows()];
          const seen = new Set(ids.map((id) => `${versions.get(id) ?? 'none'} ${now[id] ?? 'none'}`));
          assert.equal(seen.size, 1, [...seen].join(', '));
          const [[of, says] = []] = [...seen].map((text) => text.split(' '));
          assert.equal(of, says, 'the row is that of its version');
        }
      });

      test('the epoch only rises, and two who raise it never get the same', async () => {
        const [mine, theirs] = [t.sink.ordered!, t.other.ordered!];
        const first = await mine.epoch(1, 1);
        const drawn = await Promise.all(Array.from({ length: 10 }, (_, n) => (n % 2 ? mine : theirs).epoch(1, 1)));
        assert.deepEqual(
          drawn.sort((a, b) => a - b),
          Array.from({ length: 10 }, (_, n) => first + 1 + n),
        );
        assert.equal(await mine.epoch(0, first), first + 10);
        assert.equal(await mine.epoch(0, first + 50), first + 50);
        assert.equal(await theirs.epoch(1, 1), first + 51);
        assert.ok((await t.neighbour.ordered!.epoch(1, 1)) <= first, 'tables have epochs of their own');
      });

      test('target: one name for all processes of a table, another one for another table', async () => {
        const target = await t.sink.ordered!.target();
        assert.equal(await t.other.ordered!.target(), target);
        assert.notEqual(await t.neighbour.ordered!.target(), target);
      });

      test('whatever is sent, by whom, in any order, at once and again: each row is that of its last version', async () => {
        const change = fc.record({ id: fc.integer({ min: 0, max: 3 }), isGone: fc.boolean() });
        const batch = fc.uniqueArray(change, { selector: ({ id }) => id, minLength: 1, maxLength: 4 });
        const sent = fc.array(fc.record({ batch, again: fc.boolean(), other: fc.boolean(), at: fc.nat(99) }), {
          minLength: 1,
          maxLength: 12,
        });
        let run = 0;
        await fc.assert(
          fc.asyncProperty(sent, async (list) => {
            run += 1;
            const idOf = (id: number): string => `p${run}-${id}`;
            const last = new Map<string, readonly [version: number, name: string | null]>();
            const calls: { readonly at: number; send(): Promise<unknown> }[] = [];
            list.forEach((one, index) => {
              const version = index + 1;
              const name = `v${version}`;
              const list = one.batch.map(({ id, isGone }): Versioned => [idOf(id), version, isGone ? null : name]);
              for (const [id, , value] of list) last.set(id, [version, value]);
              const sink = (one.other ? t.other : t.sink).ordered!;
              const send = () => sink.apply(ordered(...list));
              calls.push({ at: one.at, send });
              if (one.again) calls.push({ at: 99 - one.at, send });
            });
            calls.sort((a, b) => a.at - b.at);
            await Promise.all(calls.map(({ send }) => send()));
            const now = await t.rows();
            const versions = await t.sink.ordered!.applied([...last.keys()]);
            for (const [id, [version, value]] of last) {
              assert.deepEqual([versions.get(id), now[id] ?? null], [version, value]);
            }
          }),
          { numRuns },
        );
      });
    });
  });
}
