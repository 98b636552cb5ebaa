/**
 * Weights of a ring's servers: how keys and gutters spread, on two real nodes as well; and what a ring does not have. Servers have names here, which place keys, so the ports that the
 * system picks change nothing.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createBreakwater } from '../../src/cache/index.ts';
import { type PlacementKind, placement } from '../../src/stores/ring/placement.ts';
import { LiveServer } from '../clients/live-server.ts';

const KINDS: readonly PlacementKind[] = ['ketama', 'rendezvous'];
const KEYS = 20_000;

test('homes follow the weights, and so do the gutters of a server that is gone', () => {
  for (const kind of KINDS) {
    const weights = [1, 2, 5];
    const place = placement(
      weights.map((weight, index) => ({ name: `s${index}`, weight })),
      [0, 1, 2],
      kind,
      true,
    );
    const homes = [0, 0, 0];
    const guttersOfFirst = [0, 0, 0];
    for (let n = 0; n < KEYS; n += 1) {
      const { home, gutter } = place(`row:${n}`);
      assert.notEqual(gutter, home);
      homes[home]! += 1;
      if (home === 0) guttersOfFirst[gutter]! += 1;
    }
    weights.forEach((weight, index) => {
      const expected = (KEYS * weight) / 8;
      assert.ok(Math.abs(homes[index]! - expected) < 0.25 * expected, `${kind}: ${homes.join(' ')}`);
    });
    // 2 to 5 among those who are left.
    assert.ok(
      guttersOfFirst[0] === 0 && guttersOfFirst[2]! > 1.5 * guttersOfFirst[1]!,
      `${kind}: ${guttersOfFirst.join(' ')}`,
    );
  }
});

test('a server that is given more weight takes keys from all others, and between the others none moves', () => {
  for (const kind of KINDS) {
    const placeWith = (weight: number) =>
      placement(
        [
          { name: 'a', weight: 1 },
          { name: 'b', weight: 1 },
          { name: 'c', weight },
        ],
        [0, 1, 2],
        kind,
        false,
      );
    const [before, after] = [placeWith(1), placeWith(2)];
    let moved = 0;
    let astray = 0;
    for (let n = 0; n < KEYS; n += 1) {
      const [from, to] = [before(`row:${n}`).home, after(`row:${n}`).home];
      if (from === to) continue;
      moved += 1;
      if (to !== 2) astray += 1;
    }
    // From a third to a half: a sixth of all keys.
    assert.ok(moved > KEYS / 10 && moved < KEYS / 4, `${kind}: ${moved} moved`);
    // The points of a ketama ring are counted by the mean weight, so some of the others' points go as well.
    assert.ok(kind === 'rendezvous' ? astray === 0 : astray < moved / 3, `${kind}: ${astray} astray of ${moved}`);
  }
});

test('on two nodes: the heavier one has its share of the entries, and a ring has neither counters nor locks', async () => {
  const servers = await Promise.all([LiveServer.start(), LiveServer.start()]);
  const ring = servers.map(({ server }, index) => ({
    url: `breakwater://127.0.0.1:${server.respPort}` as const,
    name: `n${index}`,
    weight: index === 0 ? 1 : 3,
  }));
  const bw = createBreakwater({ store: { ring }, advice: false });
  try {
    const rows = bw.cache<number>('row', { load: async (ids) => ids.map(() => 1), ttl: '10m', l1: false });
    const ids = Array.from({ length: 400 }, (_, n) => String(n));
    await rows.getMany(ids);
    const entries: number[] = [];
    for (const { server } of servers) {
      const figures = await fetch(`http://127.0.0.1:${server.httpPort}/metrics`).then((answer) => answer.text());
      entries.push(Number(/^breakwater_entries (\d+)$/m.exec(figures)![1]));
    }
    assert.equal(entries[0]! + entries[1]!, ids.length);
    assert.ok(entries[1]! > 240 && entries[1]! < 360, entries.join(' '));
    assert.throws(() => bw.counter('views'), { code: 'COUNTER_UNAVAILABLE' });
    await assert.rejects(bw.lock('job', { ttl: '10s' }), { code: 'LOCK_UNAVAILABLE' });
  } finally {
    await bw.close();
    await Promise.all(servers.map((server) => server.close()));
  }
});
