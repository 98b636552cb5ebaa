import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runClusterPlacementBench } from './cluster-placement.ts';
import { clusterPlacementMarkdown, clusterPlacementTable } from './cluster-placement-report.ts';
import { environment } from './environment.ts';
import { type PlacementRow, runPlacementBench } from './placement.ts';
import { placementMarkdown, placementTable } from './placement-report.ts';

const report = runPlacementBench({ servers: 8, keys: 20_000, fleets: 3, virtualNodes: [1, 40, 160] });
const row = (scheme: string): PlacementRow => {
  const found = report.rows.find((each) => each.scheme === scheme);
  assert.ok(found !== undefined, scheme);
  return found;
};
const near = (got: number, expected: number, within: number, what: string): void =>
  assert.ok(Math.abs(got - expected) <= within, `${what}: ${got}, expected ${expected} +- ${within}`);

test('consistent schemes move 1/(N+1) on a join and 1/N on a leave, and nothing needlessly; modulo moves nearly all', () => {
  for (const scheme of ['ketama, 160 virtual nodes', 'rendezvous', 'slots (16,384)']) {
    near(row(scheme).movedOnJoin, 1 / 9, 0.025, `${scheme}, join`);
    near(row(scheme).movedOnLeave, 1 / 8, 0.025, `${scheme}, leave`);
    assert.equal(row(scheme).needless, 0);
  }
  assert.equal(row('ketama, 1 virtual node').needless, 0);
  near(row('modulo').movedOnJoin, 8 / 9, 0.02, 'modulo, join');
  near(row('modulo').movedOnLeave, 7 / 8, 0.02, 'modulo, leave');
  assert.ok(row('modulo').needless > 0.7);
});

test('the spread falls with the number of virtual nodes; rendezvous and modulo are as even as chance', () => {
  const [one, forty, many] = [1, 40, 160].map(
    (count) => row(`ketama, ${count} virtual ${count === 1 ? 'node' : 'nodes'}`).spread,
  );
  assert.ok(one! > 0.4 && forty! < 0.3 && many! < 0.15 && many! < forty!, [one, forty, many].join());
  for (const scheme of ['modulo', 'rendezvous']) assert.ok(row(scheme).spread < 2 * report.chanceSpread, scheme);
  assert.ok(row('rendezvous').heaviestHeir < 1.25);
  assert.ok(row('ketama, 1 virtual node').heaviestHeir > 4, 'one neighbour inherits everything');
});

test('the same options give the same figures', () => {
  const again = runPlacementBench({ servers: 8, keys: 20_000, fleets: 3, virtualNodes: [1, 40, 160] });
  assert.deepEqual(again, report);
});

test('tables name every scheme and the ideal', () => {
  for (const text of [placementTable(report), placementMarkdown(report)]) {
    for (const { scheme } of report.rows) assert.ok(text.includes(scheme));
    assert.ok(text.includes('(ideal)') && text.includes('11.1 %') && text.includes('12.5 %'));
  }
});

test('ranges of a cluster: a join moves its share, a leave nothing needlessly, and the tables say so', () => {
  const rows = runClusterPlacementBench({ members: [3, 10], ranges: 256 });
  for (const row of rows) {
    assert.ok(row.fullest <= 1.1 + row.members / 256 && row.emptiest >= 0.8 - row.members / 256, JSON.stringify(row));
    assert.ok(row.joinMoved > 0.8 && row.joinMoved <= 1.2, JSON.stringify(row));
    assert.equal(row.leaveNeedless, 0);
    assert.equal(row.zonesMissed, 0);
  }
  for (const text of [clusterPlacementTable(rows), clusterPlacementMarkdown(rows, environment())]) {
    assert.ok(text.includes('join moves') && text.includes(rows[1]!.joinMoved.toFixed(3)));
  }
});
