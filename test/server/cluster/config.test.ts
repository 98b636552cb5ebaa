/** The settings of a cluster: what a list means, and everything that is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ETCD } from '../../../src/cluster/etcd.ts';
import { factsOf, setupFrom } from '../../../src/server/cluster/setup.ts';
import { resolveConfig } from '../../../src/server/config.ts';
import type { ServerConfig } from '../../../src/server/settings.ts';

const LIST = '10.0.0.1:17379@a,10.0.0.2:17379@b,[fe80::1]:17379,host.example:17379';

function config(flags: Record<string, string>): ServerConfig {
  return resolveConfig({ flags, env: {}, file: null }).config;
}

test('a list makes a member: ids by place, the first vote, defaults by size', () => {
  const one = config({ join: LIST, announce: '10.0.0.2', bind: '0.0.0.0' });
  const { setup, announce, linkPort, data } = one.cluster!;
  assert.deepEqual([announce, linkPort, data], ['10.0.0.2', 17379, null]);
  assert.deepEqual(
    setup.members.map(({ host, zone }) => [host, zone]),
    [
      ['10.0.0.1', 'a'],
      ['10.0.0.2', 'b'],
      ['fe80::1', ''],
      ['host.example', ''],
    ],
  );
  assert.equal(setup.self, setup.members[1]!.id);
  assert.deepEqual(
    setup.voters,
    setup.members.slice(0, 3).map(({ id }) => id),
  );
  assert.deepEqual(
    [setup.rangeCount, setup.copies, setup.timing.leaseMs, setup.timing.takeoverMs],
    [64, 2, 1000, 1500],
  );
  const other = config({ join: LIST, announce: 'fe80::1', bind: '::', 'cluster-secret': 'x'.repeat(16) }).cluster!
    .setup;
  assert.deepEqual([other.fingerprint, other.members], [setup.fingerprint, setup.members]);
  for (const changed of [
    { takeover: '2s' },
    { replicas: '2' },
    { ranges: '128' },
    { voters: '1' },
    { 'cluster-name': 'x' },
    { 'crash-fast-path': 'on' },
    { topology: 'primary' },
  ]) {
    const differs = config({ join: LIST, announce: '10.0.0.2', bind: '0.0.0.0', ...changed }).cluster!.setup;
    assert.notEqual(differs.fingerprint, setup.fingerprint, JSON.stringify(changed));
  }
  const primary = config({ join: LIST, bind: '10.0.0.2', topology: 'primary' }).cluster!.setup;
  assert.deepEqual([primary.topology, primary.copies], ['primary', 3], 'two replicas');
  assert.equal(config({ join: '127.0.0.1:17379' }).cluster!.setup.copies, 1, 'alone, there is nobody to copy to');
  assert.equal(config({}).cluster, null);
});

test('a list without the node itself names members of a cluster that is to be joined', () => {
  const { cluster, joining } = config({
    join: '10.0.0.1:17379,10.0.0.2:17379',
    announce: '10.0.0.9',
    zone: 'b',
    'write-mode': 'page=async',
    'on-minority': 'page=gutter',
  });
  assert.equal(cluster, null);
  assert.deepEqual(joining, {
    seeds: [
      { host: '10.0.0.1', linkPort: 17_379 },
      { host: '10.0.0.2', linkPort: 17_379 },
    ],
    name: 'breakwater',
    secret: '',
    labels: { zone: 'b', machine: '', weight: 1 },
    announce: '10.0.0.9',
    linkPort: 17_379,
    proxyPort: null,
    data: null,
    writeModes: { page: 'async' },
    minorityModes: { page: 'gutter' },
    gutterMs: 10_000,
    coordination: null,
  });
});

test('where to look for members, and what is formed of those that are found', () => {
  const flags = { bind: '0.0.0.0', announce: 'cache-0.cache', 'link-port': '17000' };
  const { joining, cluster } = config({
    ...flags,
    join: 'dns:cache.default.svc, srv:_link._tcp.cache, file:/etc/members, 10.0.0.1:17379',
    expect: '3',
    voters: '3',
    zone: 'a',
  });
  assert.equal(cluster, null);
  assert.deepEqual(joining!.discovery, {
    sources: [
      { kind: 'dns', name: 'cache.default.svc', linkPort: null },
      { kind: 'srv', name: '_link._tcp.cache' },
      { kind: 'file', path: '/etc/members' },
      { kind: 'address', address: { host: '10.0.0.1', linkPort: 17_379 } },
    ],
    expect: 3,
    wishes: { voters: 3, replicas: null, ranges: null, takeoverMs: 1500, crashFastPath: false, topology: 'sharded' },
  });
  assert.equal(config({ ...flags, join: 'dns:cache:17000' }).joining!.discovery!.expect, null);
  // A list says itself who is expected; to say it twice does no harm.
  assert.ok(config({ join: '127.0.0.1:17379,127.0.0.1:17380', expect: '2' }).cluster);
});

test('zones, machines and weights: in the list for the beginning, as settings for now', () => {
  const list = '10.0.0.1:17379@a#rack-1=2,10.0.0.2:17379#rack-2,10.0.0.3:17379=0.5,10.0.0.4:17379@b=0';
  const { setup, labels } = config({ join: list, bind: '10.0.0.1', weight: '3' }).cluster!;
  assert.deepEqual(
    setup.members.map(({ zone, machine, weight }) => [zone, machine, weight]),
    [
      ['a', 'rack-1', 2],
      ['', 'rack-2', undefined],
      ['', undefined, 0.5],
      ['b', undefined, 0],
    ],
  );
  assert.deepEqual(labels, { zone: 'a', machine: 'rack-1', weight: 3 });
  const other = config({ join: list, bind: '10.0.0.2' }).cluster!;
  assert.equal(other.setup.fingerprint, setup.fingerprint, 'what one says of itself is not what all must have alike');
  assert.deepEqual(other.labels, { zone: '', machine: 'rack-2', weight: 1 });
  const plain = list.replaceAll(/#[a-z0-9-]+|=[0-9.]+/g, '');
  assert.notEqual(config({ join: plain, bind: '10.0.0.2' }).cluster!.setup.fingerprint, setup.fingerprint);
  const { joining } = config({ join: '10.0.0.1:17379', bind: '10.0.0.9', machine: 'm', weight: '0' });
  assert.deepEqual(joining!.labels, { zone: '', machine: 'm', weight: 0 });
});

test('an etcd that coordinates: nobody votes, and what must be the same everywhere says so', () => {
  const join = '127.0.0.1:17379,127.0.0.1:17380,127.0.0.1:17381';
  const { setup, coordination } = config({ join, coordination: 'etcd://e1,e2:4001/cache' }).cluster!;
  assert.deepEqual([setup.voters, setup.coordination], [[ETCD], 'etcd']);
  assert.deepEqual(coordination, {
    isTls: false,
    hosts: [
      { host: 'e1', port: 2379 },
      { host: 'e2', port: 4001 },
    ],
    user: null,
    password: '',
    prefix: '/cache',
    files: { ca: null, cert: null, key: null },
  });
  assert.notEqual(setup.fingerprint, config({ join }).cluster!.setup.fingerprint);
  const other = config({ join, coordination: 'etcd://elsewhere' }).cluster!.setup;
  assert.equal(
    other.fingerprint,
    setup.fingerprint,
    'hosts may have other names elsewhere: etcd itself says which it is',
  );
  const again = setupFrom(factsOf(setup), { host: '127.0.0.1', linkPort: 17_379 }, '');
  assert.deepEqual([again.fingerprint, again.coordination, again.voters], [setup.fingerprint, 'etcd', [ETCD]]);
  const tls = { coordination: 'etcds://e', 'coordination-ca': 'a', 'coordination-cert': 'b', 'coordination-key': 'c' };
  assert.deepEqual(config({ join, ...tls }).cluster!.coordination!.files, { ca: 'a', cert: 'b', key: 'c' });
  const { joining } = config({ join, port: '9000', coordination: 'etcd://e' });
  assert.equal(joining!.coordination!.hosts[0]!.host, 'e');
});

test('what cannot be meant is refused with a sentence', () => {
  const local = { join: '127.0.0.1:17379,127.0.0.1:17380,127.0.0.1:17381' };
  const cases: readonly (readonly [Record<string, string>, RegExp])[] = [
    [{ data: '/tmp/x' }, /data is for a member of a cluster.*--join/],
    [{ takeover: '2s' }, /takeover is for a member/],
    [{ ...local, port: '0' }, /needs a port/],
    [{ ...local, port: '9000', ranges: '64' }, /127\.0\.0\.1:19000, is not in the list.*ranges was decided/],
    [{ join: '127.0.0.1:17379@a', port: '9000' }, /not in the list.*give --zone/],
    [{ ...local, zone: 'a' }, /the zone of this node is none .*--zone says a/],
    [{ ...local, 'link-port': '8379' }, /8379 was given twice/],
    [{ ...local, 'proxy-port': '7379' }, /7379 was given twice/],
    [{ 'proxy-port': '9379' }, /proxy-port is for a member of a cluster.*--join/],
    [{ ...local, bind: '0.0.0.0' }, /--announce/],
    [{ ...local, replicas: '3' }, /too few members/],
    [{ ...local, voters: '5' }, /fewer members than voters/],
    [{ ...local, voters: '2' }, /1, 3 or 5/],
    [{ ...local, 'crash-fast-path': 'maybe' }, /off, on/],
    [{ ...local, port: '9000', 'crash-fast-path': 'on' }, /not in the list.*crash-fast-path was decided/],
    [{ ...local, ranges: '100' }, /power of two/],
    [{ ...local, takeover: '100ms' }, /at least 750 ms/],
    [{ ...local, takeover: '2m' }, /at most 60s/],
    [{ ...local, 'cluster-secret': 'short' }, /16 to 256 characters.*5 characters/],
    [{ ...local, expect: '4' }, /list of --join has 3 members, --expect says 4/],
    [{ expect: '3' }, /expect is for a member/],
    [{ join: 'dns:' }, /dns:NAME/],
    [{ join: 'srv:cache' }, /srv:_SERVICE/],
    [{ join: 'dns:cache,10.0.0.1:17379@a' }, /without zones/],
    [{ join: 'dns:cache', ranges: '64' }, /without --expect.*ranges was decided/],
    [{ join: 'dns:cache', expect: '3', replicas: '3' }, /too few members/],
    [{ join: 'dns:cache', expect: '3', voters: '5' }, /fewer members than voters/],
    [{ join: 'dns:cache', expect: '0' }, /a count from 1 to 64/],
    [{ join: 'dns:cache', bind: '0.0.0.0' }, /--announce/],
    [{ ...local, weight: '-1' }, /a weight from 0 to 1000000.*received "-1"/],
    [{ ...local, weight: '1000001' }, /a weight from 0/],
    [{ ...local, weight: '0.0001' }, /three decimals/],
    [{ ...local, machine: 'a b' }, /letters, digits/],
    [{ coordination: 'etcd://e' }, /coordination is for a member of a cluster/],
    [{ ...local, coordination: 'etcd://e', voters: '3' }, /nobody votes where etcd coordinates/],
    [{ ...local, coordination: 'etcd://e', 'crash-fast-path': 'on' }, /crash-fast-path is for voters/],
    [{ join: 'dns:cache:17379', coordination: 'etcd://e', expect: '3' }, /formed by a list/],
    [{ ...local, coordination: 'zookeeper://e' }, /expected etcd:\/\/host:2379/],
    [{ ...local, coordination: 'etcd://e', 'coordination-ca': 'x' }, /etcds:\/\//],
    [{ ...local, 'coordination-ca': 'x' }, /etcds:\/\//],
    [{ ...local, coordination: 'etcds://e', 'coordination-key': 'x' }, /both, or neither/],
    [{ weight: '2' }, /weight is for a member of a cluster/],
    [{ join: '127.0.0.1:17379=0,127.0.0.1:17380', replicas: '1' }, /too few members of a weight above 0/],
    [{ join: '127.0.0.1:17379=x' }, /host:port/],
    [{ join: '127.0.0.1:17379=2', port: '9000' }, /not in the list.*--weight/],
    [{ join: '127.0.0.1' }, /host:port/],
    [{ join: '127.0.0.1:17379,' }, /host:port/],
    [{ join: '127.0.0.1:17379,127.0.0.1:17379' }, /twice/],
    [{ ...local, port: '60000' }, /above 65535: give --link-port/],
  ];
  for (const [flags, why] of cases) {
    assert.throws(
      () => config(flags),
      (error: Error & { code?: string }) => {
        assert.match(error.message, why);
        assert.equal(error.code, 'CONFIG_INVALID');
        return true;
      },
    );
  }
  const { warnings } = resolveConfig({
    flags: { ...local, bind: '0.0.0.0', announce: '127.0.0.1' },
    env: {},
    file: null,
  });
  assert.ok(warnings.some((one) => /pass for a member/.test(one)));
});
