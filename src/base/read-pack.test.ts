import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HIT_HEAD_BYTES, MISS_BYTES, NO_TTL, PackReader, putHitHead, putMiss } from './read-pack.ts';

interface Hit {
  readonly value: Uint8Array;
  readonly ttlMs: number;
  readonly version: number;
}

function packed(entries: readonly (Hit | null)[]): Uint8Array {
  const bytes = new Uint8Array(
    entries.reduce((sum, hit) => sum + (hit === null ? MISS_BYTES : HIT_HEAD_BYTES + hit.value.length), 0),
  );
  let at = 0;
  for (const hit of entries) {
    if (hit === null) {
      putMiss(bytes, at);
      at += MISS_BYTES;
    } else {
      putHitHead(bytes, at, hit.value.length, hit.ttlMs < 0 ? NO_TTL : hit.ttlMs, hit.version);
      bytes.set(hit.value, at + HIT_HEAD_BYTES);
      at += HIT_HEAD_BYTES + hit.value.length;
    }
  }
  return bytes;
}

const u48 = fc.integer({ min: 0, max: 2 ** 48 - 2 });
const hits = fc.record({
  value: fc.uint8Array({ maxLength: 300 }),
  ttlMs: fc.oneof(u48, fc.constant(-1)),
  version: u48,
});
const entriesOf = fc.array(fc.option(hits), { maxLength: 12 });

test('what was packed is read in order', () => {
  fc.assert(
    fc.property(entriesOf, (entries) => {
      const bytes = packed(entries);
      const pack = new PackReader(bytes);
      for (const hit of entries) {
        assert.equal(pack.next(), hit === null ? 0 : 1);
        if (hit === null) continue;
        assert.deepEqual([pack.ttlMs, pack.version], [hit.ttlMs, hit.version]);
        assert.deepEqual(bytes.subarray(pack.start, pack.end), hit.value);
      }
      assert.equal(pack.isWhole, true);
      assert.equal(pack.next(), -1);
    }),
  );
});

test('a pack that is cut anywhere is never whole', () => {
  fc.assert(
    fc.property(fc.array(fc.option(hits), { minLength: 1, maxLength: 4 }), fc.nat(), (entries, cut) => {
      const whole = packed(entries);
      const pack = new PackReader(whole.subarray(0, cut % whole.length));
      const said = entries.map(() => pack.next());
      assert.equal(said.includes(-1), true);
    }),
  );
});
