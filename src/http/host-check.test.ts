import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostCheck } from './host-check.ts';

test('on loopback: names of loopback and what was allowed, with any port; nothing else', () => {
  const check = hostCheck(true, ['cache.internal', '[fd00::1]']);
  for (const host of [
    'localhost',
    'LOCALHOST:8379',
    'app.localhost:1',
    '127.0.0.1:8379',
    '127.9.9.9',
    '[::1]:8379',
    'cache.internal:80',
    'cache.internal.',
    '[fd00::1]:8379',
    undefined,
  ]) {
    assert.equal(check(host), true, host);
  }
  for (const host of [
    'evil.example',
    'evil.example:8379',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'notlocalhost',
    '10.0.0.1',
    '',
    '[::1].evil.example',
    'evil.example:80:8379',
  ]) {
    assert.equal(check(host), false, host);
  }
});

test('on other addresses: anything, unless names were given', () => {
  assert.equal(hostCheck(false, [])('cache.example'), true);
  assert.equal(hostCheck(false, ['cache.example'])('cache.example:1'), true);
  assert.equal(hostCheck(false, ['cache.example'])('evil.example'), false);
  assert.equal(hostCheck(true, ['*'])('evil.example'), true);
});
