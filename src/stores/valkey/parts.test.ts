import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { SLOT_COUNT } from '../../hash/slot.ts';
import { decodeEntry, encodeBody, formatLease, MAX_TAGS, parseLease, readEntry, versionTextOf } from './format.ts';
import { idMaker } from './ids.ts';
import { isReserved, layoutOfCluster, STANDALONE } from './sectors.ts';
import { isDead, namespaceName, surveyOf } from './survey.ts';
import { TagMemory } from './tag-memory.ts';

const encoder = new TextEncoder();
const GONE_MS = 1_700_000_123_456;

/** An entry as the script puts it together. */
function entryOf(body: Uint8Array, version = 7, lease = ''): Uint8Array {
  const end = String(58 + body.length).padStart(10, '0');
  const prefix = `BWE${String(version).padStart(16, '0')}${'f'.repeat(12)}${end}${String(GONE_MS).padStart(16, '0')}`;
  return Buffer.concat([Buffer.from([0xc1]), encoder.encode(prefix), body, encoder.encode(lease)]);
}

const head = fc.record({
  epoch: fc.string({ unit: fc.constantFrom(...'abcXYZ019-_'), minLength: 12, maxLength: 12 }),
  number: fc.nat({ max: 2 ** 40 }),
});

describe('format', () => {
  test('an entry reads back, with a lease behind it and without', () => {
    fc.assert(
      fc.property(
        head,
        fc.array(fc.string({ unit: 'grapheme', maxLength: 40 }), { maxLength: MAX_TAGS }),
        fc.uint8Array({ maxLength: 300 }),
        fc.constantFrom('', `p${'0'.repeat(16)}${'t'.repeat(24)}`),
        (at, tags, value, lease) => {
          const entry = decodeEntry(entryOf(encodeBody(at, tags, value), 1_700_000_000_000_001, lease))!;
          assert.deepEqual(entry, { version: 1_700_000_000_000_001, head: { ...at }, tags, value: Buffer.from(value) });
        },
      ),
      { numRuns: 200 },
    );
  });

  test('cut off or overwritten at any place: never a throw, never more than the bytes', () => {
    const whole = entryOf(encodeBody({ epoch: 'e'.repeat(12), number: 3 }, ['red', 'blue'], encoder.encode('value')));
    for (let length = 0; length < whole.length; length += 1) assert.equal(decodeEntry(whole.subarray(0, length)), null);
    fc.assert(
      fc.property(fc.nat({ max: whole.length - 1 }), fc.nat({ max: 255 }), (at, byte) => {
        const garbled = whole.slice();
        garbled[at] = byte;
        decodeEntry(garbled);
        assert.equal(versionTextOf(garbled).length > 0, true);
      }),
      { numRuns: 300 },
    );
  });

  test('the reader that compares finds what the other decodes, or nothing', () => {
    const life = 'f'.repeat(12);
    const tag = fc.oneof(fc.string({ unit: 'grapheme', maxLength: 6 }), fc.constantFrom('', '\uFEFFred', 'é', 'Ã©'));
    const version = fc.option(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { nil: undefined });
    let found = 0;
    fc.assert(
      fc.property(
        head,
        fc.array(tag, { maxLength: 4 }),
        fc.uint8Array({ maxLength: 40 }),
        version,
        fc.option(fc.tuple(fc.nat({ max: 120 }), fc.nat({ max: 255 })), { nil: null, freq: 1 }),
        (at, tags, value, mark, damage) => {
          const bytes = new Uint8Array(entryOf(encodeBody(at, tags, value, mark)));
          if (damage !== null && damage[0] < bytes.length) bytes[damage[0]] = damage[1];
          const read = readEntry(bytes, life, at.epoch, tags);
          if (damage === null) assert.ok(read !== null);
          if (read === null) return;
          found += 1;
          const { version: number, head: loadedAt, tags: own, value: text } = decodeEntry(bytes)!;
          assert.deepEqual([read.version, read.number], [number, loadedAt.number]);
          assert.deepEqual(bytes.subarray(read.valueAt, read.valueEnd), text);
          if (damage === null) assert.equal(read.goneAtMs, GONE_MS);
          assert.deepEqual([loadedAt.epoch, own], [at.epoch, tags]);
          assert.equal(readEntry(bytes, life, at.epoch, [...tags, 'more']), null);
          assert.equal(readEntry(bytes, life, at.epoch, [...tags.slice(1), 'other']), null);
          assert.equal(readEntry(bytes, 'g'.repeat(12), at.epoch, tags), null);
          assert.equal(readEntry(bytes, life, '-'.repeat(12), tags), null);
        },
      ),
      { numRuns: 500 },
    );
    assert.ok(found > 150, `${found}`);
  });

  test('a lease reads back; what is none is null', () => {
    const lease = { token: 'AZaz09-_abcd', epoch: '0123456789ab', number: 42 };
    assert.deepEqual(parseLease(formatLease(lease)), lease);
    for (const text of [
      '',
      'none',
      '1-2',
      formatLease(lease).slice(1),
      `${formatLease(lease)}x`,
      `${formatLease(lease)}\n`,
    ]) {
      assert.equal(parseLease(text), null, text);
    }
  });
});

describe('the judgement', () => {
  const survey = surveyOf(['epoch', '10', '4', '5.5', '', '9.5'], ['nuser', 'tred', 'tblue']);
  const dead = (number: number, tags: string[], key = 'user:1', epoch = 'epoch') =>
    isDead({ epoch, number }, key, tags, survey);

  test('dead is what has a name that was invalidated later, or another epoch, or tags from below the floor', () => {
    assert.equal(dead(6, []), false);
    assert.equal(dead(5, []), true);
    assert.equal(dead(6, ['red']), false);
    assert.equal(dead(6, ['red', 'blue']), true);
    assert.equal(dead(10, ['red', 'blue']), false);
    assert.equal(dead(10, [], 'user:1', 'other'), true);
    assert.equal(isDead({ epoch: 'epoch', number: 3 }, 'x:1', [], surveyOf(['epoch', '10', '4', ''], ['nx'])), false);
    assert.equal(isDead({ epoch: 'epoch', number: 3 }, 'x:1', ['a'], surveyOf(['epoch', '10', '4', ''], ['nx'])), true);
    assert.equal(dead(Number.NaN, []), true);
  });

  test('a tag that was not asked about leaves it open, unless another one decides', () => {
    assert.equal(dead(10, ['green']), null);
    assert.equal(dead(6, ['green', 'blue']), true);
    assert.equal(dead(10, [], 'other:1'), null);
  });

  test('a reply of another shape is an error', () => {
    assert.throws(() => surveyOf([], ['a']), { code: 'STORE_REPLY_INVALID' });
    assert.throws(() => surveyOf(null, []), { code: 'STORE_REPLY_INVALID' });
    assert.equal(namespaceName('a:b:c'), 'na');
    assert.equal(namespaceName('abc'), 'n');
    assert.equal(namespaceName(':abc'), 'n');
  });
});

describe('sectors', () => {
  test('each table is in the slots that it is for, and each slot has one', () => {
    const layout = layoutOfCluster();
    assert.equal(layout.sectors.length, 16);
    for (const sector of layout.sectors) {
      assert.equal(layout.slotOf(sector.key), sector.slot);
      assert.equal(layout.sectorOf(sector.slot), sector);
      assert.ok(isReserved(sector.key));
    }
    for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
      const sector = layout.sectorOf(slot);
      assert.ok(sector.slot <= slot && slot < sector.slot + 1024);
    }
    assert.equal(STANDALONE.sectorOf(STANDALONE.slotOf('a')).key, 'bw.invalidations');
    assert.ok(!isReserved('bw:1'));
  });
});

describe('small things', () => {
  test('ids: twelve characters that a lease can carry, none twice', () => {
    const newId = idMaker();
    const ids = Array.from({ length: 2_000 }, () => newId());
    assert.equal(new Set(ids).size, ids.length);
    for (const id of ids) assert.match(id, /^[\w-]{12}$/);
  });

  test('the memory of tags is bounded and forgets the longest unused first', () => {
    const memory = new TagMemory(100);
    for (let i = 0; i < 1_000; i += 1) {
      memory.set(`k${i}`, ['t']);
      assert.deepEqual(memory.get('k0'), ['t'], 'what is used is kept');
    }
    const kept = Array.from({ length: 1_000 }, (_, i) => memory.get(`k${i}`).length).filter((count) => count > 0);
    assert.ok(kept.length >= 50 && kept.length <= 100, `${kept.length}`);
    memory.set('k0', []);
    assert.deepEqual(memory.get('k0'), []);
    memory.set('user:1', ['t']);
    assert.deepEqual([memory.mayHave('nuser'), memory.mayHave('n'), memory.mayHave('norg')], [true, true, false]);
    for (let i = 0; i < 2_000; i += 1) memory.set(`n${i}:1`, ['t']);
    assert.equal(memory.mayHave('norg'), true, 'too many to know');
  });
});
