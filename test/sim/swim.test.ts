/** Membership news in a fleet of up to some hundred members, in virtual time: what is known of whom, and when. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Fleet, type Host, memberOf } from '../../sim/swim/fleet.ts';
import { crashTimes, falsehoods, joinMs, trafficAtRest } from '../../sim/swim/measure.ts';

const statesOf = (fleet: Fleet, about: Host): Set<string> =>
  new Set(
    fleet.live.filter((host) => host !== about).map((host) => host.swim.rows.get(about.member.id)?.state ?? 'unknown'),
  );

describe('a fleet', () => {
  test('a crash is known to everybody, and nobody else is suspected for it', () => {
    const fleet = new Fleet({ members: 40, seed: 1 });
    fleet.run(10_000);
    const victim = fleet.live[7]!;
    fleet.crash(victim);
    fleet.run(40_000);
    assert.deepEqual([...statesOf(fleet, victim)], ['dead']);
    assert.deepEqual(
      new Set(fleet.news.filter(({ atMs, state }) => atMs > 10_000 && state !== 'alive').map(({ about }) => about)),
      new Set([victim.member.id]),
    );
    for (const host of fleet.live) host.swim.invariants();
  });

  test('who leaves has left, without ever being suspected', () => {
    const fleet = new Fleet({ members: 20, seed: 2 });
    fleet.run(5_000);
    const leaver = fleet.live[3]!;
    fleet.leave(leaver);
    fleet.run(7_000);
    fleet.crash(leaver);
    fleet.run(60_000);
    assert.deepEqual([...statesOf(fleet, leaver)], ['left']);
    assert.equal(fleet.news.filter(({ state }) => state === 'suspect' || state === 'dead').length, 0);
  });

  test('one that starts again is known as alive, in its new life', () => {
    const fleet = new Fleet({ members: 12, seed: 3 });
    fleet.run(5_000);
    const victim = fleet.live[5]!;
    fleet.crash(victim);
    fleet.run(40_000);
    const again = { ...victim.member, incarnation: 2, host: '10.9.9.9' };
    fleet.start(again, [memberOf(0)]);
    fleet.run(60_000);
    for (const host of fleet.live) {
      const row = host.swim.rows.get(again.id)!;
      assert.deepEqual([row.state, row.incarnation, row.member.host], ['alive', 2, '10.9.9.9']);
    }
  });

  test('two halves that were cut apart find each other again', () => {
    const fleet = new Fleet({ members: 16, seed: 4 });
    fleet.run(5_000);
    const left = new Set(fleet.live.slice(0, 8).map(({ member }) => member.id));
    fleet.isCut = (from, to) => left.has(from) !== left.has(to);
    fleet.run(90_000);
    for (const host of fleet.live) {
      const dead = [...host.swim.rows.values()].filter(({ state }) => state === 'dead').map(({ member }) => member.id);
      assert.equal(dead.length, 8, 'each half thinks the other dead');
    }
    fleet.isCut = () => false;
    fleet.run(250_000);
    for (const host of fleet.live) assert.ok([...host.swim.rows.values()].every(({ state }) => state === 'alive'));
  });

  test('a newcomer that knows one is known to all within seconds', () => {
    assert.ok(joinMs(60, 5) < 5_000);
  });

  test('traffic at rest does not grow with the number of members', () => {
    const [small, large] = [trafficAtRest(10, 6), trafficAtRest(80, 6)];
    assert.ok(large.messagesPerSecond < 1.1 * small.messagesPerSecond, JSON.stringify({ small, large }));
    assert.ok(large.messagesPerSecond < 2.5);
  });

  test('under 20 % loss a crash is still found, and nobody that lives is taken for dead', () => {
    assert.ok(crashTimes(40, 7, { loss: 0.2, crashes: 2 }).worstAllMs < 60_000);
    assert.deepEqual(falsehoods(30, 8, { loss: 0.2 }), { victims: 0, beliefs: 0, stalledThoughtDead: 0, remaining: 0 });
  });

  test('members without CPU get well ones taken for dead where plain SWIM is used, and nobody where Lifeguard is', () => {
    const trouble = { stalled: 4, stallMs: 8_000 };
    const plain = falsehoods(30, 9, trouble, { lifeguard: false });
    const guarded = falsehoods(30, 9, trouble);
    assert.ok(plain.victims >= 4, JSON.stringify(plain));
    assert.deepEqual([guarded.victims, guarded.remaining], [0, 0]);
  });

  test('one seed, one history', () => {
    const historyOf = (): unknown => {
      const fleet = new Fleet({ members: 15, seed: 10, loss: 0.3 });
      fleet.run(30_000);
      return [fleet.news, fleet.live.map(({ sentBytes }) => sentBytes)];
    };
    assert.deepEqual(historyOf(), historyOf());
  });
});
