import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LOCKS_FULL, LockTable } from './lock-table.ts';

const START = 1_700_000_000_000;

test('one holder at a time, by a model; tokens only grow', () => {
  const step = fc.record({
    what: fc.constantFrom('acquire', 'renew', 'release', 'wait'),
    name: fc.constantFrom('a', 'b'),
    owner: fc.constantFrom('x', 'y', 'z'),
    ms: fc.integer({ min: 1, max: 50 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const table = new LockTable();
      const model = new Map<string, { owner: string; until: number; token: number }>();
      let now = START;
      let last = 0;
      for (const { what, name, owner, ms } of steps) {
        const held = model.get(name);
        const live = held !== undefined && now < held.until ? held : null;
        const mine = live?.owner === owner;
        if (what === 'wait') now += ms;
        else if (what === 'renew') {
          assert.equal(table.renew(name, owner, ms, now), mine);
          if (mine) live.until = now + ms;
        } else if (what === 'release') {
          assert.equal(table.release(name, owner, now), mine);
          if (mine) model.delete(name);
        } else {
          const got = table.acquire(name, owner, ms, now);
          if (live === null) {
            assert.ok(got > last, 'a token above all before');
            last = got;
            model.set(name, { owner, until: now + ms, token: got });
          } else if (mine) {
            assert.equal(got, live.token);
            live.until = now + ms;
          } else assert.equal(got, -(live.until - now));
        }
      }
    }),
  );
});

test('full: refused until something expires; a table begun later has higher tokens', () => {
  const table = new LockTable({ capacity: 2 });
  assert.ok(table.acquire('a', 'x', 10, START) > 0);
  assert.ok(table.acquire('b', 'x', 20, START) > 0);
  assert.equal(table.acquire('c', 'x', 10, START), LOCKS_FULL);
  const last = table.acquire('c', 'x', 10, START + 10);
  assert.ok(last > 0);
  assert.equal(table.size, 2);
  assert.deepEqual(table.stats, { granted: 3, refused: 0, released: 0, expired: 1, full: 1 });
  assert.ok(new LockTable().acquire('a', 'x', 10, START + 11) > last);
});
