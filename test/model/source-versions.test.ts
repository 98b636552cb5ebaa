/**
 * Source versions over the real engine, beside a model that forgets nothing: sets arrive in any order between deletes, evictions, expiries,
 * invalidations, writes without a version and fills. The table of what left is tiny, so that its floors decide as often as its rows.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { STORED, type StoreFace } from '../../src/engine/face.ts';
import { MIN_MEMORY_BYTES } from '../../src/engine/sizing.ts';
import { Store } from '../../src/engine/store.ts';
import { Freshness, OLDER, SAME, STORE, UNSURE } from '../../src/freshness/freshness.ts';
import { tagHash } from '../../src/freshness/names.ts';
import { MapStore } from './map-store.ts';

const KEYS = 6;
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const TAG = bytes('tag');
const keys = Array.from({ length: KEYS }, (_, i) => bytes(`${i % 2 === 0 ? 'a' : 'b'}:${i}`));

type Op =
  | {
      readonly kind: 'set';
      readonly key: number;
      readonly version: number;
      readonly ttlMs: number;
      readonly tagged: boolean;
    }
  | { readonly kind: 'plain' | 'fill' | 'delete'; readonly key: number }
  | { readonly kind: 'tag' | 'namespace' | 'evict' | 'tick' }
  | { readonly kind: 'wait'; readonly ms: number };

const key = fc.nat(KEYS - 1);
const op: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('set' as const),
      key,
      version: fc.integer({ min: 1, max: 12 }),
      ttlMs: fc.constantFrom(0, 5),
      tagged: fc.boolean(),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('plain' as const, 'fill', 'delete'), key }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('tag' as const, 'namespace', 'evict', 'tick') }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 10 }) }) },
);

/** What is true of a key: the latest version that was stored, and whether the truth has changed since. */
interface Truth {
  latest: number;
  changed: boolean;
  tagged: boolean;
}

function walk(store: StoreFace, ops: readonly Op[], evict: (nowMs: number) => void): void {
  const freshness = new Freshness(store, { epoch: 1, seed: 2, capacity: 8, generationCapacity: 8, sourceCapacity: 2 });
  const truths: Truth[] = keys.map(() => ({ latest: 0, changed: false, tagged: false }));
  const tags = { count: 1, hashes: new Float64Array([tagHash(TAG, 0, TAG.length)]) };
  const source = { high: 0, low: 0 };
  let nowMs = 1000;
  const write = (at: number, version: number, ttlMs: number, tagged: boolean): void => {
    const k = keys[at]!;
    freshness.voidKey(k, 0, k.length, version !== 0);
    // Versions on both sides of 2^32, so that both halves count.
    const of = version === 0 ? null : { high: version >>> 2, low: version & 3 };
    const expiresAtMs = ttlMs === 0 ? 0 : nowMs + ttlMs;
    assert.equal(store.set(k, 0, k.length, k, 0, k.length, expiresAtMs, nowMs, 0, tagged ? tags : null, of), STORED);
  };
  for (const step of ops) {
    switch (step.kind) {
      case 'set': {
        const { version } = step;
        const k = keys[step.key]!;
        const truth = truths[step.key]!;
        const there = store.peek(k, 0, k.length, nowMs);
        const live = there !== 0 && store.readSource(there, source) ? source.high * 4 + source.low : 0;
        const verdict = freshness.judgeSource(k, 0, k.length, version >>> 2, version & 3, nowMs);
        if (version < truth.latest) assert.notEqual(verdict, STORE, 'an older version over a newer one');
        if (version === truth.latest && truth.changed)
          assert.notEqual(verdict, STORE, 'back after the truth had changed');
        if (verdict === OLDER) assert.ok(version < truth.latest, 'refused for certain although it is the newest');
        if (verdict === SAME) assert.equal(live, version);
        if (version > Math.max(...truths.map(({ latest }) => latest)))
          assert.equal(verdict, STORE, 'the newest of all');
        if (verdict === STORE) {
          write(step.key, version, step.ttlMs, step.tagged);
          truth.latest = version;
          truth.changed = false;
          truth.tagged = step.tagged;
        } else if (verdict === UNSURE) {
          freshness.voidKey(k, 0, k.length);
          store.delete(k, 0, k.length, nowMs);
        }
        break;
      }
      case 'plain':
        truths[step.key]!.changed = true;
        write(step.key, 0, 0, false);
        break;
      case 'fill': {
        const k = keys[step.key]!;
        if (store.peek(k, 0, k.length, nowMs) !== 0) break;
        const counter = freshness.grant(k, 0, k.length, nowMs, 1);
        if (counter === 0 || !freshness.mayFill(k, 0, k.length, 1, counter, tags.hashes, 0)) break;
        truths[step.key]!.changed = true;
        write(step.key, 0, 5, false);
        freshness.filled(k, 0, k.length);
        break;
      }
      case 'delete': {
        const k = keys[step.key]!;
        truths[step.key]!.changed = true;
        freshness.voidKey(k, 0, k.length);
        store.delete(k, 0, k.length, nowMs);
        break;
      }
      case 'tag':
        for (const truth of truths) if (truth.tagged) truth.changed = true;
        freshness.invalidateTag(TAG, 0, TAG.length);
        break;
      case 'namespace':
        for (let i = 0; i < KEYS; i += 2) {
          truths[i]!.changed = true;
        }
        freshness.invalidateNamespace(bytes('a'), 0, 1);
        break;
      case 'evict':
        evict(nowMs);
        break;
      case 'tick':
        store.tick(nowMs, 100);
        break;
      case 'wait':
        nowMs += step.ms;
        break;
    }
    keys.forEach((k, i) => {
      const ref = store.peek(k, 0, k.length, nowMs);
      if (ref === 0 || !store.readSource(ref, source)) return;
      assert.equal(source.high * 4 + source.low, truths[i]!.latest, `${i} serves its latest version`);
    });
    store.invariants();
    freshness.invariants();
  }
}

describe('source versions', () => {
  test('over the engine: no older version ever replaces a newer one, the newest always gets in', () => {
    fc.assert(
      fc.property(fc.array(op, { maxLength: 80, size: 'max' }), (ops) => {
        const store = new Store({ memoryBytes: MIN_MEMORY_BYTES, eviction: 'lru', seed: 5, entryLimit: KEYS });
        let filler = 0;
        // Other keys push ours out.
        walk(store, ops, (nowMs) => {
          for (let i = 0; i < 3; i += 1) {
            filler += 1;
            const k = bytes(`filler:${filler}`);
            assert.equal(store.set(k, 0, k.length, k, 0, 1, nowMs + 3, nowMs), STORED);
          }
        });
      }),
      { numRuns: 300 },
    );
  });

  test('over the model of the engine', () => {
    fc.assert(
      fc.property(fc.array(op, { maxLength: 80, size: 'max' }), (ops) => walk(new MapStore(), ops, () => {})),
      { numRuns: 300 },
    );
  });
});
