/**
 * etcd over its JSON gateway, and whether the pretended etcd of the simulator is one: both are asked the same and must answer the same. Then what a member does about users, certificates, and hosts that are not there.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { FakeEtcd } from '../../../sim/cluster/fake-etcd.ts';
import { freePorts } from '../../../src/cli/children/ports.ts';
import type { EtcdCompare, EtcdOp, EtcdTxn } from '../../../src/cluster/etcd.ts';
import { type EtcdAddress, readEtcdAddress } from '../../../src/server/cluster/etcd-address.ts';
import { EtcdGateway, type EtcdTls } from '../../../src/server/cluster/etcd-gateway.ts';
import { selfSigned } from '../../support/certificate.ts';
import { EtcdServer } from '../../support/etcd-server.ts';
import { requires } from '../../support/requirements.ts';

const NEEDS = requires('etcd', 'etcdctl');
const PATIENCE_MS = 60_000;
const TIMEOUT = { timeout: 300_000, ...NEEDS };

let server: EtcdServer | null = null;
let folder = '';
const gateways: EtcdGateway[] = [];
before(async () => {
  if (NEEDS.skip !== false) return;
  folder = mkdtempSync(join(tmpdir(), 'breakwater-etcd-test-'));
  server = await EtcdServer.start();
}, TIMEOUT);
after(async () => {
  for (const gateway of gateways) gateway.close();
  await server?.close();
  if (folder !== '') rmSync(folder, { recursive: true, force: true });
});

const at = (url: string): EtcdAddress => readEtcdAddress(url, 'coordination');

function gatewayTo(url: string, tls: EtcdTls = {}): EtcdGateway {
  const gateway = new EtcdGateway(at(url), tls);
  gateways.push(gateway);
  return gateway;
}

const PUT: EtcdTxn = { compare: [], success: [{ kind: 'put', key: '/x', value: '1' }], failure: [] };

// -- the same questions to both

const KEYS = ['/p/a', '/p/b', '/p/c', '/q'];
const key = fc.constantFrom(...KEYS);
const value = fc.constantFrom('', '1', '22', '{"text":"\\u00e9"}');
/** Around the revisions that there are. */
const revision = fc.nat({ max: 60 });
const compare: fc.Arbitrary<EtcdCompare> = fc.oneof(
  fc.record({ key, mod: fc.constantFrom('equal', 'less', 'greater'), revision }),
  fc.record({ key, value, is: fc.constantFrom('equal', 'less') }),
);
const look: fc.Arbitrary<EtcdOp> = fc.oneof(
  fc.record({ kind: fc.constant('range'), key, end: fc.constant(null), since: fc.constant(0) }),
  fc.record({ kind: fc.constant('range'), key: fc.constant('/p/'), end: fc.constant('/p0'), since: revision }),
);
/** A key is written once in a transaction. */
function branch(depth: number): fc.Arbitrary<EtcdOp[]> {
  const puts = fc
    .uniqueArray(fc.record({ kind: fc.constant('put' as const), key, value }), {
      maxLength: 2,
      selector: (op) => op.key,
    })
    .map((ops): EtcdOp[] => ops);
  const looks = fc.array(look, { maxLength: 2 });
  const inner =
    depth === 0
      ? fc.constant<EtcdOp[]>([])
      : fc.array(
          // What looks only may stand beside what writes.
          fc
            .record({ compare: fc.array(compare, { maxLength: 2 }), success: looks, failure: looks })
            .map((txn): EtcdOp => ({ kind: 'txn', txn })),
          { maxLength: 2 },
        );
  return fc.tuple(looks, puts, inner, looks).map((parts) => parts.flat());
}
const txn: fc.Arbitrary<EtcdTxn> = fc.record({
  compare: fc.array(compare, { maxLength: 2 }),
  success: branch(1),
  failure: branch(1),
});

test('the pretended etcd answers as the real one does', TIMEOUT, async () => {
  const real = gatewayTo(server!.url);
  const fake = new FakeEtcd((await real.run(PUT, PATIENCE_MS)).clusterId);
  fake.run(PUT);
  await fc.assert(
    fc.asyncProperty(fc.array(txn, { minLength: 1, maxLength: 6 }), async (txns) => {
      for (const each of txns) assert.deepEqual(await real.run(each, PATIENCE_MS), fake.run(each));
    }),
    { numRuns: 40, endOnFailure: true },
  );
  assert.ok(fake.revision > 20);
});

test('records are put by transactions within one, as many as a member puts at once', TIMEOUT, async () => {
  const real = gatewayTo(server!.url);
  const { revision: first } = await real.run(PUT, PATIENCE_MS);
  const each = (mod: number) =>
    Array.from({ length: 50 }, (_, range): EtcdOp => {
      const name = `/many/${range}`;
      const put: EtcdOp = { kind: 'put', key: name, value: 'x'.repeat(400) };
      const failure: EtcdOp[] = [{ kind: 'range', key: name, end: null, since: 0 }];
      return {
        kind: 'txn',
        txn: { compare: [{ key: name, mod: 'equal', revision: mod }], success: [put], failure },
      };
    });
  const found = await real.run({ compare: [], success: each(0), failure: [] }, PATIENCE_MS);
  assert.equal(found.revision, first + 1, 'one revision for all');
  assert.ok(found.results.every((result) => result.kind === 'txn' && result.isSuccess));
  const again = await real.run({ compare: [], success: each(0), failure: [] }, PATIENCE_MS);
  for (const result of again.results) {
    assert.ok(result.kind === 'txn' && !result.isSuccess && result.results[0]!.kind === 'range');
    assert.equal(result.results[0]!.entries[0]!.modRevision, found.revision);
  }
});

test('what etcd refuses, the pretended one refuses', TIMEOUT, async () => {
  const real = gatewayTo(server!.url);
  const put: EtcdOp = { kind: 'put', key: '/twice', value: '' };
  const within = (txn: Partial<EtcdTxn>): EtcdOp => ({
    kind: 'txn',
    txn: { compare: [], success: [], failure: [], ...txn },
  });
  const many = Array.from({ length: 100 }, (_, index): EtcdOp => ({ ...put, key: `/many/${index}` }));
  const cases: readonly (readonly [EtcdOp[], boolean])[] = [
    [[put, put], false],
    [[put, within({ success: [put] })], false],
    [[within({ success: [put] }), within({ failure: [put] })], false],
    [[within({ success: [put], failure: [within({ success: [put] })] })], true],
    [[...many, ...many.map((op): EtcdOp => ({ ...op, kind: 'range', end: null, since: 0, key: '/' }))], false],
    [
      [
        ...many,
        within({
          success: many
            .slice(0, 2)
            .map((op) => ({ ...op, key: '/other' }) as EtcdOp)
            .slice(0, 1),
        }),
      ],
      true,
    ],
    [[...many, within({ success: Array.from({ length: 40 }, (_, i): EtcdOp => ({ ...put, key: `/o/${i}` })) })], false],
  ];
  for (const [index, [success, isTaken]] of cases.entries()) {
    const asked: EtcdTxn = { compare: [], success, failure: [] };
    if (isTaken) {
      await real.run(asked, PATIENCE_MS);
      new FakeEtcd().run(asked);
      continue;
    }
    await assert.rejects(real.run(asked, PATIENCE_MS), /duplicate key|too many operations/, `case ${index}`);
    assert.throws(() => new FakeEtcd().run(asked), /duplicate key|too many operations/, `case ${index}`);
  }
});

test('a host that is not there is left for the next; nobody there is an error', TIMEOUT, async () => {
  const [free] = await freePorts(1);
  const gateway = gatewayTo(`etcd://127.0.0.1:${free},127.0.0.1:${server!.port}`);
  await assert.rejects(gateway.run(PUT, PATIENCE_MS), { code: 'ETCD_AWAY' });
  await gateway.run(PUT, PATIENCE_MS);
  assert.deepEqual([gateway.answered, gateway.failed], [1, 1]);
  await assert.rejects(gatewayTo(`etcd://127.0.0.1:${free}`).run(PUT, PATIENCE_MS), { code: 'ETCD_AWAY' });
});

test('what answers and is no etcd is refused', TIMEOUT, async () => {
  await assert.rejects(gatewayTo(server!.url.replace('etcd:', 'etcds:')).run(PUT, PATIENCE_MS), { code: 'ETCD_AWAY' });
  const { createServer } = await import('node:http');
  const other = createServer((_, response) => response.writeHead(404).end('no'));
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  try {
    const { port } = other.address() as { port: number };
    await assert.rejects(gatewayTo(`etcd://127.0.0.1:${port}`).run(PUT, PATIENCE_MS), {
      code: 'ETCD_REFUSED',
      message: /no JSON gateway/,
    });
  } finally {
    other.closeAllConnections();
    other.close();
  }
});

test('with a certificate: of whom we trust, and asking for ours', TIMEOUT, async () => {
  const { cert, key: privateKey } = selfSigned();
  const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, privateKey);
  const etcd = await EtcdServer.start(files);
  try {
    await gatewayTo(etcd.url, { ca: cert }).run(PUT, PATIENCE_MS);
    await assert.rejects(gatewayTo(etcd.url).run(PUT, PATIENCE_MS), { code: 'ETCD_AWAY', message: /certificate/ });
  } finally {
    await etcd.close();
  }
});

test(
  'with a user: a wrong password is refused, a token that is no good any more is asked for anew',
  TIMEOUT,
  async () => {
    const etcd = await EtcdServer.start();
    try {
      etcd.control('user', 'add', 'root', '--new-user-password', 'p@ss/w:rd');
      etcd.control('user', 'grant-role', 'root', 'root');
      etcd.control('auth', 'enable');
      const good = gatewayTo(etcd.url.replace('//', '//root:p%40ss%2Fw%3Ard@'));
      await good.run(PUT, PATIENCE_MS);
      await assert.rejects(gatewayTo(etcd.url.replace('//', '//root:wrong@')).run(PUT, PATIENCE_MS), {
        code: 'ETCD_REFUSED',
        message: /authentication failed/,
      });
      await assert.rejects(gatewayTo(etcd.url).run(PUT, PATIENCE_MS), /user name is empty/);
      // Tokens are in its memory.
      await etcd.kill();
      await etcd.start();
      let found = null;
      for (let tries = 0; found === null && tries < 100; tries += 1) {
        // The connection that is kept may be of the one that was killed.
        found = await good.run(PUT, PATIENCE_MS).catch(() => null);
      }
      assert.ok(found !== null);
    } finally {
      await etcd.close();
    }
  },
);

test('where etcd is: hosts, user, prefix; nothing that is shown has the password in it', () => {
  assert.deepEqual(at('etcd://a'), {
    isTls: false,
    hosts: [{ host: 'a', port: 2379 }],
    user: null,
    password: '',
    prefix: null,
  });
  assert.deepEqual(at('etcds://u:p%40@[::1]:1,b.example:2/x//y/'), {
    isTls: true,
    hosts: [
      { host: '::1', port: 1 },
      { host: 'b.example', port: 2 },
    ],
    user: 'u',
    password: 'p@',
    prefix: '/x/y',
  });
  for (const text of [
    'http://a',
    'etcd://',
    'etcd://a:0',
    'etcd://a:70000',
    'etcd://a,',
    'etcd://u:geheim@a b',
    'etcd://u:%zz@a',
  ]) {
    assert.throws(
      () => at(text),
      (error: Error & { code?: string }) => {
        assert.equal(error.code, 'CONFIG_INVALID', text);
        assert.doesNotMatch(error.message, /geheim/);
        return true;
      },
    );
  }
});
