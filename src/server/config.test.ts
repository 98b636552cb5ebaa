import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BreakwaterError } from '../base/errors.ts';
import { type ConfigSources, defaultMemoryBytes, resolveConfig } from './config.ts';
import { environmentName, SETTINGS } from './settings.ts';

const folder = mkdtempSync(join(tmpdir(), 'breakwater-config-'));
after(() => rmSync(folder, { recursive: true }));

const file = (text: string): string => {
  const path = join(folder, 'breakwater.yaml');
  writeFileSync(path, text);
  return path;
};
const resolve = (sources: Partial<ConfigSources> = {}) => resolveConfig({ flags: {}, env: {}, file: null, ...sources });
const fails = (sources: Partial<ConfigSources>, code: string, sentence: RegExp): void => {
  assert.throws(
    () => resolve(sources),
    (error: unknown) => {
      assert.ok(error instanceof BreakwaterError);
      assert.equal(error.code, code, error.message);
      assert.match(error.message, sentence);
      return true;
    },
  );
};

test('defaults', () => {
  const { config, warnings } = resolve();
  assert.deepEqual([config.port, config.httpPort, config.bind, config.eviction], [7379, 8379, '127.0.0.1', 'tinylfu']);
  assert.deepEqual(warnings, []);
  assert.equal(defaultMemoryBytes(64 * 1024 ** 3), 1024 ** 3);
  assert.equal(defaultMemoryBytes(2 * 1024 ** 3), 512 * 1024 ** 2);
  assert.equal(defaultMemoryBytes(1), 64 * 1024 ** 2);
});

test('a flag comes before the environment, that before the file, that before the default', () => {
  const path = file('port: 1001\nmemory: 100mb\neviction: lru\n');
  const env = { BREAKWATER_PORT: '1002', BREAKWATER_MEMORY: '200mb' };
  const { config } = resolve({ flags: { port: '1003' }, env, file: path });
  assert.deepEqual(
    [config.port, config.httpPort, config.memoryBytes, config.eviction],
    [1003, 2003, 200 * 1024 ** 2, 'lru'],
  );
});

test('every setting can be given in all three ways', () => {
  const samples: Record<string, string> = {
    port: '7000',
    'http-port': '7001',
    bind: '::1',
    memory: '128mb',
    eviction: 'allkeys-lfu',
    'max-value': '1mb',
    'max-clients': '5',
    'client-memory': '2mb',
    'stall-timeout': '5s',
    'idle-timeout': '10m',
    'log-format': 'json',
    'http-hosts': 'cache.internal,*',
    'plain-set': 'user=holdoff,*=refuse',
    join: '[::1]:17000@a,10.0.0.2:17000@b,10.0.0.3:17000@c',
    'link-port': '17000',
    announce: '::1',
    data: '/var/lib/breakwater',
    'cluster-name': 'shop',
    'cluster-secret': '0123456789abcdef',
    voters: '3',
    replicas: '2',
    ranges: '256',
    takeover: '3s',
    'crash-fast-path': 'on',
    'proxy-port': '7002',
    zone: 'a',
    machine: 'rack-7',
    weight: '1.5',
    expect: '3',
    coordination: 'etcds://cache:secret@10.0.0.9,10.0.0.8:2380/cache',
    'coordination-ca': '/etc/ca.pem',
    'coordination-cert': '/etc/cert.pem',
    'coordination-key': '/etc/key.pem',
    topology: 'primary',
    'write-mode': 'session=all,*=async',
    'on-minority': 'page=gutter,*=error',
    'gutter-ttl': '4s',
  };
  assert.deepEqual(Object.keys(samples).sort(), SETTINGS.map(({ name }) => name).sort());
  // Who votes, and what etcd does in their place, cannot be given together.
  const inAllWays = (left: readonly string[]) => {
    const given = Object.fromEntries(Object.entries(samples).filter(([name]) => !left.includes(name)));
    const byFlag = resolve({ flags: given }).config;
    const byEnv = resolve({
      env: Object.fromEntries(Object.entries(given).map(([name, text]) => [environmentName(name), text])),
    }).config;
    const byFile = resolve({
      file: file(
        Object.entries(given)
          .map(([name, text]) => `${name}: "${text}"`)
          .join('\n'),
      ),
    }).config;
    assert.deepEqual(byEnv, byFlag);
    assert.deepEqual(byFile, byFlag);
    return byFlag;
  };
  const { coordination } = inAllWays(['voters', 'crash-fast-path']).cluster!;
  assert.deepEqual([coordination!.user, coordination!.files.key], ['cache', '/etc/key.pem']);
  const byFlag = inAllWays(Object.keys(samples).filter((name) => name.startsWith('coordination')));
  assert.deepEqual([byFlag.eviction, byFlag.idleTimeoutMs, byFlag.maxValueBytes], ['lfu', 600_000, 1024 ** 2]);
  const { setup, data, proxyPort, writeModes, minorityModes, gutterMs } = byFlag.cluster!;
  assert.deepEqual(writeModes, { session: 'all', '*': 'async' });
  assert.deepEqual([minorityModes, gutterMs], [{ page: 'gutter', '*': 'error' }, 4000]);
  assert.deepEqual(
    [setup.name, setup.rangeCount, setup.copies, setup.timing.takeoverMs, setup.crashFastPath, data, proxyPort],
    ['shop', 256, 3, 3000, true, '/var/lib/breakwater', 7002],
  );
});

test('bad values: what, where, and what was received', () => {
  fails({ flags: { port: '99999' } }, 'CONFIG_INVALID', /--port.*0 to 65535.*"99999"/);
  fails({ flags: { port: '' } }, 'CONFIG_INVALID', /--port/);
  fails({ flags: { port: '7e3' } }, 'CONFIG_INVALID', /--port/);
  fails({ env: { BREAKWATER_MEMORY: 'lots' } }, 'SIZE_INVALID', /BREAKWATER_MEMORY.*"lots"/);
  fails({ flags: { memory: '1kb' } }, 'CONFIG_INVALID', /--memory.*8mb/);
  fails(
    { flags: { eviction: 'volatile-ttl' } },
    'CONFIG_INVALID',
    /tinylfu, lru, lfu, fifo, random, ttl, noeviction.*"volatile-ttl"/,
  );
  fails({ flags: { 'stall-timeout': '5 parsecs' } }, 'DURATION_INVALID', /--stall-timeout/);
  fails({ flags: { bind: 'not an address' } }, 'CONFIG_INVALID', /--bind/);
  fails({ flags: { port: '65000' } }, 'CONFIG_INVALID', /http-port/);
  fails({ flags: { port: '7000', 'http-port': '7000' } }, 'CONFIG_INVALID', /both/);
  fails({ flags: { memory: '16mb', 'max-value': '12mb' } }, 'CONFIG_INVALID', /max-value/);
  assert.equal(resolve({ flags: { memory: '8mb' } }).config.maxValueBytes, 4 * 1024 ** 2);
});

test('the file: errors point at the line', () => {
  fails({ file: join(folder, 'nowhere.yaml') }, 'CONFIG_FILE', /nowhere\.yaml/);
  fails(
    { file: file('port: 7379\nmemroy: 1gb\n') },
    'CONFIG_UNKNOWN',
    /breakwater\.yaml:2: .*"memroy" \(did you mean memory\?\)/,
  );
  fails({ file: file('port: 7379\n\neviction: best\n') }, 'CONFIG_INVALID', /breakwater\.yaml:3/);
  fails({ file: file('port: 7379\nport: 7380\n') }, 'CONFIG_FILE', /breakwater\.yaml:2.*unique/i);
  fails({ file: file('port: [1\n') }, 'CONFIG_FILE', /breakwater\.yaml:/);
  fails({ file: file('- port\n') }, 'CONFIG_FILE', /name: value/);
  fails({ file: file('port:\n') }, 'CONFIG_INVALID', /one plain value/);
  fails({ file: file('port: {a: 1}\n') }, 'CONFIG_INVALID', /one plain value/);
  assert.equal(resolve({ file: file('') }).config.port, 7379);
  assert.equal(resolve({ file: file('# only a comment\n') }).config.port, 7379);
});

test('warnings: open to others, variables nobody knows', () => {
  assert.match(resolve({ flags: { bind: '0.0.0.0' } }).warnings[0]!, /without authentication/);
  assert.deepEqual(resolve({ flags: { bind: '::1' } }).warnings, []);
  assert.match(resolve({ env: { BREAKWATER_MEMROY: '1gb' } }).warnings[0]!, /BREAKWATER_MEMROY/);
});
