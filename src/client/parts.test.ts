import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AssertionError } from '../base/assert.ts';
import { SeededRandom } from '../base/random.ts';
import { backOffMs } from './back-off.ts';
import { Ring } from './ring.ts';
import { type ClientState, nextAttempt, transition } from './state.ts';

test('a ring is an array', () => {
  const operation = fc.oneof(
    fc.record({ op: fc.constantFrom('push', 'unshift'), value: fc.nat() }),
    fc.record({ op: fc.constantFrom('shift', 'peek', 'drain'), value: fc.constant(0) }),
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
      const ring = new Ring<number>();
      const model: number[] = [];
      for (const { op, value } of operations) {
        if (op === 'push') {
          ring.push(value);
          model.push(value);
        } else if (op === 'unshift') {
          ring.unshift(value);
          model.unshift(value);
        } else if (op === 'shift') assert.equal(ring.shift(), model.shift());
        else if (op === 'peek') assert.equal(ring.peek(), model[0]);
        else if (value % 7 === 0 && model.length > 30) assert.deepEqual(ring.drain(), model.splice(0));
        assert.equal(ring.length, model.length);
        assert.equal(ring.at(model.length >> 1), model[model.length >> 1]);
      }
    }),
  );
});

test('back-off stays within its bounds, doubles them, and uses all of them', () => {
  const random = new SeededRandom(7);
  const backOff = { baseMs: 50, capMs: 2000 };
  for (let attempt = 0; attempt < 50; attempt += 1) {
    const bound = Math.min(2000, 50 * 2 ** attempt);
    let largest = 0;
    for (let i = 0; i < 200; i += 1) {
      const ms = backOffMs(attempt, backOff, random);
      assert.ok(ms >= 0 && ms < bound);
      largest = Math.max(largest, ms);
    }
    assert.ok(largest > bound * 0.9);
  }
});

test('states: what may follow what, and that nothing else may', () => {
  const error = new Error('x');
  let state: ClientState = { kind: 'idle' };
  state = transition(state, { kind: 'connect' });
  state = transition(state, { kind: 'opened', protocol: 3, isCluster: false, nowMs: 10 });
  assert.equal(nextAttempt(state, 500), 1, 'a connection that did not last counts as a failure');
  assert.equal(nextAttempt(state, 5000), 0);
  state = transition(state, { kind: 'lost', error, attempt: 4, untilMs: 20 });
  state = transition(state, { kind: 'connect' });
  assert.deepEqual(state, { kind: 'connecting', attempt: 4 });
  assert.equal(nextAttempt(state, 0), 5);
  state = transition(state, { kind: 'close' });
  assert.throws(() => transition(state, { kind: 'connect' }), AssertionError);
  state = transition(state, { kind: 'closed' });
  for (const kind of ['connect', 'close', 'closed'] as const)
    assert.throws(() => transition(state, { kind }), AssertionError);
});
