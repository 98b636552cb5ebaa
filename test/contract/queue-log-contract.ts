/**
 * What every maker of a write-behind log promises (src/cache/write/queue-log.ts): kept when it says so, in whatever way the process ends, nothing invented, of each id the newest.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { cloneOf, type DeadLetter, type OpenQueue, type Queued, unclone } from '../../src/cache/write/queue-log.ts';

export interface QueueLogUnderTest {
  /** Opens what there is: after `close` the same, after `crash` what the dead process has left, all of it. */
  open(): Promise<OpenQueue>;
  /** The process ends, as by kill -9: nobody closes anything. What there is can then be opened. */
  crash(opened: OpenQueue): Promise<void>;
  /** As `crash`, and whatever keeps the log ends with it, and comes back. */
  crashAll?(opened: OpenQueue): Promise<void>;
  close(): Promise<void>;
}

export function queued(id: string, version: number, value: unknown = `${id} ${version}`): Queued {
  return { id, version, bytes: cloneOf(value, id), queuedAtMs: 1_700_000_000_000 + version };
}

export function contents({ log }: Pick<OpenQueue, 'log'>): Record<string, readonly [version: number, value: unknown]> {
  const all = [...log.pending()].map(({ id, version, bytes }) => [id, [version, unclone(bytes)]] as const);
  assert.equal(new Set(all.map(([id]) => id)).size, all.length, 'one write an id');
  return Object.fromEntries([...all].sort(([a], [b]) => (a < b ? -1 : 1)));
}

const letter = (id: string, version: number): DeadLetter => ({
  ...queued(id, version),
  diedAtMs: 1_700_000_000_500,
  code: 'SOURCE_REFUSED',
  message: `no ${id}`,
});

export function queueLogContract(
  name: string,
  make: () => Promise<QueueLogUnderTest>,
  { skip }: { readonly skip: string | false },
): void {
  describe(`queue log: ${name}`, { skip, timeout: 120_000 }, () => {
    let made: QueueLogUnderTest;
    before(async () => {
      made = await make();
    });
    after(() => made?.close());
    /** What a test leaves is not the next one's. */
    const emptied = async (opened: OpenQueue): Promise<void> => {
      opened.log.settle([...opened.log.pending()]);
      for (const one of opened.dead.list()) await opened.dead.remove(one);
      await opened.dead.close();
      await opened.log.close();
    };

    for (const [how, end] of [
      [
        'close',
        async ({ log, dead }: OpenQueue) => {
          await dead.close();
          await log.close();
        },
      ],
      ['crash', async (opened: OpenQueue) => await made.crash(opened)],
      ['crash of everything', async (opened: OpenQueue) => await (made.crashAll ?? made.crash)(opened)],
    ] as const) {
      test(`${how}: what was appended is pending, of each id the newest; what was settled may be, and nothing else`, async () => {
        const first = await made.open();
        assert.deepEqual(contents(first), {});
        await Promise.all([
          first.log.append(queued('a', 1)),
          first.log.append(queued('b', 2)),
          first.log.append(queued('a', 3)),
        ]);
        await first.log.append(queued('c', 4, null));
        await first.log.append(queued('b', 5));
        // Late: it was passed over by one that came before.
        await first.log.append(queued('c', 2));
        const expected = { a: [3, 'a 3'], b: [5, 'b 5'], c: [4, null] };
        assert.deepEqual(contents(first), expected);
        await end(first);
        const second = await made.open();
        assert.deepEqual(contents(second), expected);
        second.log.settle([queued('a', 3), queued('b', 2)]);
        assert.deepEqual(contents(second), { b: [5, 'b 5'], c: [4, null] }, 'b was settled up to an earlier version');
        await second.log.append(queued('d', 6));
        await end(second);
        const third = await made.open();
        const { a: _, ...rest } = contents(third);
        assert.deepEqual(rest, { b: [5, 'b 5'], c: [4, null], d: [6, 'd 6'] });
        await emptied(third);
      });
    }

    test('many at once, and large ones: each is there, letter for letter', async () => {
      const first = await made.open();
      const values = new Map<string, unknown>([
        ['nothing', null],
        ['empty', ''],
        ['large', 'x'.repeat(3 * 1024 ** 2)],
        ['typed', { at: new Date(5), big: 2n ** 70n, bytes: new Uint8Array([0, 255, 10, 13]), set: new Set([1, 'é']) }],
        ['ключ 钥匙 🔑', [undefined, Number.NaN, -0]],
      ]);
      for (let n = 0; n < 1_500; n += 1) values.set(`row ${n}`, { n });
      await Promise.all([...values].map(([id, value], at) => first.log.append(queued(id, at + 1, value))));
      assert.ok(first.log.bytes > 3 * 1024 ** 2);
      await made.crash(first);
      const second = await made.open();
      const found = new Map([...second.log.pending()].map(({ id, bytes }) => [id, unclone(bytes)]));
      assert.deepEqual(new Map([...found].sort()), new Map([...values].sort()));
      second.log.settle([...second.log.pending()].slice(0, 1_000));
      await emptied(second);
      const third = await made.open();
      assert.deepEqual(contents(third), {});
      await emptied(third);
    });

    test('dead letters stay until they are removed, several of one row too', async () => {
      const first = await made.open();
      for (const one of [letter('a', 1), letter('b', 2), letter('a', 3)]) await first.dead.add(one);
      await first.dead.remove(letter('b', 2));
      const expected = [letter('a', 1), letter('a', 3)];
      const versions = ({ dead }: OpenQueue) => dead.list().sort((x, y) => x.version - y.version);
      assert.deepEqual([versions(first), first.dead.size], [expected, 2]);
      await made.crash(first);
      const second = await made.open();
      assert.deepEqual(
        versions(second).map((one) => ({ ...one, bytes: unclone(one.bytes) })),
        expected.map((one) => ({ ...one, bytes: unclone(one.bytes) })),
      );
      await second.dead.close();
      await second.log.close();
      const third = await made.open();
      assert.equal(third.dead.size, 2);
      await emptied(third);
      const fourth = await made.open();
      assert.equal(fourth.dead.size, 0);
      await emptied(fourth);
    });

    test('what only one process can have is certain', async () => {
      const opened = await made.open();
      await opened.log.append(queued('a', 1));
      assert.deepEqual([opened.log.isSole, opened.log.failure, opened.log.lastError], [true, null, null]);
      await emptied(opened);
    });
  });
}
