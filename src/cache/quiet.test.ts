import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Quiet } from './quiet.ts';
import { hashNamespace, Voids } from './voids.ts';

test('quiet since the last void of the key, of any tag, of any namespace; never longer', () => {
  const what = fc.oneof(
    fc.constantFrom('user:1', 'user:2').map((key) => ({ kind: 'key' as const, key })),
    fc.constant({ kind: 'tag' as const }),
    fc.constant({ kind: 'namespace' as const }),
    fc.constant({ kind: 'suspect' as const }),
    fc.constantFrom('user:1', 'user:2', 'user:3').map((key) => ({ kind: 'ask' as const, key })),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(what, fc.nat(50)), { maxLength: 300 }), (steps) => {
      const voids = new Voids();
      const quiet = new Quiet(voids, hashNamespace('user'), 1_000);
      const last = new Map<string, number>();
      let everything = 1_000;
      let nowMs = 1_000;
      for (const [step, ms] of steps) {
        nowMs += ms;
        if (step.kind === 'ask') {
          const truth = nowMs - Math.max(everything, last.get(step.key) ?? 0);
          const said = quiet.since(step.key, nowMs);
          assert.ok(said >= 0 && said <= truth, `said ${said}, it was ${truth}`);
        } else if (step.kind === 'key') {
          voids.voidKey(step.key);
          last.set(step.key, nowMs);
        } else {
          everything = nowMs;
          if (step.kind === 'tag') voids.voidTag('t');
          else if (step.kind === 'namespace') voids.voidNamespace('other');
          else voids.suspectAll();
        }
      }
    }),
  );
});

test('an id that nobody touches stays quiet while others are invalidated all the time', () => {
  const voids = new Voids();
  const quiet = new Quiet(voids, hashNamespace('user'), 0);
  for (let nowMs = 1; nowMs <= 10_000; nowMs += 1) {
    voids.voidKey(`user:${nowMs % 100}`);
    quiet.since('user:1', nowMs);
  }
  assert.equal(quiet.since('user:untouched', 10_000), 10_000);
  const since = quiet.since('user:50', 10_000);
  assert.ok(since > 0 && since <= 50, `${since}`);
});
