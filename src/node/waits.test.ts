/** WAIT and write modes: three members in one process, effects held back at will. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, Cluster } from '../../test/support/members-in-memory.ts';
import type { Primary } from '../cluster/primary.ts';
import { MAX_WAIT_MS, Waits, WrittenRanges } from './waits.ts';

/** What copies are told stays on its way. */
const holdEffects = (cluster: Cluster): void => {
  cluster.holds = ({ kind }) => kind === 'effects';
};

test('WAIT is answered when so many copies have what the connection wrote', () => {
  const cluster = new Cluster(3, 3);
  const client = cluster.at('a');
  assert.equal(client.call('WAIT', '2', '0'), 2, 'nothing was written: how many copies there are');
  holdEffects(cluster);
  client.send(['SET', 'a', '1'], ['WAIT', '2', '0'], ['PING']);
  assert.deepEqual(client.replies.splice(0), ['OK'], 'a first SET does not wait, WAIT does, and what stands behind it');
  cluster.settle();
  assert.deepEqual(client.replies, []);
  cluster.holds = () => false;
  cluster.release();
  cluster.settle();
  assert.deepEqual(client.replies.splice(0), [2, 'PONG']);
});

test('WAIT ends with its time, and says how many have it', () => {
  const cluster = new Cluster(3, 3);
  const client = cluster.at('a');
  let to = -1;
  cluster.holds = (message, _from, at) => {
    if (message.kind !== 'effects') return false;
    if (to === -1) to = at;
    return at === to;
  };
  client.send(['SET', 'a', '1'], ['WAIT', '2', '100']);
  client.replies.splice(0);
  cluster.pass(90);
  assert.deepEqual(client.replies, []);
  cluster.pass(30);
  assert.deepEqual(client.replies.splice(0), [1]);
});

test('WAIT without a timeout ends too: who asked may have gone without a word', () => {
  const behind = { isStaged: false, isFollowing: true, applied: 6 };
  const primary = { reign: { epoch: 3, node: 'a' }, offset: 7, followers: new Map([['b', behind]]) };
  const waits = new Waits(() => [primary as unknown as Primary]);
  for (const timeoutMs of [0, 10 * MAX_WAIT_MS]) {
    let answer = -1;
    waits.begin({}, [0], 1, timeoutMs, 1000, (count) => {
      answer = count;
    });
    waits.look(1000 + MAX_WAIT_MS - 1);
    assert.equal(answer, -1);
    waits.look(1000 + MAX_WAIT_MS);
    assert.equal(answer, 0);
  }
  assert.equal(waits.count, 0);
});

test('WAIT says 0 when the range was lost, refuses what makes no sense, and forgets who has gone', () => {
  const cluster = new Cluster();
  const client = cluster.at('a');
  const owner = cluster.ownerOf('a');
  for (const [words, told] of [
    [['WAIT', 'x', '0'], /^-ERR value is not an integer/],
    [['WAIT', '1', '-1'], /^-ERR timeout is negative/],
    [['WAIT', '1', 'soon'], /^-ERR timeout is not an integer/],
  ] as const) {
    assert.match(String(client.call(...words)), told);
  }
  assert.match(
    String(new Client(cluster, owner, true).call('WAIT', '1', '0')),
    /^-ERR WAIT is not for a connection that is proxied/,
  );
  assert.equal(client.call('SET', 'a', '1'), 'OK');
  const gone = new Client(cluster, owner);
  gone.send(['WAIT', '9', '0'], ['SET', 'a', '2'], ['WAIT', '9', '0']);
  cluster.cut(owner);
  client.send(['SET', '{a}2', '2'], ['WAIT', '9', '0']);
  gone.node.closeSession(gone.session);
  cluster.pass(4000);
  cluster.cuts.clear();
  cluster.pass(2000);
  assert.equal(client.replies.at(-1), 0, 'another owns the range now');
  assert.ok(!gone.replies.includes(9));
});

test('the mode of a namespace says what waits: everything, what removes, nothing', () => {
  const cluster = new Cluster(3, 2, { slow: 'all', fast: 'async' });
  const keyIn = (namespace: string): string => {
    // All at one owner, so that one connection does.
    for (let n = 0; ; n += 1) if (cluster.ownerOf(`${namespace}:${n}`) === 0) return `${namespace}:${n}`;
  };
  const [slow, fast, safe] = [keyIn('slow'), keyIn('fast'), keyIn('page')];
  const client = new Client(cluster, 0);
  const answered = (...commands: string[][]): unknown[] => {
    client.send(...commands);
    return client.replies.splice(0);
  };
  const all = (): unknown[] => {
    cluster.holds = () => false;
    cluster.release();
    cluster.settle();
    const replies = client.replies.splice(0);
    cluster.pass(100);
    holdEffects(cluster);
    return replies;
  };
  holdEffects(cluster);
  assert.deepEqual(answered(['SET', safe, '1']), ['OK']);
  assert.deepEqual(answered(['SET', slow, '1']), [], 'its copy is waited for');
  assert.deepEqual(all(), ['OK']);
  assert.deepEqual(answered(['SET', fast, '1'], ['SET', fast, '2'], ['EXPIRE', fast, '100'], ['DEL', fast]), [
    'OK',
    'OK',
    1,
    1,
  ]);
  all();
  assert.deepEqual(answered(['DEL', safe]), []);
  assert.deepEqual(all(), [1]);
});

test('the fill of a lease waits for the copies where the mode is all', () => {
  for (const [mode, expected] of [
    ['safe', ['created']],
    ['all', []],
  ] as const) {
    const cluster = new Cluster(3, 2, { '*': mode });
    const client = cluster.at('a');
    const [token] = client.call('BW.GET', 'a', 'LEASE') as [string];
    holdEffects(cluster);
    client.send(['BW.SET', 'a', '1', 'LEASE', token]);
    assert.deepEqual(client.replies.splice(0), expected, mode);
  }
});

test('INFO replication: who copies, and how far behind it is', () => {
  const cluster = new Cluster();
  const client = cluster.at('a');
  holdEffects(cluster);
  client.send(['SET', 'a', '1'], ['SET', '{a}2', '1'], ['INFO', 'replication']);
  const text = String(client.replies.pop());
  assert.match(text, /^connected_slaves:[12]\r$/m);
  assert.match(
    text,
    /^slave\d:ip=10\.0\.0\.\d,port=7379,state=online,offset=\d+,lag=0,ranges=\d+,staged=0,behind=2\r$/m,
  );
});

test('CLUSTER RESET is refused', () => {
  const client = new Client(new Cluster(), 0);
  assert.match(String(client.call('CLUSTER', 'RESET', 'HARD')), /^-ERR cannot reset/);
});

test('ranges that were written: a bit each, in any order', () => {
  const written = new WrittenRanges(1024);
  for (const range of [1023, 0, 31, 32, 700, 31]) written.add(range);
  assert.deepEqual(
    written.all().sort((a, b) => a - b),
    [0, 31, 32, 700, 1023],
  );
});
