/** Frames: whatever is sent comes out the same, however the stream is cut; whatever else comes is refused with a code. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Ballot } from '../base/ballot.ts';
import { tableCrc32 } from '../base/crc32.ts';
import { BreakwaterError } from '../base/errors.ts';
import type { Member } from '../cluster/member.ts';
import type { Refusal, VoterRow } from '../cluster/messages.ts';
import { NO_BALLOT, type OwnershipRecord } from '../cluster/record.ts';
import type { Roster } from '../cluster/roster.ts';
import type { Rumor } from '../cluster/swim/messages.ts';
import { BodyReader, BodyWriter } from './body.ts';
import { HEADER_BYTES, MAX_BODY_BYTES } from './frame.ts';
import { BROKEN, FRAME, FrameParser, NEED_MORE } from './frame-parser.ts';
import { FrameWriter } from './frame-writer.ts';
import { FRAMES, frameTable, readMessage, type WireKind, type WireMessage, writeMessage } from './messages.ts';

// -- any message

const id = fc.nat({ max: 7 }).map((n) => (n * 0x1234_5678).toString(16).padStart(40, '0'));
const count = fc.oneof(fc.nat(), fc.maxSafeNat(), fc.constantFrom(0, 127, 128, 2 ** 53 - 1));
const time = fc.oneof(fc.double({ noNaN: true }), fc.integer({ min: 0, max: 2e12 }));
const range = fc.nat({ max: 16_383 });
const ballot: fc.Arbitrary<Ballot> = fc.oneof(
  fc.constant({ epoch: 0, node: '' }),
  fc.record({ epoch: count, node: id }),
);
const bytes = fc.uint8Array({ maxLength: 300 });
const record: fc.Arbitrary<OwnershipRecord> = fc
  .record({ range, ballot, inSync: fc.uniqueArray(id, { maxLength: 5 }), hasOwner: fc.boolean() })
  .map(({ hasOwner, ...each }) => ({ ...each, owner: hasOwner ? (each.inSync[0] ?? null) : null }));
const row: fc.Arbitrary<VoterRow> = fc.record({ range, promised: ballot, accepted: record });
const refusal: fc.Arbitrary<Refusal> = fc.record({
  range,
  reason: fc.constantFrom('promised', 'newer', 'heard', 'recovering', 'stranger', 'voters'),
  promised: ballot,
  accepted: record,
  waitMs: time,
});
const member: fc.Arbitrary<Member> = fc.record({
  id,
  host: fc.constantFrom('10.0.0.1', 'fe80::1', 'a.example'),
  port: fc.nat({ max: 65_535 }),
  httpPort: fc.nat({ max: 65_535 }),
  linkPort: fc.nat({ max: 65_535 }),
  zone: fc.constantFrom('', 'eu-1'),
  machine: fc.constantFrom('', 'm'),
  weight: fc.constantFrom(0, 1, 1e-6, 2.5),
  incarnation: count,
});
const rumor: fc.Arbitrary<Rumor> = fc.record({
  id,
  state: fc.constantFrom('alive', 'suspect', 'dead', 'left'),
  incarnation: count,
  refutation: count,
  by: fc.option(id),
  member: fc.option(member),
});
const machine = fc.constantFrom<{ machine?: string }>({}, { machine: 'rack-7/host:1' });
const roster: fc.Arbitrary<Roster> = fc
  .record({
    epoch: fc.integer({ min: 1 }),
    ids: fc.uniqueArray(id, { minLength: 1, maxLength: 6 }),
    count: fc.nat({ max: 5 }),
    homes: fc.array(fc.array(fc.nat(), { maxLength: 2 }), { maxLength: 5 }),
    zone: fc.constantFrom('', 'eu-1'),
    machine: machine,
    linkPort: fc.nat({ max: 65_535 }),
  })
  .map(({ epoch, ids, count: forgotten, homes, zone, machine, linkPort }) => {
    const left = ids.slice(Math.min(forgotten, ids.length - 1));
    return {
      ballot: { epoch, node: ids[0]! },
      members: left.map((each) => ({ id: each, host: '10.0.0.1', linkPort, zone, ...machine, weight: 1 })),
      forgotten: ids.slice(0, Math.min(forgotten, ids.length - 1)),
      homes: homes.map((places) => [...new Set(places.map((place) => place % left.length))]),
      seats:
        forgotten === 0
          ? null
          : {
              since: { epoch, node: ids[0]! },
              voters: left.slice(0, 5),
              before: ids.slice(0, 5),
              behind: { epoch: 0, node: '' },
            },
    };
  });
const founder = fc
  .record({
    id,
    host: fc.constantFrom('10.0.0.1', 'a.example'),
    linkPort: fc.nat({ max: 65_535 }),
    zone: fc.constantFrom('', 'eu-1'),
    weight: fc.constantFrom(0, 1, 2.5),
    machine,
  })
  .map(({ machine, ...rest }) => ({ ...rest, ...machine }));
const following = { range, reign: ballot, session: count };
const stance = fc.constantFrom('here' as const, 'leaving' as const, 'drained' as const);
const some = <T>(each: fc.Arbitrary<T>) => fc.array(each, { maxLength: 6 });

type Parts<K extends WireKind> = {
  [F in keyof Omit<Extract<WireMessage, { kind: K }>, 'kind'>]: fc.Arbitrary<Extract<WireMessage, { kind: K }>[F]>;
};
/** As in `FRAMES`: the compiler misses none. */
const PARTS: { readonly [K in WireKind]: Parts<K> } = {
  hello: {
    cluster: fc.constantFrom('', 'abc'),
    version: fc.nat({ max: 255 }),
    member,
    setup: fc.constantFrom('', 'f'.repeat(32)),
    nonce: fc.constantFrom('n', '0'.repeat(32)),
    proof: fc.constantFrom('', 'e'.repeat(64)),
  },
  ping: { number: count, isAnswer: fc.boolean() },
  form: { cluster: fc.constantFrom('', 'abc'), lives: some(fc.record({ id, incarnation: count })) },
  heartbeat: { incarnation: count, sentMs: time, life: count, counter: count, lagMs: time, stance, known: ballot },
  'heartbeat-ack': {
    incarnation: count,
    sentMs: time,
    isVoting: fc.boolean(),
    life: count,
    after: count,
    counter: count,
    rows: some(row),
    roster: fc.option(fc.record({ promised: ballot, accepted: fc.option(roster), votedIn: ballot })),
    silent: some(fc.record({ id, ms: time })),
    notes: some(fc.record({ id, stance, lifeMs: time })),
    set: ballot,
    isWhole: fc.boolean(),
    taken: some(range),
  },
  prepare: {
    claim: count,
    epoch: count,
    items: some(fc.record({ range, basis: ballot, owner: fc.option(id), isYielded: fc.boolean() })),
    set: ballot,
  },
  promised: { claim: count, granted: some(range), refused: some(refusal), isHasty: fc.boolean() },
  accept: { claim: count, records: some(record), set: ballot },
  accepted: { claim: count, ranges: some(range), refused: some(refusal) },
  begin: { ...following, offset: count, keeps: fc.boolean(), record: ballot },
  effects: { ...following, from: count, bodies: some(bytes) },
  applied: { ...following, offset: count },
  part: { ...following, number: count, at: count, entries: some(bytes), isLast: fc.boolean() },
  'part-ack': { ...following, number: count, isTaken: fc.boolean() },
  following: { incarnation: count, sentMs: time, positions: some(fc.record({ ...following, offset: count })) },
  followed: { incarnation: count, sentMs: time, leases: some(fc.record({ range, reign: ballot })) },
  'swim-ping': { number: count, rumors: some(rumor) },
  'swim-ping-req': { number: count, target: id, rumors: some(rumor) },
  'swim-ack': { number: count, rumors: some(rumor) },
  'swim-nack': { number: count },
  'swim-gossip': { rumors: some(rumor) },
  'swim-sync': { rumors: some(rumor), isAnswer: fc.boolean() },
  yield: {
    items: some(
      fc.record({
        range,
        basis: ballot,
        inSync: fc.array(id, { maxLength: 3 }),
        leasesMs: time,
        stays: fc.boolean(),
        isPinned: fc.boolean(),
      }),
    ),
  },
  spread: {
    id: count,
    names: some(fc.record({ kind: fc.constantFrom('tag', 'namespace', 'everything'), name: bytes })),
    ranges: some(range),
  },
  'spread-done': { id: count, ranges: some(range) },
  join: { member: founder },
  welcome: {
    cluster: fc.constantFrom('', 'abc'),
    facts: fc.record({
      name: fc.constantFrom('breakwater', 'b'),
      members: some(founder.map(({ host, linkPort, zone }) => ({ host, linkPort, zone }))),
      voters: count,
      replicas: count,
      ranges: count,
      takeoverMs: time,
      crashFastPath: fc.boolean(),
    }),
    setup: fc.constantFrom('', 'f'.repeat(32)),
    roster: fc.option(roster),
    topology: fc.constantFrom('sharded', 'primary'),
  },
  'turned-away': { reason: fc.constantFrom('later', 'forgotten', 'full', 'name', 'zone'), epoch: count },
  reigning: { records: some(record) },
  'roster-prepare': { claim: count, epoch: count, set: ballot },
  'roster-promised': { claim: count, isGranted: fc.boolean(), promised: ballot, accepted: fc.option(roster) },
  'roster-accept': { claim: count, roster, set: ballot },
  'roster-known': { roster },
  'roster-accepted': {
    claim: count,
    answer: fc.constantFrom('accepted', 'promised', 'recovering', 'named', 'voters', 'settling'),
    promised: ballot,
  },
  convene: { setup: fc.constantFrom('', 'ab'.repeat(32)), members: fc.array(id, { maxLength: 6 }) },
  convened: { isAgreed: fc.boolean(), why: fc.constantFrom('', 'it has found others: 10.0.0.1:1') },
  proxy: {
    id: count,
    life: count,
    ownerLife: count,
    clockMs: time,
    settled: count,
    range,
    ballot,
    protocol: fc.constantFrom(2, 3),
    request: bytes,
  },
  proxied: {
    id: count,
    life: count,
    ownerLife: count,
    clockMs: time,
    reply: bytes,
    isElsewhere: fc.boolean(),
    owner: fc.option(id, { nil: null }),
    ballot,
  },
};
const KINDS = Object.keys(PARTS) as WireKind[];
const message: fc.Arbitrary<WireMessage> = fc.oneof(
  ...KINDS.map((kind) =>
    fc.record(PARTS[kind] as never).map((parts) => ({ kind, ...(parts as object) }) as WireMessage),
  ),
);

// -- sending and receiving

function framed(...messages: readonly WireMessage[]): Uint8Array {
  const out = new FrameWriter();
  for (const each of messages) writeMessage(out, each);
  return out.take();
}

/** Views are copied, as whoever keeps bytes must; `null` for skipped frames. */
function received(parser: FrameParser, chunks: readonly Uint8Array[]): (WireMessage | null)[] {
  const found: (WireMessage | null)[] = [];
  for (const chunk of chunks) {
    const lent = chunk.slice();
    parser.push(lent);
    let result = parser.next();
    for (; result === FRAME; result = parser.next()) found.push(structuredClone(readMessage(parser)));
    assert.equal(result, NEED_MORE, parser.error);
    // The chunk is the caller's again.
    lent.fill(0xff);
  }
  return found;
}

const plain = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (_, each) =>
      Object.is(each, -0) ? '-0' : typeof each === 'number' && !Number.isFinite(each) ? String(each) : each,
    ),
  );

function cut(all: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let at = 0, n = 0; at < all.length; n += 1) {
    const size = sizes.length === 0 ? all.length : sizes[n % sizes.length]!;
    chunks.push(all.subarray(at, at + size));
    at += size;
  }
  return chunks;
}

/** Body bytes as a whole and correct frame. */
function wrapped(kind: number, body: Uint8Array, version = 1): Uint8Array {
  const out = new FrameWriter();
  out.frame(
    kind,
    (to) => {
      to.reserve(body.length);
      to.bytes.set(body, to.length);
      to.length += body.length;
    },
    version,
  );
  return out.take();
}

const isRefusal = (error: unknown): boolean => error instanceof BreakwaterError && error.code === 'FRAME_INVALID';

describe('whatever is sent comes out the same', () => {
  test('every kind, in chunks of any sizes', () => {
    fc.assert(
      fc.property(
        fc.array(message, { minLength: 1, maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 5 }),
        (messages, sizes) => {
          const got = received(new FrameParser(), cut(framed(...messages), sizes));
          assert.deepEqual(plain(got), plain(messages));
        },
      ),
      { numRuns: 400 },
    );
  });

  test('each kind once at least, byte by byte', () => {
    for (const kind of KINDS) {
      const [one] = fc.sample(fc.record(PARTS[kind] as never), { numRuns: 1, seed: 7 });
      const sent = { kind, ...(one as object) } as WireMessage;
      assert.deepEqual(plain(received(new FrameParser(), cut(framed(sent), [1]))), plain([sent]), kind);
    }
  });

  test('a frame that lies in the chunk whole is not copied', () => {
    const body = new Uint8Array(1000).fill(7);
    const all = framed({
      kind: 'effects',
      range: 1,
      reign: { epoch: 0, node: '' },
      session: 1,
      from: 1,
      bodies: [body],
    });
    const parser = new FrameParser();
    parser.push(all);
    assert.equal(parser.next(), FRAME);
    const got = readMessage(parser);
    assert.ok(got?.kind === 'effects');
    assert.equal(got.bodies[0]!.buffer, all.buffer, 'a view of the chunk');
  });

  test('a member is spelled out once a frame', () => {
    const name = 'ab'.repeat(20);
    const records = Array.from(
      { length: 1000 },
      (_, n): OwnershipRecord => ({ range: n, ballot: { epoch: 9, node: name }, owner: name, inSync: [name] }),
    );
    const size = framed({ kind: 'accept', claim: 1, records, set: NO_BALLOT }).length;
    assert.ok(size < 7 * 1000 + 100, `${size} bytes for a thousand records`);
    assert.deepEqual(received(new FrameParser(), [framed({ kind: 'accept', claim: 1, records, set: NO_BALLOT })]), [
      { kind: 'accept', claim: 1, records, set: NO_BALLOT },
    ]);
  });

  test('effects that do not fit into one frame become several that say the same', () => {
    const bodies = Array.from({ length: 9 }, (_, n) => new Uint8Array(5 * 1024 * 1024).fill(n));
    const sent: WireMessage = {
      kind: 'effects',
      range: 3,
      reign: { epoch: 2, node: 'ab'.repeat(20) },
      session: 4,
      from: 100,
      bodies,
    };
    const parser = new FrameParser();
    parser.push(framed(sent));
    let next = 100;
    while (parser.next() === FRAME) {
      const got = readMessage(parser);
      assert.ok(got?.kind === 'effects' && got.from === next && got.range === 3 && got.session === 4);
      for (const body of got.bodies) {
        assert.ok(body.length === 5 * 1024 * 1024 && body[0] === next - 100 && body.at(-1) === next - 100);
        next += 1;
      }
    }
    assert.equal(parser.error, '');
    assert.equal(next, 109);
  });
});

describe('whatever else comes is refused', () => {
  test('random bytes break the link and nothing else, and nothing is allocated beyond what came', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 10 }), fc.boolean(), (chunks, hasMagic) => {
        const parser = new FrameParser();
        let pushed = 0;
        let isBroken = false;
        for (const [n, chunk] of chunks.entries()) {
          const all = hasMagic && n === 0 ? Uint8Array.of(0x42, 0x57, ...chunk) : chunk;
          pushed += all.length;
          parser.push(all);
          let result = parser.next();
          for (; result === FRAME; result = parser.next()) {
            try {
              readMessage(parser);
            } catch (error) {
              assert.ok(isRefusal(error), String(error));
            }
          }
          isBroken ||= result === BROKEN;
          assert.equal(result === BROKEN, isBroken, 'broken for good');
          assert.ok(parser.bufferedBytes <= pushed);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test('a body of random bytes under a right sum is read or refused, in bounded room', () => {
    fc.assert(
      fc.property(fc.constantFrom(...KINDS), fc.uint8Array({ maxLength: 200 }), (kind, body) => {
        const parser = new FrameParser();
        parser.push(wrapped(FRAMES[kind].number, body));
        assert.equal(parser.next(), FRAME);
        try {
          const got = readMessage(parser);
          // Whatever was read is a message that can be sent.
          assert.deepEqual(plain(received(new FrameParser(), [framed(structuredClone(got!))])), plain([got]));
        } catch (error) {
          assert.ok(isRefusal(error), `${kind}: ${String(error)}`);
        }
      }),
      { numRuns: 6000 },
    );
  });

  test('a good frame with some bytes changed under a right sum is read or refused', () => {
    fc.assert(
      fc.property(
        message,
        fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 4 }),
        fc.nat({ max: 30 }),
        (sent, changes, shorter) => {
          const all = framed(sent);
          const body = all.slice(HEADER_BYTES, Math.max(HEADER_BYTES, all.length - shorter));
          for (const [at, byte] of changes) if (body.length > 0) body[at % body.length] = byte;
          const parser = new FrameParser();
          parser.push(wrapped(FRAMES[sent.kind].number, body));
          assert.equal(parser.next(), FRAME);
          try {
            readMessage(parser);
          } catch (error) {
            assert.ok(isRefusal(error), `${sent.kind}: ${String(error)}`);
          }
        },
      ),
      { numRuns: 3000 },
    );
  });

  test('every single flipped bit of a frame is found', () => {
    const all = framed({
      kind: 'heartbeat',
      incarnation: 3,
      sentMs: 1234.5,
      life: 7,
      counter: 9,
      lagMs: 0,
      stance: 'here',
      known: NO_BALLOT,
    });
    for (let bit = 0; bit < all.length * 8; bit += 1) {
      const damaged = all.slice();
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      const parser = new FrameParser();
      parser.push(damaged);
      // A length that grew waits for more, and what comes next does not make it right.
      const first = parser.next();
      if (first === NEED_MORE) {
        parser.push(new Uint8Array(1024));
        assert.notEqual(parser.next(), FRAME, `bit ${bit}`);
      } else assert.equal(first, BROKEN, `bit ${bit}`);
    }
  });

  test('a length above the limit is refused before its bytes come; a small limit holds for small frames', () => {
    const head = wrapped(1, new Uint8Array(0)).slice();
    new DataView(head.buffer).setUint32(4, MAX_BODY_BYTES + 1);
    const parser = new FrameParser();
    parser.push(head);
    assert.equal(parser.next(), BROKEN);
    assert.match(parser.error, /33554433 bytes is announced/);
    const small = new FrameParser(10);
    small.push(wrapped(1, new Uint8Array(11)));
    assert.equal(small.next(), BROKEN);
  });

  test('lists and bytes longer than what is there', () => {
    for (const body of [
      [1, 0xff, 0xff, 0xff, 0x7f],
      [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
      [1, 5, 0],
    ]) {
      const parser = new FrameParser();
      parser.push(wrapped(FRAMES.accept.number, Uint8Array.from(body)));
      assert.equal(parser.next(), FRAME);
      assert.throws(() => readMessage(parser), isRefusal);
    }
  });

  test('records that make no sense', () => {
    const a = 'ab'.repeat(20);
    const wrong: OwnershipRecord[] = [
      { range: 1, ballot: { epoch: 1, node: a }, owner: a, inSync: [] },
      { range: 1, ballot: { epoch: 1, node: a }, owner: null, inSync: [a, a] },
      { range: 1, ballot: { epoch: 1, node: '' }, owner: null, inSync: [] },
    ];
    for (const each of wrong) {
      const parser = new FrameParser();
      parser.push(framed({ kind: 'accept', claim: 1, records: [each], set: NO_BALLOT }));
      assert.equal(parser.next(), FRAME);
      assert.throws(() => readMessage(parser), isRefusal, JSON.stringify(each));
    }
  });
});

describe('members of different versions', () => {
  const heartbeat: WireMessage = {
    kind: 'heartbeat',
    incarnation: 3,
    sentMs: 1,
    life: 7,
    counter: 9,
    lagMs: 0,
    stance: 'here',
    known: NO_BALLOT,
  };

  test('a kind that is not known, and a version that is too new, are skipped', () => {
    const stream = [
      wrapped(200, Uint8Array.of(1, 2, 3)),
      framed(heartbeat),
      wrapped(1, Uint8Array.of(9), 2),
      framed(heartbeat),
    ];
    const all = Buffer.concat(stream);
    assert.deepEqual(received(new FrameParser(), cut(all, [5])), [null, heartbeat, null, heartbeat]);
  });

  test('fields that a later version added at the end of a body are not looked at', () => {
    const body = framed(heartbeat).subarray(HEADER_BYTES);
    const longer = wrapped(FRAMES.heartbeat.number, Uint8Array.of(...body, 1, 2, 3));
    assert.deepEqual(received(new FrameParser(), [longer]), [heartbeat]);
  });

  test('the bytes of a frame, for ever', () => {
    const name = '00112233445566778899aabbccddeeff01234567';
    const all = framed({ kind: 'applied', range: 300, reign: { epoch: 5, node: name }, session: 2, offset: 1_000_000 });
    const sum = tableCrc32(Buffer.concat([all.subarray(2, 8), all.subarray(12)]), 0, all.length - 6)
      .toString(16)
      .padStart(8, '0');
    assert.equal(Buffer.from(all).toString('hex'), `425701090000001c${sum}ac020501${name}02c0843d`);
  });

  test('numbers of kinds are never given twice, and these are theirs', () => {
    const numbers = Object.fromEntries(KINDS.map((kind) => [kind, FRAMES[kind].number]));
    assert.equal(new Set(Object.values(numbers)).size, KINDS.length);
    assert.deepEqual(
      { hello: numbers['hello'], heartbeat: numbers['heartbeat'], yield: numbers['yield'] },
      { hello: 0, heartbeat: 1, yield: 14 },
    );
  });
});

test('numbers, ids and texts: what is read is what was written', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(count, time, id, fc.string()), { maxLength: 20 }), (rows) => {
      const out = new BodyWriter(1);
      for (const [n, ms, name, words] of rows) {
        out.count(n);
        out.time(ms);
        out.id(name);
        out.text(words);
        out.id(null);
      }
      const from = new BodyReader();
      from.begin(out.bytes, 0, out.length);
      for (const [n, ms, name, words] of rows) {
        assert.ok(from.count() === n && Object.is(from.time(), ms) && from.id() === name);
        assert.equal(from.text(1000), words);
        assert.equal(from.id(), '');
      }
      assert.equal(from.left, 0);
    }),
  );
});

test('the table in the header of messages.ts is the table of frames', () => {
  const source = readFileSync(new URL('./messages.ts', import.meta.url), 'utf8');
  for (const line of frameTable().split('\n')) assert.ok(source.includes(` * ${line}\n`), `missing: ${line}`);
});

test('a member is known again by its bytes, all of them, whatever has become of those it was read from before', () => {
  const [one, other] = ['aabbccdd'.padEnd(40, '1'), 'aabbccdd'.padEnd(40, '2')];
  for (const id of [one, other, one, one, other]) {
    const out = new BodyWriter();
    out.beginBody();
    out.id(id);
    // As from a socket: `slice` of it is a view.
    const read = Buffer.from(out.bytes.subarray(0, out.length));
    const reader = new BodyReader();
    reader.begin(read, 0, read.length);
    assert.equal(reader.id(), id);
    read.fill(0xee);
  }
});
