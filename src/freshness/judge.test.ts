import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { SeededRandom } from '../base/random.ts';
import {
  DEFAULT_POLICY,
  type EntryFacts,
  type FreshnessPolicy,
  isServable,
  isServableOnError,
  judge,
  NO_WISHES,
  type Standing,
  type Verdict,
  type Wishes,
} from './judge.ts';

const NOW = 1_000_000;

/** An entry stored `age` ms ago: ttl 100, grace 50, load time 10 unless told otherwise. */
function entry(age: number, facts: Partial<EntryFacts> = {}): EntryFacts {
  return {
    storedAtMs: NOW - age,
    ttlMs: 100,
    graceMs: 50,
    loadMs: 10,
    epoch: 1,
    version: 7,
    negative: false,
    standing: 'good',
    ...facts,
  };
}

/** Never early: the draw is -ln(1 - 0) = 0. */
const NO_DRAW = 0;
/** -ln(1 - 0.9) * 10 ms = 23 ms ahead. */
const DRAW_23 = 0.9;
const ON_ERROR: FreshnessPolicy = { beta: 1, staleWhileReload: false };
const NEVER = Number.POSITIVE_INFINITY;

type Row = readonly [what: string, entry: EntryFacts | null, wishes: Wishes, random: number, verdict: string];

const TABLE: readonly Row[] = [
  // -- no entry
  ['nothing there', null, NO_WISHES, NO_DRAW, 'miss absent'],
  ['nothing there, whatever the wishes', null, { fresh: true }, NO_DRAW, 'miss absent'],

  // -- age alone
  ['just stored', entry(0), NO_WISHES, NO_DRAW, 'fresh within-ttl'],
  ['last millisecond of the ttl', entry(99), NO_WISHES, NO_DRAW, 'fresh within-ttl'],
  ['last fraction of the ttl', entry(99.999), NO_WISHES, NO_DRAW, 'fresh within-ttl'],
  ['exactly the ttl', entry(100), NO_WISHES, NO_DRAW, 'stale within-grace'],
  ['last millisecond of the grace', entry(149), NO_WISHES, NO_DRAW, 'stale within-grace'],
  ['exactly ttl + grace', entry(150), NO_WISHES, NO_DRAW, 'miss past-grace'],
  ['long gone', entry(1e9), NO_WISHES, NO_DRAW, 'miss past-grace'],
  ['no grace declared', entry(100, { graceMs: 0 }), NO_WISHES, NO_DRAW, 'miss expired'],
  ['endless ttl', entry(1e12, { ttlMs: NEVER }), NO_WISHES, DRAW_23, 'fresh within-ttl'],
  ['endless grace', entry(1e12, { graceMs: NEVER }), NO_WISHES, NO_DRAW, 'stale within-grace'],
  ['ttl 0: stale from the start', entry(0, { ttlMs: 0 }), NO_WISHES, NO_DRAW, 'stale within-grace'],
  ['ttl 0, no grace', entry(0, { ttlMs: 0, graceMs: 0 }), NO_WISHES, NO_DRAW, 'miss expired'],
  ['stored in the future', entry(-1), NO_WISHES, NO_DRAW, 'miss age-unknown'],
  ['no telling when', entry(Number.NaN), NO_WISHES, NO_DRAW, 'miss age-unknown'],
  ['ttl is not a number', entry(1, { ttlMs: Number.NaN }), NO_WISHES, NO_DRAW, 'miss past-grace'],
  ['grace is not a number', entry(100, { graceMs: Number.NaN }), NO_WISHES, NO_DRAW, 'miss expired'],

  // -- early refresh: a draw of 23 ms
  ['24 ms before the end', entry(76), NO_WISHES, DRAW_23, 'fresh within-ttl'],
  ['23 ms before the end', entry(77), NO_WISHES, DRAW_23, 'refresh-early xfetch'],
  ['1 ms before the end', entry(99), NO_WISHES, DRAW_23, 'refresh-early xfetch'],
  ['load time not known', entry(99, { loadMs: 0 }), NO_WISHES, DRAW_23, 'fresh within-ttl'],
  ['a slow load starts sooner', entry(10, { loadMs: 40 }), NO_WISHES, DRAW_23, 'refresh-early xfetch'],
  ['negative entries too', entry(77, { negative: true }), NO_WISHES, DRAW_23, 'refresh-early xfetch'],
  ['for callers who take nothing stale too', entry(77), { maxStaleMs: 0 }, DRAW_23, 'refresh-early xfetch'],

  // -- the caller's maxStale narrows the grace
  ['maxStale within ttl does not matter', entry(99), { maxStaleMs: 0 }, NO_DRAW, 'fresh within-ttl'],
  ['maxStale 0', entry(100), { maxStaleMs: 0 }, NO_DRAW, 'miss past-max-stale'],
  ['maxStale 20, 19 past', entry(119), { maxStaleMs: 20 }, NO_DRAW, 'stale within-grace'],
  ['maxStale 20, 20 past', entry(120), { maxStaleMs: 20 }, NO_DRAW, 'miss past-max-stale'],
  ['maxStale does not widen', entry(150), { maxStaleMs: 1e9 }, NO_DRAW, 'miss past-grace'],
  ['maxStale makes no grace', entry(100, { graceMs: 0 }), { maxStaleMs: 1e9 }, NO_DRAW, 'miss expired'],
  ['maxStale is not a number', entry(100), { maxStaleMs: Number.NaN }, NO_DRAW, 'miss past-max-stale'],

  // -- negative entries have a ttl and no grace
  ['absent within ttl', entry(99, { negative: true }), NO_WISHES, NO_DRAW, 'fresh within-ttl'],
  ['absent past ttl', entry(100, { negative: true }), NO_WISHES, NO_DRAW, 'miss expired'],

  // -- invalidated or doubtful: never, at any age
  ['voided', entry(0, { standing: 'voided' }), NO_WISHES, NO_DRAW, 'miss voided'],
  ['voided, endless', entry(0, { standing: 'voided', ttlMs: NEVER }), NO_WISHES, NO_DRAW, 'miss voided'],
  ['voided, in grace', entry(120, { standing: 'voided' }), { maxStaleMs: 1e9 }, NO_DRAW, 'miss voided'],
  ['suspect', entry(0, { standing: 'suspect' }), NO_WISHES, NO_DRAW, 'miss suspect'],
  ['suspect, in grace', entry(120, { standing: 'suspect' }), { maxStaleMs: 1e9 }, NO_DRAW, 'miss suspect'],
  ['voided outranks fresh: true', entry(0, { standing: 'voided' }), { fresh: true }, NO_DRAW, 'miss voided'],

  // -- the caller's fresh: true
  ['fresh: true', entry(0), { fresh: true }, NO_DRAW, 'miss fresh-wanted'],
  ['fresh: true in grace', entry(120), { fresh: true, maxStaleMs: 1e9 }, NO_DRAW, 'miss fresh-wanted'],
  ['fresh: false is no wish', entry(0), { fresh: false }, NO_DRAW, 'fresh within-ttl'],

  // -- read your writes
  ['as new as the token', entry(0), { after: { epoch: 1, version: 7 } }, NO_DRAW, 'fresh within-ttl'],
  ['newer than the token', entry(0), { after: { epoch: 1, version: 6 } }, NO_DRAW, 'fresh within-ttl'],
  ['older than the token', entry(0), { after: { epoch: 1, version: 8 } }, NO_DRAW, 'miss older-than-token'],
  ['older, in grace', entry(120), { after: { epoch: 1, version: 8 } }, NO_DRAW, 'miss older-than-token'],
  ['newer, in grace', entry(120), { after: { epoch: 1, version: 7 } }, NO_DRAW, 'stale within-grace'],
  ['token of a later epoch', entry(0), { after: { epoch: 2, version: 1 } }, NO_DRAW, 'miss other-epoch'],
  ['token of an earlier epoch', entry(0), { after: { epoch: 0, version: 1 } }, NO_DRAW, 'miss other-epoch'],
  ['no token', entry(0), { after: null }, NO_DRAW, 'fresh within-ttl'],
  [
    'version is not a number',
    entry(0, { version: Number.NaN }),
    { after: { epoch: 1, version: 7 } },
    NO_DRAW,
    'miss older-than-token',
  ],
  ['token and early refresh', entry(80), { after: { epoch: 1, version: 7 } }, DRAW_23, 'refresh-early xfetch'],
];

describe('the truth table', () => {
  for (const [what, facts, wishes, random, expected] of TABLE) {
    test(`${what} -> ${expected}`, () => {
      const verdict = judge(facts, wishes, DEFAULT_POLICY, NOW, random);
      assert.equal(`${verdict.kind} ${verdict.reason}`, expected);
      // The other policy differs in one word: what would be served at once is kept for an error.
      const kept = judge(facts, wishes, ON_ERROR, NOW, random);
      assert.equal(`${kept.kind} ${kept.reason}`, expected.replace(/^stale /, 'stale-if-error '));
    });
  }

  test('what each kind allows', () => {
    const kinds = {
      fresh: 'both',
      'refresh-early': 'both',
      stale: 'both',
      'stale-if-error': 'on error',
      miss: 'never',
    };
    for (const [kind, allowed] of Object.entries(kinds)) {
      const verdict = { kind } as Verdict;
      assert.equal(isServable(verdict), allowed === 'both', kind);
      assert.equal(isServableOnError(verdict), allowed !== 'never', kind);
    }
  });
});

const anyEntry = fc.record({
  storedAtMs: fc.integer({ min: NOW - 300, max: NOW + 5 }),
  ttlMs: fc.oneof(fc.nat(120), fc.constant(NEVER)),
  graceMs: fc.nat(120),
  loadMs: fc.nat(50),
  epoch: fc.nat(2),
  version: fc.nat(4),
  negative: fc.boolean(),
  standing: fc.constantFrom<Standing>('good', 'good', 'good', 'suspect', 'voided'),
});
const anyWishes = fc.record({
  maxStaleMs: fc.option(fc.nat(120), { nil: undefined }),
  after: fc.option(fc.record({ epoch: fc.nat(2), version: fc.nat(4) }), { nil: null }),
  fresh: fc.option(fc.boolean(), { nil: undefined }),
});
const anyPolicy = fc.record({ beta: fc.constantFrom(0, 0.5, 1, 3), staleWhileReload: fc.boolean() });
const anyFloat = fc.nat(0xffff_ffff).map((n) => n / 2 ** 32);

/** 0 miss, 1 only on error, 2 at once. */
const worth = (verdict: Verdict): number => (isServable(verdict) ? 2 : isServableOnError(verdict) ? 1 : 0);

describe('for every entry and every caller', () => {
  test('what is served satisfies the promises, read off their definition', () => {
    fc.assert(
      fc.property(anyEntry, anyWishes, anyPolicy, anyFloat, (facts, wishes, policy, random) => {
        const verdict = judge(facts, wishes, policy, NOW, random);
        const age = NOW - facts.storedAtMs;
        const stale = facts.negative ? 0 : Math.min(facts.graceMs, wishes.maxStaleMs ?? NEVER);
        const usable =
          facts.standing === 'good' &&
          wishes.fresh !== true &&
          (wishes.after === null || (facts.epoch === wishes.after.epoch && facts.version >= wishes.after.version)) &&
          age >= 0 &&
          age < facts.ttlMs + stale;
        assert.equal(isServableOnError(verdict), usable);
        assert.equal(isServable(verdict), usable && (age < facts.ttlMs || policy.staleWhileReload));
        assert.equal(verdict.kind === 'fresh' || verdict.kind === 'refresh-early', usable && age < facts.ttlMs);
      }),
      { numRuns: 2000 },
    );
  });

  test('time, doubt and wishes only take away: no entry comes back', () => {
    fc.assert(
      fc.property(anyEntry, anyWishes, anyPolicy, anyFloat, fc.nat(200), (facts, wishes, policy, random, later) => {
        if (facts.storedAtMs > NOW) return;
        const before = worth(judge(facts, wishes, policy, NOW, random));
        assert.ok(worth(judge(facts, wishes, policy, NOW + later, random)) <= before);
        const without = worth(judge(facts, NO_WISHES, policy, NOW, random));
        assert.ok(before <= without);
        for (const standing of ['suspect', 'voided'] as const) {
          assert.equal(worth(judge({ ...facts, standing }, wishes, policy, NOW, random)), 0);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('XFetch', () => {
  test('refreshes with the probability of the paper: exp(-left / (beta * loadMs))', () => {
    const random = new SeededRandom(7);
    for (const beta of [0.5, 1, 2]) {
      for (const left of [1, 5, 10, 30]) {
        let early = 0;
        const rolls = 20_000;
        for (let i = 0; i < rolls; i += 1) {
          const policy = { beta, staleWhileReload: true };
          if (judge(entry(100 - left), NO_WISHES, policy, NOW, random.nextFloat()).kind === 'refresh-early') early += 1;
        }
        const expected = Math.exp(-left / (beta * 10));
        assert.ok(
          Math.abs(early / rolls - expected) < 0.015,
          `beta ${beta}, ${left} ms left: ${early / rolls}, expected ${expected}`,
        );
      }
    }
  });

  test('a hot key is reloaded before its end by a few readers; a cold key read once near its middle is not', () => {
    const random = new SeededRandom(11);
    let never = 0;
    const rounds = 300;
    for (let round = 0; round < rounds; round += 1) {
      let reloaded = false;
      // 10 reads a millisecond over a ttl of 100 ms with a load of 2 ms.
      for (let at = 0; at < 100 && !reloaded; at += 0.1) {
        reloaded = judge(entry(at, { loadMs: 2 }), NO_WISHES, DEFAULT_POLICY, NOW, random.nextFloat()).kind !== 'fresh';
      }
      if (!reloaded) never += 1;
      assert.equal(judge(entry(50, { loadMs: 2 }), NO_WISHES, DEFAULT_POLICY, NOW, random.nextFloat()).kind, 'fresh');
    }
    assert.equal(never, 0);
  });

  test('beta 0 is off, and a draw of every size is finite', () => {
    const policy = { beta: 0, staleWhileReload: true };
    assert.equal(judge(entry(99.9), NO_WISHES, policy, NOW, 1 - 2 ** -32).kind, 'fresh');
    assert.equal(judge(entry(99.9), NO_WISHES, DEFAULT_POLICY, NOW, 1 - 2 ** -32).kind, 'refresh-early');
    assert.equal(judge(entry(0, { ttlMs: 1e6 }), NO_WISHES, DEFAULT_POLICY, NOW, 1 - 2 ** -32).kind, 'fresh');
  });
});
