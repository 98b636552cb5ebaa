import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BreakwaterError } from '../base/errors.ts';
import { clientOptionsOf, parseStoreUrl } from './url.ts';

test('schemes, hosts, ports, credentials and options', () => {
  const url = parseStoreUrl(
    'breakwater://us%40er:p%3Aa%2Fs@a.example:1,b,[::1]:3,[fe80::1%eth0]?commandTimeout=250ms&x=a%26b',
  );
  assert.deepEqual(url.hosts, [
    { host: 'a.example', port: 1 },
    { host: 'b', port: 7379 },
    { host: '::1', port: 3 },
    { host: 'fe80::1%eth0', port: 7379 },
  ]);
  assert.equal(url.username, 'us@er');
  assert.equal(url.password, 'p:a/s');
  assert.deepEqual({ ...url.options }, { commandTimeout: '250ms', x: 'a&b' });
  assert.deepEqual(
    [
      parseStoreUrl('redis://h'),
      parseStoreUrl('REDISS://:pw@h/0'),
      parseStoreUrl('valkey://h/'),
      parseStoreUrl('breakwaters://h'),
    ].map(({ kind, tls, hosts, username, password }) => [kind, tls, hosts[0]!.port, username, password]),
    [
      ['redis', false, 6379, undefined, undefined],
      ['redis', true, 6379, undefined, 'pw'],
      ['valkey', false, 6379, undefined, undefined],
      ['breakwater', true, 7379, undefined, undefined],
    ],
  );
});

test('client options of a URL', () => {
  const url = parseStoreUrl(
    'redis://u:p@h:1,g:2?commandTimeout=1.5s&connectTimeout=300&protocol=2&name=n&whenDown=reject&l1=64mb',
  );
  const options = clientOptionsOf(url, 1, ['l1']);
  assert.equal(options.host, 'g');
  assert.equal(options.port, 2);
  assert.equal(options.commandTimeoutMs, 1500);
  assert.equal(options.connectTimeoutMs, 300);
  assert.equal(options.protocol, 2);
  assert.equal(options.whenDown, 'reject');
  assert.throws(() => clientOptionsOf(url), /unknown option "l1"/);
  for (const bad of ['protocol=4', 'whenDown=panic', 'commandTimeout=soon']) {
    assert.throws(() => clientOptionsOf(parseStoreUrl(`redis://h?${bad}`)), BreakwaterError);
  }
});

test('bad URLs are refused with a reason and without the credentials', () => {
  const cases: Record<string, RegExp> = {
    '': /expected scheme/,
    'localhost:6379': /expected scheme/,
    'http://h': /unknown scheme "http"/,
    'constructor://h': /unknown scheme/,
    'redis://': /a host is missing/,
    'redis://u:secret@': /a host is missing/,
    'redis://u:secret@a,,b': /a host is missing/,
    'redis://u:secret@h:0': /cannot use port 0/,
    'redis://u:secret@h:65536': /cannot use port 65536/,
    'redis://u:secret@h:port': /cannot read the host/,
    'redis://u:secret@::1': /cannot read the host/,
    'redis://u:secret@h/1': /one database/,
    'redis://u:secret@h,h:6379': /twice/,
    'redis://u:sec%ret@h': /cannot decode the password/,
    'redis://u:secret@h?a=1&a=2': /twice/,
    'redis://u:secret@h?a': /expected name=value/,
    'redis://secret@h': /needs a password/,
  };
  for (const [text, reason] of Object.entries(cases)) {
    assert.throws(
      () => parseStoreUrl(text),
      (error: unknown) =>
        error instanceof BreakwaterError &&
        error.code === 'STORE_URL_INVALID' &&
        reason.test(error.message) &&
        !/sec%?ret/.test(error.message),
      text,
    );
  }
});

test('what is written is read, whatever is in the credentials', () => {
  const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(text, text, fc.integer({ min: 1, max: 65_535 }), (user, password, port) => {
      const url = parseStoreUrl(
        `valkey://${encodeURIComponent(user)}:${encodeURIComponent(password)}@host:${port}?k=${encodeURIComponent(user)}`,
      );
      assert.deepEqual(
        [url.username, url.password, url.hosts[0]!.port, url.options['k']],
        [user, password, port, user],
      );
    }),
    { numRuns: 200 },
  );
});
