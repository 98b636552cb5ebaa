/** Names, files and what becomes of their answers: fake time and a fake resolver; and the real one against a DNS server over loopback. */
import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { Log } from '../../base/log.ts';
import { Discovery } from './discovery.ts';
import { type Resolver, systemResolver } from './resolver.ts';
import { addressesIn, isSource, nameOf, shown, sourceIn } from './sources.ts';

const ends: (() => void)[] = [];
after(() => {
  for (const end of ends) end();
});

const NEVER = (): Promise<never> => Promise.reject(new Error('not asked in this test'));

function discovery(join: string, resolver: Partial<Resolver>) {
  const said: string[] = [];
  const note = (message: string): void => void said.push(message);
  const log: Log = { info: note, warn: note, error: note };
  const found = new Discovery({
    sources: join.split(',').map((part) => sourceIn(part)!),
    linkPort: 17_379,
    resolver: { addresses: NEVER, services: NEVER, file: NEVER, ...resolver },
    log,
  });
  return {
    found,
    said,
    at: async (nowMs: number) => {
      found.tick(nowMs);
      for (let i = 0; i < 10; i += 1) await turn();
      return found.found.map(shown).join(' ');
    },
  };
}

test('sources: what is meant, and what is a list of hosts that are called so', () => {
  for (const [text, name] of [
    ['dns:cache.default.svc', 'dns:cache.default.svc'],
    ['dns:cache:17000', 'dns:cache:17000'],
    ['srv:_link._tcp.cache', 'srv:_link._tcp.cache'],
    ['file:/etc/members', 'file:/etc/members'],
  ] as const) {
    assert.ok(isSource(text));
    assert.equal(nameOf(sourceIn(text)!), name);
  }
  for (const text of ['dns:', 'dns:a:b', 'dns:a:0', 'dns:a:1:2', 'dns:a b', 'srv:cache', 'file:']) {
    assert.ok(isSource(text), text);
    assert.equal(sourceIn(text), null, text);
  }
  for (const text of ['dns:17379', 'file:1', '10.0.0.1:17379']) assert.equal(isSource(text), false, text);
  assert.deepEqual(addressesIn('# all\n10.0.0.1:1 # the first\n\n [::1]:2\nhost.example\n', 17_379).map(shown), [
    '10.0.0.1:1',
    '[::1]:2',
    'host.example:17379',
  ]);
  assert.throws(() => addressesIn('ok:1\na b\n', 1), { code: 'MEMBERS_FILE_INVALID', message: /line 2.*"a b"/ });
  assert.throws(() => addressesIn('ok:70000', 1), { code: 'MEMBERS_FILE_INVALID' });
});

test('a name that fails is asked again with back-off, what it said last stays, and it is said once', async () => {
  let answer: readonly string[] | Error = new Error('ENOTFOUND');
  let asked = 0;
  const { found, said, at } = discovery('dns:cache', {
    addresses: () => {
      asked += 1;
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    },
  });
  assert.equal(await at(0), '');
  assert.deepEqual([found.isWhole, found.problems], [false, ['dns:cache: ENOTFOUND']]);
  // 500 ms, 1 s, 2 s, 4 s behind each other.
  const asks: number[] = [];
  for (let ms = 0; ms <= 8000; ms += 100) {
    const before = asked;
    await at(ms);
    if (asked > before) asks.push(ms);
  }
  assert.deepEqual(asks, [500, 1500, 3500, 7500]);
  assert.deepEqual(said, ['cannot look members up']);
  answer = ['10.0.0.2', '10.0.0.1', 'fe80::1'];
  assert.equal(await at(20_000), '10.0.0.1:17379 10.0.0.2:17379 [fe80::1]:17379');
  assert.deepEqual([found.isWhole, found.problems], [true, []]);
  answer = new Error('SERVFAIL');
  assert.equal(await at(40_000), '10.0.0.1:17379 10.0.0.2:17379 [fe80::1]:17379', 'nobody has gone for that');
  assert.equal(found.isWhole, false);
  answer = [];
  await at(80_000);
  assert.deepEqual(found.problems, ['dns:cache: it names no address']);
  answer = ['10.0.0.3'];
  assert.equal(await at(160_000), '10.0.0.3:17379');
  const before = asked;
  found.isUrgent = false;
  await at(161_000);
  await at(165_000);
  assert.equal(asked, before + 1, 'when nobody is missing, it is asked each ten seconds');
  found.stop();
  await at(900_000);
  assert.equal(asked, before + 1);
});

test('a file is read again when it changes; one that cannot be read changes nothing', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'bw-members-'));
  ends.push(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, 'members');
  writeFileSync(path, '10.0.0.1:17001\n# 10.0.0.9\n10.0.0.2\n');
  const { file } = systemResolver();
  let reads: Promise<string> = Promise.resolve('');
  const { found, at } = discovery(`file:${path}`, {
    file: (asked) => {
      reads = file(asked);
      return reads;
    },
  });
  const read = async (ms: number): Promise<string> => {
    await at(ms);
    await reads.catch(() => {});
    return at(ms);
  };
  assert.equal(await read(0), '10.0.0.1:17001 10.0.0.2:17379');
  writeFileSync(path, '10.0.0.2\n');
  assert.equal(await read(1000), '10.0.0.2:17379');
  writeFileSync(path, '10.0.0.2\nwhat is this\n');
  assert.equal(await read(2000), '10.0.0.2:17379');
  assert.match(found.problems.join(), /file:.*line 2/);
  rmSync(path);
  assert.equal(await read(60_000), '10.0.0.2:17379');
  assert.match(found.problems.join(), /ENOENT/);
  writeFileSync(path, '10.0.0.3\n');
  assert.equal(await read(120_000), '10.0.0.3:17379');
  assert.deepEqual(found.problems, []);
});

/** Answers A, AAAA and SRV questions out of a table; NXDOMAIN for every other name. As much of RFC 1035 as that takes. */
async function dnsServer(zone: Readonly<Record<string, readonly (readonly [type: number, data: Buffer])[]>>) {
  const socket = dgram.createSocket('udp4');
  socket.on('message', (query, from) => {
    const labels: string[] = [];
    let at = 12;
    for (; query[at] !== 0; at += query[at]! + 1) labels.push(query.toString('latin1', at + 1, at + 1 + query[at]!));
    const question = query.subarray(12, at + 5);
    const type = query.readUInt16BE(at + 1);
    const rows = zone[labels.join('.').toLowerCase()];
    const answers = (rows ?? []).filter(([its]) => its === type);
    const head = Buffer.alloc(12);
    query.copy(head, 0, 0, 2);
    head.writeUInt16BE(0x8180 | (rows === undefined ? 3 : 0), 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(answers.length, 6);
    const records = answers.map(([its, data]) => {
      const row = Buffer.alloc(12);
      row.writeUInt16BE(0xc00c, 0);
      row.writeUInt16BE(its, 2);
      row.writeUInt16BE(1, 4);
      row.writeUInt32BE(5, 6);
      row.writeUInt16BE(data.length, 10);
      return Buffer.concat([row, data]);
    });
    socket.send(Buffer.concat([head, question, ...records]), from.port, from.address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  ends.push(() => socket.close());
  return `127.0.0.1:${(socket.address() as AddressInfo).port}`;
}

function service(port: number, host: string): Buffer {
  const head = Buffer.alloc(6);
  head.writeUInt16BE(port, 4);
  const labels = host.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
  return Buffer.concat([head, ...labels, Buffer.from([0])]);
}

test('the real resolver against a DNS server: A, AAAA, SRV, and a name that is not there', {
  timeout: 120_000,
}, async () => {
  const [A, AAAA, SRV] = [1, 28, 33] as const;
  const server = await dnsServer({
    'cache.default.svc': [
      [A, Buffer.from([10, 1, 0, 7])],
      [A, Buffer.from([10, 1, 0, 8])],
      [AAAA, Buffer.from('fd000000000000000000000000000009', 'hex')],
    ],
    'four.default.svc': [[A, Buffer.from([10, 1, 0, 9])]],
    '_link._tcp.cache.default.svc': [
      [SRV, service(17_379, 'cache-0.cache.default.svc')],
      [SRV, service(17_400, 'cache-1.cache.default.svc')],
    ],
  });
  const resolver = systemResolver([server], false);
  assert.deepEqual([...(await resolver.addresses('cache.default.svc'))].sort(), ['10.1.0.7', '10.1.0.8', 'fd00::9']);
  assert.deepEqual(await resolver.addresses('four.default.svc'), ['10.1.0.9']);
  assert.deepEqual(await resolver.addresses('10.9.9.9'), ['10.9.9.9']);
  assert.deepEqual(
    [...(await resolver.services('_link._tcp.cache.default.svc'))].sort((a, b) => a.port - b.port),
    [
      { host: 'cache-0.cache.default.svc', port: 17_379 },
      { host: 'cache-1.cache.default.svc', port: 17_400 },
    ],
  );
  await assert.rejects(resolver.addresses('nobody.default.svc'), { code: 'ENOTFOUND' });
  await assert.rejects(resolver.services('_link._tcp.nobody'), { code: 'ENOTFOUND' });
});
