import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type Priority, type Waiter, WaitQueue } from './queue.ts';

interface Named extends Waiter {
  readonly name: number;
}

function waiter(name: number, priority: Priority): Named {
  return { name, priority, next: null, previous: null, queued: false };
}

describe('a queue of two priorities', () => {
  test('foreground first, but after so many in a row one of the background', () => {
    const queue = new WaitQueue<Named>(100, 3);
    for (let i = 0; i < 3; i += 1) queue.join(waiter(100 + i, 'background'));
    for (let i = 0; i < 8; i += 1) queue.join(waiter(i, 'foreground'));
    const order: number[] = [];
    for (let next = queue.take(true); next !== null; next = queue.take(true)) order.push(next.name);
    assert.deepEqual(order, [0, 1, 2, 100, 3, 4, 5, 101, 6, 7, 102]);
  });

  test('background that may not go is not being passed over', () => {
    const queue = new WaitQueue<Named>(100, 2);
    queue.join(waiter(100, 'background'));
    for (let i = 0; i < 6; i += 1) queue.join(waiter(i, 'foreground'));
    const order = [false, false, false, true, true, true, false].map((mayGo) => queue.take(mayGo)?.name);
    assert.deepEqual(order, [0, 1, 2, 3, 4, 100, 5]);
    assert.equal(queue.take(true), null);
    queue.join(waiter(101, 'background'));
    assert.equal(queue.take(false), null);
  });

  test('full: background is turned away; foreground pushes out the youngest background, then is turned away too', () => {
    const queue = new WaitQueue<Named>(3, 4);
    const [a, b, c] = [waiter(1, 'background'), waiter(2, 'background'), waiter(3, 'foreground')];
    for (const each of [a, b, c]) assert.equal(queue.join(each), null);
    const late = waiter(4, 'background');
    assert.equal(queue.join(late), late);
    assert.equal(queue.join(waiter(5, 'foreground')), b);
    assert.equal(queue.join(waiter(6, 'foreground')), a);
    const last = waiter(7, 'foreground');
    assert.equal(queue.join(last), last);
    assert.equal(queue.length, 3);
  });
});

test('as a model of two arrays: nothing lost, nothing twice, order kept, any may leave, nobody starves', () => {
  const step = fc.oneof(
    fc.constantFrom('foreground' as const, 'background' as const),
    fc.constant('take' as const),
    fc.nat(50),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200, size: 'max' }), fc.integer({ min: 0, max: 12 }), (steps, capacity) => {
      const every = 3;
      const queue = new WaitQueue<Named>(capacity, every);
      const model: Record<Priority, Named[]> = { foreground: [], background: [] };
      let passedOver = 0;
      for (const [index, action] of steps.entries()) {
        if (action === 'take') {
          const taken = queue.take(true);
          const turn = model.background.length > 0 && passedOver === every;
          const expected = (turn ? undefined : model.foreground.shift()) ?? model.background.shift() ?? null;
          assert.equal(taken, expected);
          passedOver = expected?.priority === 'foreground' ? passedOver + 1 : 0;
        } else if (typeof action === 'number') {
          const all = [...model.foreground, ...model.background];
          const leaving = all[action % Math.max(1, all.length)];
          if (leaving === undefined) continue;
          queue.leave(leaving);
          model[leaving.priority] = model[leaving.priority].filter((each) => each !== leaving);
        } else {
          const joining = waiter(index, action);
          const out = queue.join(joining);
          let expected: Named | null = null;
          if (model.foreground.length + model.background.length >= capacity) {
            expected = (action === 'foreground' ? model.background.pop() : undefined) ?? joining;
          }
          assert.equal(out, expected);
          if (out !== joining) model[action].push(joining);
        }
        if (model.background.length === 0) passedOver = 0;
        assert.equal(queue.count('foreground'), model.foreground.length);
        assert.equal(queue.count('background'), model.background.length);
      }
    }),
    { numRuns: 300 },
  );
});
