/** Tags over all ranges, at the moments at which they could be missed: while a fill races with them, while a member is away, while ranges change hands. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, Cluster } from '../../test/support/members-in-memory.ts';

const KEYS = Array.from({ length: 48 }, (_, n) => `row:${n}`);

/** Every key is there, with the tag, at its owner and its copy. */
function filled(cluster: Cluster): void {
  for (const key of KEYS) {
    assert.match(String(cluster.at(key).call('BW.SET', key, 'old', 'TAGS', '1', 't')), /^(created|replaced)$/);
  }
  cluster.pass(500);
}

/** What any live member says of any key: owners, proxies, and copies with READONLY. */
function readable(cluster: Cluster): string[] {
  const found: string[] = [];
  for (let index = 0; index < cluster.nodes.length; index += 1) {
    if (cluster.dead.has(index)) continue;
    const copy = new Client(cluster, index);
    assert.equal(copy.call('READONLY'), 'OK');
    const proxied = new Client(cluster, index, true);
    for (const key of KEYS) {
      for (const client of [copy, proxied]) {
        const reply = client.call('GET', key);
        if (reply !== null && !/^-MOVED /.test(String(reply))) found.push(`${key} at ${index}: ${String(reply)}`);
      }
    }
  }
  return found;
}

test('a member that was cut off when a tag was invalidated serves nothing of it when it is back, as a copy or as an owner', () => {
  for (const away of [0, 1, 2]) {
    const cluster = new Cluster();
    filled(cluster);
    cluster.cut(away);
    cluster.pass(3000);
    assert.equal(new Client(cluster, (away + 1) % 3).call('BW.INVALIDATE', 'TAGS', '1', 't'), 0);
    const gone = new Client(cluster, away);
    for (const key of KEYS) assert.match(String(gone.call('GET', key)), /^(null$|-(CLUSTERDOWN|MOVED))/);
    cluster.cuts.clear();
    // At once, while it catches up, and when it has.
    for (let ms = 0; ms < 1000; ms += 100) {
      for (const key of KEYS.slice(0, 8)) {
        const reply = new Client(cluster, away, true).call('GET', key);
        assert.ok(reply === null || /^-(TRYAGAIN|CLUSTERDOWN)/.test(String(reply)), `${key}: ${String(reply)}`);
      }
      cluster.pass(20);
    }
    cluster.pass(8000);
    assert.deepEqual(readable(cluster), []);
    // It takes over from each of the others.
    for (const other of [0, 1, 2]) {
      if (other === away) continue;
      cluster.dead.add(other);
      cluster.pass(4000);
      assert.deepEqual(readable(cluster), [], `${other} is gone, ${away} has its ranges`);
      cluster.dead.delete(other);
      cluster.pass(8000);
    }
    for (const node of cluster.nodes) node.invariants();
  }
});

test('a fill that overtakes a tag at its owner is dead when the tag is acknowledged, and one that comes behind it is refused', () => {
  const cluster = new Cluster();
  const tokens = KEYS.map((key) => (cluster.at(key).call('BW.GET', key, 'LEASE') as [string, number])[0]);
  const asked = new Client(cluster, 0);
  const isOther = (key: string): boolean => cluster.ownerOf(key) !== 0;
  const fill = (n: number): string => {
    const key = KEYS[n]!;
    return String(cluster.at(key).call('BW.SET', key, 'old', 'TAGS', '1', 't', 'LEASE', tokens[n]!));
  };
  // What a member is told as a copy of one range it applies to all that it has.
  cluster.holds = ({ kind }) => kind === 'spread' || kind === 'effects';
  asked.send(['BW.INVALIDATE', 'TAGS', '1', 't']);
  cluster.pass(20);
  assert.deepEqual(asked.replies, [], 'the other owners do not know yet');
  const early = KEYS.map((_, n) => n).filter((n) => isOther(KEYS[n]!) && n % 2 === 0);
  const late = KEYS.map((_, n) => n).filter((n) => !early.includes(n));
  assert.ok(early.length > 4 && late.length > 4);
  for (const n of early) assert.equal(fill(n), 'created');
  cluster.release();
  for (let ms = 0; ms < 2000 && asked.replies.length === 0; ms += 5) cluster.pass(5);
  assert.deepEqual(asked.replies, [0]);
  for (const n of late) assert.match(fill(n), /^-LEASEVOID/);
  assert.deepEqual(readable(cluster), []);
  cluster.pass(500);
  cluster.dead.add(1);
  cluster.pass(4000);
  assert.deepEqual(readable(cluster), [], 'and dead at the copies');
});

test('a tag that is invalidated while ranges are handed over misses none of them', () => {
  const cluster = new Cluster();
  for (let round = 0; round < 6; round += 1) {
    filled(cluster);
    const leaving = round % 3;
    assert.equal(new Client(cluster, leaving).call('BW.MEMBER', 'DRAIN'), 'OK');
    // Some of its ranges have gone, some are on their way.
    cluster.pass(5 * (round + 1));
    const asked = new Client(cluster, (leaving + 1) % 3);
    assert.equal(asked.call('BW.INVALIDATE', 'TAGS', '1', 't'), 0);
    assert.deepEqual(
      readable(cluster).filter((text) => !/-TRYAGAIN/.test(text)),
      [],
    );
    assert.equal(new Client(cluster, leaving).call('BW.MEMBER', 'RETURN'), 'OK');
    cluster.pass(2000);
    assert.deepEqual(readable(cluster), []);
  }
});
