import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MemberStatus } from '../server/cluster/status.ts';
import { memberCalled, slotsOf } from './operate.ts';

function member(id: string, port: number): MemberStatus {
  const slots: string[] = [];
  return {
    ...{ id: id.repeat(40), host: '10.0.0.1', port, httpPort: 0, linkPort: port + 10_000, zone: '', isVoter: true },
    ...{
      machine: '',
      weight: 1,
      isFlapping: false,
      isSelf: false,
      health: 'online',
      stance: 'here',
      owned: 0,
      copied: 0,
      slots,
      link: null,
    },
  };
}

test('a member is called by its address, its link, its host, its id or the beginning of that', () => {
  const [a, b] = [member('a', 738), member('b', 7380)];
  const status = { members: [a, b] };
  for (const name of ['10.0.0.1:7380', '10.0.0.1:17380', 'b'.repeat(40), 'bb']) {
    assert.equal(memberCalled(status, name), b, name);
  }
  // The one is the beginning of the other.
  assert.equal(memberCalled(status, '10.0.0.1:738'), a);
  assert.equal(memberCalled({ members: [a] }, '10.0.0.1'), a);
  for (const [name, why] of [
    ['10.0.0.1', /2 members are called so/],
    // The beginning of an address is another address.
    ['10.0.0', /no member is called so/],
    ['10.0.0.1:7', /no member is called so/],
    ['10.0.0.1:1738', /no member is called so/],
    ['c', /no member is called so/],
    ['', /no member is called so/],
  ] as const) {
    assert.throws(() => memberCalled(status, name), { code: 'NO_SUCH_MEMBER', message: why });
  }
});

test('slots: one, or first-last', () => {
  assert.deepEqual(slotsOf('0'), [0, 0]);
  assert.deepEqual(slotsOf('16383'), [16_383, 16_383]);
  assert.deepEqual(slotsOf('5-300'), [5, 300]);
  for (const text of ['', 'x', '-1', '16384', '5-4', '1-16384', '1-2-3', '1,2']) {
    assert.throws(() => slotsOf(text), { code: 'USAGE_INVALID' }, text);
  }
});
