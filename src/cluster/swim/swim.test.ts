/** The parts of SWIM; what they do together is in test/sim/swim.test.ts. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SeededRandom } from '../../base/random.ts';
import type { Member } from '../member.ts';
import { Awareness } from './awareness.ts';
import type { Rumor, SwimMessage } from './messages.ts';
import { Rumors } from './rumors.ts';
import { Suspicion } from './suspicion.ts';
import { Swim, type SwimOutput } from './swim.ts';

const id = (n: number): string => n.toString(16).padStart(40, '0');
const member = (n: number): Member => ({
  id: id(n),
  host: `10.0.0.${n}`,
  port: 1,
  httpPort: 2,
  linkPort: 3,
  zone: '',
  machine: '',
  weight: 1,
  incarnation: 5,
});
const rumor = (n: number, state: Rumor['state'], refutation = 0, by: number | null = 9): Rumor => ({
  id: id(n),
  state,
  incarnation: 5,
  refutation,
  by: by === null ? null : id(by),
  member: state === 'alive' ? member(n) : null,
});

describe('parts', () => {
  test('a lone accuser is waited for long, several in agreement briefly', () => {
    const suspicion = new Suspicion(1000, 'a', { minMs: 100, maxMs: 700, wanted: 3 });
    assert.equal(suspicion.endMs, 1700);
    assert.equal(suspicion.confirm('a'), false);
    assert.equal(suspicion.confirm('b'), true);
    assert.equal(suspicion.endMs, 1400, 'the first counts half');
    suspicion.confirm('c');
    suspicion.confirm('d');
    assert.ok(Math.abs(suspicion.endMs - 1100) < 1e-6);
    assert.equal(suspicion.confirm('e'), false, 'more make no difference');
    suspicion.extend(50);
    assert.ok(Math.abs(suspicion.endMs - 1150) < 1e-6);
    assert.equal(new Suspicion(0, 'a', { minMs: 100, maxMs: 700, wanted: 0 }).endMs, 100);
  });

  test('local health stays within its bounds', () => {
    const health = new Awareness(8);
    health.add(-3);
    assert.equal(health.factor, 1);
    health.add(100);
    assert.equal(health.factor, 9);
    health.add(-1);
    assert.equal(health.score, 7);
  });

  test('rumors: the least told first, each a limited number of times, the newest word only', () => {
    const rumors = new Rumors();
    for (let n = 0; n < 10; n += 1) rumors.add(rumor(n, 'suspect'));
    const first = rumors.take(300, 2);
    assert.equal(first.length, 5);
    assert.equal(new Set([...first, ...rumors.take(300, 2)].map((each) => each.id)).size, 10);
    rumors.take(600, 2);
    assert.equal(rumors.size, 0, 'told twice and forgotten');
    rumors.add(rumor(1, 'suspect'));
    rumors.add(rumor(1, 'dead'));
    assert.deepEqual(
      rumors.take(600, 9).map(({ state }) => state),
      ['dead'],
    );
    for (let n = 0; n < 10; n += 1) rumors.add(rumor(n, 'suspect'));
    assert.equal(rumors.take(60, 9, id(7))[0]!.id, id(7), 'who is named goes first');
  });
});

describe('one member', () => {
  const sent = (outputs: readonly SwimOutput[]): SwimMessage[] =>
    outputs.flatMap((each) => (each.kind === 'send' ? [each.message] : []));
  const news = (outputs: readonly SwimOutput[]): string[] =>
    outputs.flatMap((each) => (each.kind === 'news' ? [`${Number.parseInt(each.id, 16)} ${each.state}`] : []));
  const make = (others: number): Swim =>
    new Swim(
      member(0),
      Array.from({ length: others }, (_, n) => member(n + 1)),
      new SeededRandom(3),
      0,
    );
  const gossip = (...rumors: Rumor[]): SwimMessage => ({ kind: 'swim-gossip', rumors });
  const ask: SwimMessage = { kind: 'swim-ping', number: 1, rumors: [] };

  test('answers a ping, and a rumor that it is dead by raising its number', () => {
    const swim = make(4);
    assert.equal(sent(swim.receive(member(1), ask, 10))[0]!.kind, 'swim-ack');
    swim.receive(member(1), gossip(rumor(0, 'suspect', 3)), 20);
    const [ack] = sent(swim.receive(member(1), ask, 30));
    assert.ok(ack?.kind === 'swim-ack');
    const own = ack.rumors.find((each) => each.id === id(0))!;
    assert.deepEqual([own.state, own.refutation], ['alive', 4]);
    assert.equal(swim.health, 1);
    swim.receive(member(1), gossip(rumor(0, 'dead', 2)), 40);
    assert.equal(swim.rows.get(id(0))!.refutation, 4, 'what was said before it objected is void');
  });

  test('of two statements about one life the later wins, and of the same word the worse', () => {
    const swim = make(4);
    assert.deepEqual(news(swim.receive(member(1), gossip(rumor(2, 'suspect', 1)), 10)), ['2 suspect']);
    assert.deepEqual(
      news(swim.receive(member(1), gossip(rumor(2, 'alive', 1, null)), 20)),
      [],
      'not later than the suspicion',
    );
    assert.deepEqual(news(swim.receive(member(1), gossip(rumor(2, 'alive', 2, null)), 30)), ['2 alive']);
    assert.deepEqual(news(swim.receive(member(1), gossip(rumor(2, 'suspect', 1)), 40)), []);
    assert.deepEqual(news(swim.receive(member(1), gossip(rumor(2, 'dead', 2)), 50)), ['2 dead']);
    assert.deepEqual(news(swim.receive(member(1), gossip(rumor(2, 'suspect', 2)), 60)), []);
    assert.deepEqual(news(swim.receive(member(1), gossip(rumor(2, 'alive', 3, null)), 70)), ['2 alive'], 'it is back');
    assert.deepEqual(news(swim.receive(member(1), gossip({ ...rumor(2, 'alive', 0, null), incarnation: 6 }), 80)), []);
    assert.equal(swim.rows.get(id(2))!.incarnation, 6);
    assert.deepEqual(news(swim.receive(member(1), gossip(rumor(2, 'dead', 9)), 90)), [], 'of a life that has ended');
    swim.invariants();
  });

  test('of somebody unknown only how to reach him is taken', () => {
    const swim = make(2);
    assert.deepEqual(news(swim.receive(member(1), gossip(rumor(7, 'dead'), rumor(8, 'suspect')), 10)), []);
    assert.deepEqual(news(swim.receive(member(1), gossip(rumor(7, 'alive', 0, null)), 20)), ['7 alive']);
  });

  test('a probe that nobody answers: others are asked, then it is suspected, then dead', () => {
    const swim = make(4);
    const seen: string[] = [];
    let asked = 0;
    for (let nowMs = 0; nowMs < 60_000 && !seen.some((each) => each.endsWith('dead')); nowMs += 50) {
      const outputs = swim.tick(nowMs);
      asked += sent(outputs).filter(({ kind }) => kind === 'swim-ping-req').length;
      seen.push(...news(outputs));
      swim.invariants();
    }
    assert.ok(asked >= 3);
    assert.match(seen[0]!, /suspect$/);
    assert.match(seen.at(-1)!, /dead$/);
    assert.ok(swim.health >= 6, 'when nobody answers at all, it is we who are in trouble');
  });

  test('after standing still it accuses nobody before it has listened', () => {
    const swim = make(1);
    let pinged = 0;
    let nowMs = 0;
    for (; pinged === 0; nowMs += 50) pinged = sent(swim.tick(nowMs)).filter(({ kind }) => kind === 'swim-ping').length;
    assert.deepEqual(news(swim.tick(nowMs + 10_000)), [], 'the probe should have ended nine seconds ago');
    swim.receive(member(1), { kind: 'swim-ack', number: 1, rumors: [] }, nowMs + 10_001);
    for (let after = nowMs + 10_050; after < nowMs + 11_000; after += 50) assert.deepEqual(news(swim.tick(after)), []);
  });

  test('asks for others, passes the answer on, and says so when there is none', () => {
    const swim = make(3);
    const request: SwimMessage = { kind: 'swim-ping-req', number: 42, target: id(2), rumors: [] };
    const [ping] = sent(swim.receive(member(1), request, 10));
    assert.ok(ping?.kind === 'swim-ping');
    const [ack] = sent(swim.receive(member(2), { kind: 'swim-ack', number: ping.number, rumors: [] }, 20));
    assert.deepEqual([ack?.kind, ack !== undefined && 'number' in ack && ack.number], ['swim-ack', 42]);
    swim.receive(member(1), request, 30);
    const later: SwimMessage[] = [];
    for (let nowMs = 40; nowMs <= 500; nowMs += 20) later.push(...sent(swim.tick(nowMs)));
    assert.deepEqual(
      later.filter(({ kind }) => kind === 'swim-nack'),
      [{ kind: 'swim-nack', number: 42 }],
    );
    for (let n = 0; n < 1000; n += 1) swim.receive(member(1), request, 510);
    swim.invariants();
  });

  test('who is thought dead and asks whether we are there is told so', () => {
    const swim = make(3);
    swim.receive(member(1), gossip(rumor(2, 'dead')), 10);
    for (let nowMs = 200; nowMs < 20_000; nowMs += 200) swim.tick(nowMs);
    const [ack] = sent(swim.receive(member(2), ask, 20_000));
    assert.ok(ack?.kind === 'swim-ack' && ack.rumors.some((each) => each.id === id(2) && each.state === 'dead'));
  });
});
