/** The parts of the cluster client that need no cluster: what replies mean. What needs one is in test/stores. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ReplyError, ReplyMap } from '../resp/reply.ts';
import { directionOf } from './cluster-redirect.ts';
import { addressOf, parseAddress, Topology, topologyOfShards, topologyOfSlots } from './cluster-topology.ts';

const ASKED = { host: 'asked', port: 6379 };

describe('directions', () => {
  const directed = (text: string) => directionOf(new ReplyError(text), ASKED);

  test('each error that is one', () => {
    assert.deepEqual(directed('MOVED 3999 10.0.0.1:6381'), {
      kind: 'moved',
      slot: 3999,
      to: { host: '10.0.0.1', port: 6381 },
    });
    assert.deepEqual(directed('ASK 1 :7000'), { kind: 'ask', to: { host: 'asked', port: 7000 } });
    assert.deepEqual(directed('MOVED 5 fe80::1:6379'), { kind: 'moved', slot: 5, to: { host: 'fe80::1', port: 6379 } });
    assert.deepEqual(directed('TRYAGAIN Multiple keys'), { kind: 'later', refresh: false });
    assert.deepEqual(directed('LOADING Redis is loading'), { kind: 'later', refresh: false });
    assert.deepEqual(directed('CLUSTERDOWN Hash slot not served'), { kind: 'later', refresh: true });
    assert.deepEqual(directed('READONLY You can not write'), { kind: 'later', refresh: true });
  });

  test('anything else is an error', () => {
    for (const text of ['ERR no', 'MOVED', 'MOVED x', 'MOVED 1 nowhere', 'ASK 1 h:0', 'MOVED one h:1', 'NOSCRIPT x']) {
      assert.deepEqual(directed(text), { kind: 'none' }, text);
    }
  });
});

describe('topologies', () => {
  const node = (role: string, port: number, more: Record<string, string> = {}) =>
    new ReplyMap(
      Object.entries({ id: 'x', port, ip: '10.0.0.9', endpoint: '10.0.0.9', role, health: 'online', ...more }).flat(),
    );
  const shard = (slots: number[], nodes: ReplyMap[]) => new ReplyMap(['slots', slots, 'nodes', nodes]);

  const at = (host: string, port: number, zone: string | null = null) => ({ host, port, zone });

  test('CLUSTER SHARDS: zones of owners and copies, where they say one', () => {
    const nodes = [node('master', 1, { 'availability-zone': 'a' }), node('replica', 2, { 'availability-zone': 'b' })];
    const shard1 = topologyOfShards([shard([0, 9], [...nodes, node('replica', 3)])], ASKED, false)!.ownerOf(5)!;
    assert.deepEqual(shard1.primary, at('10.0.0.9', 1, 'a'));
    assert.deepEqual(shard1.copies, [at('10.0.0.9', 2, 'b'), at('10.0.0.9', 3)]);
  });

  test('CLUSTER SHARDS: owners, replicas that failed included, shards without slots left out', () => {
    const topology = topologyOfShards(
      [
        shard([0, 99, 200, 16_383], [node('master', 1), node('replica', 2, { health: 'fail' }), node('replica', 3)]),
        shard([100, 149], [node('master', 4, { health: 'fail' }), node('master', 5)]),
        shard([150, 199], [node('master', 7), node('master', 8, { health: 'fail' })]),
        shard([], [node('master', 6)]),
      ],
      ASKED,
      false,
    )!;
    assert.equal(topology.mode, 'cluster');
    assert.deepEqual(topology.ownerOf(99), {
      primary: at('10.0.0.9', 1),
      replicas: 2,
      copies: [at('10.0.0.9', 3)],
    });
    assert.deepEqual(topology.ownerOf(16_383), topology.ownerOf(0));
    assert.deepEqual(topology.ownerOf(100), { primary: at('10.0.0.9', 5), replicas: 0, copies: [] });
    assert.deepEqual(topology.ownerOf(199), { primary: at('10.0.0.9', 7), replicas: 0, copies: [] });
    assert.equal(topology.shards.length, 3);
  });

  test('a node that does not know its name is the one that was asked; over TLS the other port', () => {
    const nodes = [node('master', 1, { endpoint: '?', 'tls-port': '7' })];
    assert.deepEqual(topologyOfShards([shard([0, 1], nodes)], ASKED, true)!.ownerOf(0)?.primary, {
      host: 'asked',
      port: 7,
      zone: null,
    });
  });

  test('CLUSTER SLOTS, as older servers answer', () => {
    const topology = topologyOfSlots(
      [
        [0, 10, ['a', 1, 'id'], ['b', 2, 'id']],
        [20, 30, ['a', 1, 'id'], ['b', 2, 'id']],
        [11, 19, ['', 3, 'id']],
      ],
      ASKED,
    )!;
    assert.deepEqual(topology.ownerOf(25), { primary: at('a', 1), replicas: 1, copies: [] });
    assert.deepEqual(topology.ownerOf(15), { primary: at('asked', 3), replicas: 0, copies: [] });
    assert.equal(topology.ownerOf(31), null);
  });

  test('other shapes are no topology', () => {
    for (const reply of [null, 'OK', [['x']], [1], [new ReplyMap(['slots', 'none', 'nodes', []])]]) {
      assert.equal(topologyOfShards(reply, ASKED, false), null);
    }
    for (const reply of [null, 1, ['x'], [[0, 1]], [[0, 1, ['h', 'no port']]]]) {
      assert.equal(topologyOfSlots(reply, ASKED), null);
    }
  });

  test('a slot that moved belongs to its new owner, and nothing else changes', () => {
    const topology = Topology.cluster([
      { primary: at('a', 1), replicas: 1, copies: [], ranges: [[0, 8_191]] },
      { primary: at('b', 1), replicas: 2, copies: [], ranges: [[8_192, 16_383]] },
    ]);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 16_383 }), fc.constantFrom('a', 'b', 'new'), (slot, host) => {
        const moved = topology.withMoved(slot, { host, port: 1 });
        assert.equal(moved.ownerOf(slot)?.primary.host, host);
        const other = (slot + 1) % 16_384;
        assert.deepEqual(moved.ownerOf(other), topology.ownerOf(other));
        assert.equal(topology.ownerOf(slot)?.primary.host, slot < 8_192 ? 'a' : 'b', 'the old map is as it was');
      }),
      { numRuns: 50 },
    );
  });

  test('addresses read back', () => {
    for (const address of [
      { host: '10.0.0.1', port: 1 },
      { host: 'fe80::1', port: 65_535 },
    ]) {
      assert.deepEqual(parseAddress(addressOf(address), ASKED), address);
    }
  });
});
