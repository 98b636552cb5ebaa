/** All voters of a running cluster are replaced, one by one, while it is read and written: members in one process, over a network and a clock that the test turns. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, Cluster, idOf } from '../../test/support/members-in-memory.ts';

const KEYS = Array.from({ length: 10 }, (_, index) => `k${index}`);

/** As `breakwater voters replace` does: asked again until it is so. */
function change(cluster: Cluster, asked: number, add: number | null, remove: number | null): void {
  const [come, go] = [add, remove].map((index) => (index === null ? '-' : idOf(index))) as [string, string];
  const client = new Client(cluster, asked);
  const votes = (): readonly string[] => cluster.nodes[asked]!.core.membership.seats.voters;
  const isDone = (): boolean => (add === null || votes().includes(come)) && !votes().includes(go);
  for (let ms = 0; ms < 20_000 && !isDone(); ms += 200) {
    assert.match(String(client.call('BW.MEMBER', 'VOTERS', come, go)), /^(OK|-NOTREADY .*)$/);
    cluster.pass(200);
  }
  assert.ok(isDone(), `member ${add} votes and ${remove} does not`);
}

/** Every key, asked of who owns it; a read is never answered with anything but the newest. */
function checkKeys(cluster: Cluster, round: number): void {
  for (const key of KEYS) {
    for (let ms = 0; cluster.ownerOf(key) < 0 && ms < 10_000; ms += 5) cluster.pass(5);
    const client = new Client(cluster, cluster.ownerOf(key));
    const found = client.call('GET', key);
    assert.ok(found === null || found === `${round - 1}`, `${key} is ${String(found)} in round ${round}`);
    assert.equal(client.call('SET', key, `${round}`), 'OK');
    assert.equal(client.call('GET', key), `${round}`);
  }
}

test('all three voters are replaced one by one, dead and alive, and the first three are gone in the end', () => {
  const cluster = new Cluster(6, 2, {}, [], 3);
  checkKeys(cluster, 1);
  // Alive: nobody stops serving for a moment.
  const owners = cluster.nodes.map((node) => node.ownedCount);
  change(cluster, 5, 3, 0);
  for (const node of cluster.nodes) assert.equal(node.isOk, true);
  assert.deepEqual(
    cluster.nodes.map((node) => node.ownedCount),
    owners,
  );
  checkKeys(cluster, 2);
  // Its machine is gone for good.
  cluster.dead.add(1);
  change(cluster, 5, 4, 1);
  cluster.pass(3000);
  checkKeys(cluster, 3);
  cluster.dead.add(2);
  change(cluster, 4, 5, 2);
  cluster.pass(3000);
  checkKeys(cluster, 4);
  const { seats } = cluster.nodes[3]!.core.membership;
  assert.deepEqual([...seats.voters].sort(), [3, 4, 5].map(idOf));
  for (const index of [3, 4, 5]) assert.equal(cluster.nodes[index]!.core.voter!.phase, 'voting');
  // The new ones are a majority by themselves: the last of the first three and one of theirs are not needed.
  cluster.dead.add(0);
  cluster.dead.add(3);
  cluster.pass(3000);
  for (const index of [4, 5]) assert.equal(cluster.nodes[index]!.isOk, true);
  checkKeys(cluster, 5);
  // A member that was away for all of it comes back: whom it would ask is gone. It serves nothing by what it knew, and is told when a link opens.
  cluster.dead.delete(1);
  cluster.nodes[1]!.onTick(cluster.nowMs);
  cluster.pass(2000);
  assert.equal(cluster.nodes[1]!.isOk, false);
  const roster = cluster.nodes[4]!.core.membership.known;
  cluster.nodes[1]!.onMessage(idOf(4), { kind: 'roster-known', roster }, cluster.nowMs);
  cluster.pass(2000);
  assert.equal(cluster.nodes[1]!.isOk, true);
  assert.deepEqual(cluster.nodes[1]!.core.membership.seats, seats);
  assert.equal(cluster.nodes[1]!.core.voter!.phase, 'out');
  checkKeys(cluster, 6);
});

test('a grown cluster takes two more voters, and gives them back', () => {
  const cluster = new Cluster(5, 2, {}, [], 3);
  const voting = (): number => cluster.nodes.filter(({ core }) => core.voter?.phase === 'voting').length;
  change(cluster, 0, 3, null);
  change(cluster, 0, 4, null);
  cluster.pass(4000);
  assert.equal(voting(), 5);
  checkKeys(cluster, 1);
  // Two of five may be lost.
  cluster.dead.add(0);
  cluster.dead.add(1);
  cluster.pass(3000);
  assert.equal(cluster.nodes[4]!.isOk, true);
  checkKeys(cluster, 2);
  change(cluster, 4, null, 0);
  change(cluster, 4, null, 1);
  cluster.pass(4000);
  assert.deepEqual(cluster.nodes[2]!.core.membership.seats.voters, [2, 3, 4].map(idOf));
});

test('what would leave the cluster without a majority is refused', () => {
  const cluster = new Cluster(5, 2, {}, [], 3);
  const client = new Client(cluster, 4);
  const ask = (add: number | null, remove: number | null): unknown =>
    client.call('BW.MEMBER', 'VOTERS', add === null ? '-' : idOf(add), remove === null ? '-' : idOf(remove));
  cluster.dead.add(1);
  cluster.pass(3000);
  assert.match(String(ask(3, null)), /^-NOTREADY .*too few of those that are to stay/);
  assert.match(String(ask(3, 0)), /^-NOTREADY .*too few of those that are to stay/);
  cluster.dead.add(3);
  cluster.pass(3000);
  assert.match(String(ask(3, 1)), /^-NOTREADY .*silent/);
  assert.match(String(ask(4, 3)), /^-NOVOTER/);
  assert.match(String(ask(0, 2)), /^-ISVOTER/);
  assert.match(String(ask(9, 1)), /^-NOMEMBER/);
  cluster.dead.add(2);
  cluster.pass(3000);
  assert.match(String(ask(4, 1)), /^-NOTREADY .*no majority/);
});
