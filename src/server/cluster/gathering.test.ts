/** Who may form a cluster, of whom, and when not. Fake time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Member } from '../../cluster/member.ts';
import { type Answer, FRESH_MS, Gathering, listOf, PLEDGE_MS } from './gathering.ts';
import type { Address } from './sources.ts';

const idOf = (n: number): string => n.toString(16).padStart(40, '0');
function memberOf(n: number, zone = ''): Member {
  const ports = { port: 7379, httpPort: 8379, linkPort: 17_379 };
  return { id: idOf(n), host: `cache-${n}`, ...ports, zone, machine: '', weight: 1, incarnation: 1 };
}
const addressOf = (n: number): Address => ({ host: `10.0.0.${n}`, linkPort: 17_379 });
const setupOf = (members: readonly Member[]): string =>
  members
    .map(({ id }) => id)
    .sort()
    .join();
const gathers = (n: number): Answer => ({ kind: 'gathers', member: memberOf(n) });

function gathering(self: number, expect: number | null, settings = ''): Gathering {
  return new Gathering({ self: memberOf(self), expect, setupOf: (members) => setupOf(members) + settings });
}

/** It has found these and heard this of them. */
function seen(of: Gathering, answers: Readonly<Record<number, Answer>>, nowMs: number): Gathering {
  const numbers = Object.keys(answers).map(Number);
  of.onFound(numbers.map(addressOf), true, []);
  for (const n of numbers) of.onAnswer(addressOf(n), answers[n]!, nowMs);
  return of;
}

const waits = (of: Gathering, nowMs: number): string => {
  const plan = of.plan(nowMs);
  return plan.kind === 'wait' ? plan.why : `convenes ${plan.members.length}`;
};
const calls = (...numbers: number[]) => {
  const members = numbers.map((n) => memberOf(n));
  return { setup: setupOf(members), members: members.map(({ id }) => id) };
};

test('the one with the least id convenes, when all that are expected are there and nothing is in doubt', () => {
  const three = { 1: gathers(1), 2: gathers(2), 3: gathers(3) };
  assert.equal(waits(seen(gathering(1, 3), three, 0), 0), 'convenes 3');
  assert.match(waits(seen(gathering(2, 3), three, 0), 0), /formed by cache-1:17379/);
  assert.match(waits(seen(gathering(1, 4), three, 0), 0), /3 of 4/);
  assert.match(waits(seen(gathering(1, null), three, 0), 0), /without --expect/);
  // Who refuses connections is nobody; who does not answer may be of a cluster.
  assert.equal(waits(seen(gathering(1, 3), { ...three, 4: { kind: 'nobody' } }, 0), 0), 'convenes 3');
  const inDoubt = seen(gathering(1, 3), { ...three, 4: { kind: 'doubt', why: 'it did not answer in time' } }, 0);
  assert.match(waits(inDoubt, 0), /10\.0\.0\.4:17379: it did not answer/);
  // What was heard long ago is not known any more; what was not asked yet is not known either.
  assert.match(waits(seen(gathering(1, 3), three, 0), FRESH_MS + 1), /is being asked/);
  const early = seen(gathering(1, 3), three, 0);
  early.onFound([1, 2, 3, 4].map(addressOf), true, []);
  assert.match(waits(early, 0), /10\.0\.0\.4:17379 is being asked/);
  const failing = seen(gathering(1, 3), three, 0);
  failing.onFound([1, 2, 3].map(addressOf), false, ['dns:cache: no such name']);
  assert.equal(waits(failing, 0), 'dns:cache: no such name');
  // One member at two addresses is one.
  const twice = seen(gathering(1, 3), { 1: gathers(1), 2: gathers(2), 3: gathers(2) }, 0);
  assert.match(waits(twice, 0), /2 of 3/);
});

test('a member agrees to the list that it has found itself, and to one at a time', () => {
  const three = { 1: gathers(1), 2: gathers(2), 3: gathers(3) };
  const member = seen(gathering(2, 3), three, 0);
  assert.match(member.onConvened(calls(1, 2), 0)!, /found others: cache-2:17379 cache-1:17379 cache-3:17379/);
  assert.match(member.onConvened(calls(1, 2, 4), 0)!, /found others/);
  assert.match(member.onConvened({ ...calls(1, 2, 3), setup: 'another' }, 0)!, /was started with another/);
  assert.equal(member.onConvened(calls(1, 2, 3), 0), null);
  assert.equal(member.onConvened(calls(1, 2, 3), 10), null, 'asked twice');
  const four = { ...three, 4: gathers(4) };
  seen(member, four, PLEDGE_MS - 1);
  assert.match(member.onConvened(calls(1, 2, 3, 4), PLEDGE_MS - 1)!, /another list a moment ago/);
  seen(member, four, PLEDGE_MS + 10);
  assert.equal(member.onConvened(calls(1, 2, 3, 4), PLEDGE_MS + 10), null);
});

test('whatever each has seen, lists to which all of their members agree have no member in common', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.uniqueArray(fc.integer({ min: 1, max: 6 })), { minLength: 6, maxLength: 6 }),
      fc.array(fc.uniqueArray(fc.integer({ min: 1, max: 6 }), { minLength: 1 }), { maxLength: 12 }),
      (expect, views, lists) => {
        const all = views.map((view, index) =>
          seen(gathering(index + 1, expect), Object.fromEntries(view.map((n) => [n, gathers(n)])), 0),
        );
        const stand = lists.filter((list) => {
          const call = calls(...list);
          return list.map((n) => all[n - 1]!.onConvened(call, 0)).every((answer) => answer === null);
        });
        const members = new Map<number, string>();
        for (const list of stand) {
          const name = [...list].sort().join();
          assert.ok(list.length >= expect);
          for (const n of list) assert.equal(members.get(n) ?? name, name, `${n} is of two lists`);
          for (const n of list) members.set(n, name);
        }
      },
    ),
    { numRuns: 500 },
  );
});

test('zones take turns in the list, names are sorted as people count', () => {
  const members = [memberOf(10, 'a'), memberOf(2, 'a'), memberOf(1, 'b'), memberOf(3, 'a'), memberOf(4, 'c')];
  assert.deepEqual(
    listOf(members).map(({ host, zone }) => [host, zone]),
    [
      ['cache-1', 'b'],
      ['cache-2', 'a'],
      ['cache-4', 'c'],
      ['cache-3', 'a'],
      ['cache-10', 'a'],
    ],
  );
  const [first] = listOf([{ ...memberOf(1, 'z'), machine: 'rack', weight: 0 }]);
  assert.deepEqual(first, { id: idOf(1), host: 'cache-1', linkPort: 17_379, zone: 'z', machine: 'rack', weight: 0 });
});
