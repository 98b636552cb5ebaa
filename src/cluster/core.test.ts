import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClusterCore } from './core.ts';
import { NO_BALLOT } from './record.ts';
import { DEFAULT_TIMING } from './timing.ts';

const [A, B, C] = ['a', 'b', 'c'].map((letter) => letter.repeat(40)) as [string, string, string];

function core(isDurable: boolean): ClusterCore {
  return new ClusterCore({
    self: A,
    incarnation: 1,
    members: [A, B, C],
    voters: [A, B, C],
    rangeCount: 1,
    copies: 2,
    order: () => [A, B, C],
    timing: DEFAULT_TIMING,
    store: {
      apply() {},
      clear() {},
      beginSync() {},
      put() {},
      endSync() {},
      prepare() {},
      cut: () => ({ entries: [], cursor: -1 }),
    },
    isFounder: false,
    isDurable,
    restored: null,
    hasForgotten: false,
    nowMs: 0,
    balance: null,
  });
}

const ask = {
  kind: 'prepare',
  set: NO_BALLOT,
  claim: 1,
  epoch: 1,
  items: [{ range: 0, basis: NO_BALLOT, owner: null, isYielded: false }],
} as const;

test('a promise is written before it is given; so is what an acknowledgement shows of it', () => {
  const one = core(true);
  one.onMessage(B, ask, 1);
  const [write, answer] = one.take();
  assert.ok(write?.kind === 'write' && answer?.kind === 'send');
  assert.deepEqual([write.number, write.rows[0]?.promised], [1, { epoch: 1, node: B }]);
  assert.deepEqual([answer.to, answer.message.kind, answer.afterWrite], [B, 'promised', 1]);
  one.onMessage(
    C,
    { kind: 'heartbeat', incarnation: 1, sentMs: 5, life: 0, counter: 0, lagMs: 0, stance: 'here', known: NO_BALLOT },
    2,
  );
  const [ack] = one.take();
  assert.ok(ack?.kind === 'send' && ack.message.kind === 'heartbeat-ack' && ack.message.rows.length === 1);
  assert.equal(ack.afterWrite, 1);
});

test('a voter without a disk writes nothing and waits for nothing', () => {
  const one = core(false);
  one.onMessage(B, ask, 1);
  const out = one.take();
  assert.deepEqual(
    out.map((each) => (each.kind === 'send' ? each.afterWrite : each.kind)),
    [0],
  );
});

test('without a majority of the voters nothing is served', () => {
  assert.deepEqual(core(false).route(0, false, 10), { kind: 'minority' });
});
