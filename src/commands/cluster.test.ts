/** Who is to execute a command: where its keys stand, and what is answered instead. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { slotOf } from '../hash/slot.ts';
import { type Args, REQUEST, RequestParser } from '../resp/parser.ts';
import { type Command, RequestWriter } from '../resp/request-writer.ts';
import { ReplyWriter } from '../resp/writer.ts';
import {
  type ClusterFace,
  type ClusterView,
  COPIED,
  ELSEWHERE,
  FROZEN,
  type MemberView,
  OWNED,
  UNOWNED,
  UNSURE,
} from './cluster-face.ts';
import { infoText, nodesText, writeShards, writeSlots } from './cluster-replies.ts';
import { MANY_SLOTS, NO_KEYS, nextKeyOf, slotOfKeys } from './key-positions.ts';
import { HERE, REFUSED, redirectOf } from './redirect.ts';
import { Session } from './session.ts';
import { COMMANDS } from './table.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder('latin1');
const rowOf = (name: string) => COMMANDS.find((row) => row.name === name.toLowerCase())!;

function argsOf(words: readonly (string | number)[]): Args {
  const writer = new RequestWriter();
  writer.command(words as Command);
  const parser = new RequestParser();
  parser.begin(writer.bytes, 0, writer.length);
  assert.equal(parser.next(), REQUEST);
  return parser.args;
}

function keysOf(...words: (string | number)[]): string[] {
  const args = argsOf(words);
  const next = nextKeyOf(rowOf(String(words[0])));
  const found: string[] = [];
  for (let at = next?.(args, 0) ?? 0; at !== 0; at = next!(args, at)) {
    found.push(decoder.decode(args.bytes.subarray(args.start[at]!, args.start[at]! + args.length[at]!)));
  }
  return found;
}

describe('where keys stand', () => {
  test('by first, last and step', () => {
    assert.deepEqual(keysOf('GET', 'a'), ['a']);
    assert.deepEqual(keysOf('SET', 'a', 'b', 'EX', 5), ['a']);
    assert.deepEqual(keysOf('MGET', 'a', 'b', 'c'), ['a', 'b', 'c']);
    assert.deepEqual(keysOf('MSET', 'a', 1, 'b', 2), ['a', 'b']);
    assert.deepEqual(
      keysOf('MSET', 'a', 1, 'b'),
      ['a', 'b'],
      'wrong, but routed all the same: the command says what is wrong',
    );
    assert.deepEqual(keysOf('DEL', 'a', 'b'), ['a', 'b']);
    assert.deepEqual(keysOf('BW.RELEASE', 'a', 't1', 'b', 't2'), ['a', 'b']);
    assert.deepEqual(keysOf('BW.LOCK', 'job', 'me', 5), ['job']);
    assert.deepEqual(keysOf('BW.COUNT', 'views', 1), ['views']);
    for (const name of ['PING', 'SCAN', 'DBSIZE', 'INFO', 'BW.STATS', 'KEYS']) assert.deepEqual(keysOf(name, 'x'), []);
  });

  test('by a count in the arguments', () => {
    assert.deepEqual(keysOf('BW.MGET', 2, 'a', 'b', 'LEASE'), ['a', 'b']);
    assert.deepEqual(keysOf('BW.LEASE', 1, 'a', 500), ['a']);
    assert.deepEqual(keysOf('BW.FILL', 2, 'a', 'v', 0, '', 2, 't1', 't2', 'b', 'v', 0, '', 0), ['a', 'b']);
    assert.deepEqual(keysOf('BW.INVALIDATE', 'TAGS', 1, 'KEYS', 'KEYS', 2, 'a', 'b', 'keys', 1, 'c'), ['a', 'b', 'c']);
    assert.deepEqual(keysOf('BW.INVALIDATE', 'NAMESPACES', 1, 'user'), []);
    assert.deepEqual(keysOf('BW.INVALIDATE', 'KEYS', 0, 'KEYS', 1, 'a'), ['a']);
  });

  test('counts that make no sense are no keys, and end', () => {
    for (const words of [
      ['BW.MGET', 'x', 'a'],
      ['BW.MGET', 3, 'a'],
      ['BW.MGET', -1, 'a'],
      ['BW.INVALIDATE', 'KEYS', 5, 'a'],
      ['BW.INVALIDATE', 'KEYS', -1, 'a'],
      ['BW.INVALIDATE', 'KEYS', 'x', 'a'],
      ['BW.FILL', 1, 'a', 'v', 0],
    ]) {
      assert.deepEqual(keysOf(...words), [], words.join(' '));
    }
    assert.deepEqual(keysOf('BW.FILL', 9, 'a', 'v', 0, '', 'x', 'b', 'v', 0, '', 0), ['a']);
    assert.deepEqual(keysOf('BW.FILL', 9, 'a', 'v', 0, '', -5, 'b', 'v', 0, '', 0), ['a']);
  });

  test('whatever the arguments, every command’s keys come to an end and are arguments of it', () => {
    const word = fc.oneof(
      fc.constantFrom('KEYS', 'TAGS', '0', '1', '2', '-3', '99999999999'),
      fc.string({ maxLength: 4 }),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(...COMMANDS.filter((row) => nextKeyOf(row) !== null)),
        fc.array(word, { maxLength: 12 }),
        (row, words) => {
          const args = argsOf([row.name, ...words]);
          const next = nextKeyOf(row)!;
          let last = 0;
          for (let at = next(args, 0); at !== 0; at = next(args, at)) {
            assert.ok(at > last && at < args.count, `${row.name} ${words.join(' ')}: ${last} -> ${at}`);
            last = at;
          }
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('the slot of several keys: one, many or none; hash tags keep them together', () => {
    const slotOfAll = (...words: string[]): number => slotOfKeys(nextKeyOf(rowOf(words[0]!))!, argsOf(words));
    assert.equal(slotOfAll('MGET', '{user:1}:a', '{user:1}:b'), slotOf(encoder.encode('user:1'), 0, 6));
    assert.equal(slotOfAll('MGET', 'a', 'b'), MANY_SLOTS);
    assert.equal(slotOfAll('BW.INVALIDATE', 'TAGS', '1', 'x'), NO_KEYS);
  });
});

const member = (n: number, more: Partial<MemberView> = {}): MemberView => ({
  id: String(n).repeat(40),
  host: `10.0.0.${n}`,
  port: 7000 + n,
  linkPort: 17_000 + n,
  zone: '',
  health: 'online',
  epoch: n,
  pingSentMs: 0,
  pongReceivedMs: 1000 * n,
  ...more,
});
const [A, B, C] = [member(1), member(2), member(3)] as const;

function viewOf(more: Partial<ClusterView> = {}): ClusterView {
  return {
    self: A,
    isOk: true,
    epoch: 7,
    members: [A, B, C],
    runs: [
      { first: 0, last: 8191, owner: A, copies: [B] },
      { first: 8192, last: 8192, owner: B, copies: [A] },
      { first: 8193, last: 12_287, owner: B, copies: [A, C] },
      { first: 12_288, last: 16_000, owner: A, copies: [B] },
    ],
    framesSent: 5,
    framesReceived: 6,
    ...more,
  };
}

function answered(
  state: number,
  words: readonly string[],
  options: { readonly readsCopies?: boolean; readonly owner?: MemberView | null } = {},
): string | null {
  const session = new Session(1, { address: 'test:1', kind: 'resp' }, 0);
  session.readsCopies = options.readsCopies ?? false;
  const out = new ReplyWriter();
  const face: ClusterFace = {
    hold: () => false,
    copyLagMs: () => Number.POSITIVE_INFINITY,
    member: {
      drain: () => assert.fail('nobody is drained'),
      move: () => assert.fail('nothing is moved'),
      rebalance: () => assert.fail('nothing is moved'),
      forget: () => assert.fail('nothing is moved'),
      pardon: () => assert.fail('nothing is moved'),
      voters: () => assert.fail('nothing is moved'),
    },
    view: viewOf(),
    stateOf: () => state,
    ownerOf: () => (options.owner === undefined ? B : options.owner),
    isVouching: true,
    spread: () => assert.fail('nothing is invalidated'),
    forward: () => assert.fail('nothing is forwarded'),
    answerAside: () => false,
    wait: () => assert.fail('nothing is waited for'),
    replication: { offset: 0, copies: [] },
  };
  const where = redirectOf(rowOf(words[0]!))(face, session, argsOf(words), out);
  assert.equal(where, out.length > 0 ? REFUSED : HERE);
  return where === REFUSED ? decoder.decode(out.bytes.subarray(0, out.length)) : null;
}

describe('who is asked instead', () => {
  test('for each state of the slot', () => {
    const get = ['GET', 'foo'];
    assert.equal(answered(OWNED, get), null);
    assert.equal(answered(ELSEWHERE, get), '-MOVED 12182 10.0.0.2:7002\r\n');
    assert.equal(answered(COPIED, get), '-MOVED 12182 10.0.0.2:7002\r\n');
    assert.match(answered(FROZEN, get)!, /^-TRYAGAIN /);
    assert.equal(answered(UNSURE, get), '-CLUSTERDOWN The cluster is down\r\n');
    assert.equal(answered(UNOWNED, get), '-CLUSTERDOWN Hash slot not served\r\n');
  });

  test('never MOVED to itself, nor to nobody', () => {
    assert.equal(answered(ELSEWHERE, ['GET', 'foo'], { owner: A }), '-CLUSTERDOWN Hash slot not served\r\n');
    assert.equal(answered(ELSEWHERE, ['GET', 'foo'], { owner: null }), '-CLUSTERDOWN Hash slot not served\r\n');
  });

  test('keys of several slots, even where this member owns them all; nothing without keys', () => {
    assert.equal(answered(OWNED, ['MGET', 'a', 'b']), "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
    assert.equal(answered(OWNED, ['MSET', '{a}1', '1', '{a}2', '2']), null);
    assert.equal(answered(ELSEWHERE, ['PING']), null);
    assert.equal(answered(UNSURE, ['CLUSTER', 'SLOTS']), null);
    assert.equal(answered(UNSURE, ['BW.INVALIDATE', 'TAGS', '1', 't']), null);
  });

  test('READONLY sessions read copies; writes and leases are the owner’s', () => {
    const readsCopies = true;
    assert.equal(answered(COPIED, ['GET', 'foo'], { readsCopies }), null);
    assert.equal(answered(COPIED, ['MGET', '{a}1', '{a}2'], { readsCopies }), null);
    assert.equal(answered(COPIED, ['BW.GET', 'foo'], { readsCopies }), null);
    assert.match(answered(COPIED, ['BW.GET', 'foo', 'LEASE'], { readsCopies })!, /^-MOVED/);
    assert.match(answered(COPIED, ['BW.GET', 'foo', 'lease', '100', 'NOTIFY'], { readsCopies })!, /^-MOVED/);
    assert.match(answered(COPIED, ['BW.MGET', '1', 'foo', 'LEASE', '100'], { readsCopies })!, /^-MOVED/);
    assert.match(answered(COPIED, ['SET', 'foo', '1'], { readsCopies })!, /^-MOVED/);
    assert.match(answered(COPIED, ['GETEX', 'foo'], { readsCopies })!, /^-MOVED/);
    assert.match(answered(ELSEWHERE, ['GET', 'foo'], { readsCopies })!, /^-MOVED/);
  });
});

describe('CLUSTER of a view', () => {
  const text = (protocol: 2 | 3, write: (out: ReplyWriter) => void): string => {
    const out = new ReplyWriter();
    out.protocol = protocol;
    write(out);
    return decoder.decode(out.bytes.subarray(0, out.length));
  };

  test('NODES: every member as a primary, neighbouring runs joined, a single slot alone, flags', () => {
    const view = viewOf({ members: [A, member(2, { health: 'suspected' }), member(3, { health: 'failed' })] });
    assert.equal(
      nodesText(view),
      `${A.id} 10.0.0.1:7001@17001 myself,master - 0 1000 1 connected 0-8191 12288-16000\n` +
        `${B.id} 10.0.0.2:7002@17002 master,fail? - 0 2000 2 connected 8192-12287\n` +
        `${C.id} 10.0.0.3:7003@17003 master,fail - 0 3000 3 disconnected\n`,
    );
    const single = viewOf({ runs: [{ first: 7, last: 7, owner: B, copies: [] }] });
    assert.match(nodesText(single), /connected 7\n/);
  });

  test('SLOTS leaves out copies that own something themselves, and joins what differed in them only', () => {
    const reply = text(2, (out) => writeSlots(viewOf(), out));
    assert.deepEqual(
      [...reply.matchAll(/\*(\d)\r\n:(\d+)\r\n:(\d+)\r\n/g)].map((found) => found.slice(1).map(Number)),
      [
        [3, 0, 8191],
        [3, 8192, 8192],
        [4, 8193, 12_287],
        [3, 12_288, 16_000],
      ],
      'C owns nothing and is listed',
    );
    const runs = [
      { first: 0, last: 4, owner: A, copies: [B] },
      { first: 5, last: 9, owner: A, copies: [] },
      { first: 10, last: 19, owner: B, copies: [A] },
    ];
    assert.match(
      text(2, (out) => writeSlots(viewOf({ runs }), out)),
      /^\*2\r\n\*3\r\n:0\r\n:9\r\n/,
    );
  });

  test('SLOTS leaves out copies that failed', () => {
    const view = viewOf({ runs: [{ first: 0, last: 9, owner: A, copies: [member(2, { health: 'failed' }), C] }] });
    assert.equal(
      text(3, (out) => writeSlots(view, out)),
      `*1\r\n*4\r\n:0\r\n:9\r\n*4\r\n$8\r\n10.0.0.1\r\n:7001\r\n$40\r\n${A.id}\r\n%0\r\n*4\r\n$8\r\n10.0.0.3\r\n:7003\r\n$40\r\n${C.id}\r\n%0\r\n`,
    );
  });

  test('SHARDS: an owner once for each set of copies, and members without slots', () => {
    const reply = text(3, (out) => writeShards(viewOf(), out));
    assert.match(reply, /^\*3\r\n%2\r\n\$5\r\nslots\r\n\*4\r\n:0\r\n:8191\r\n:12288\r\n:16000\r\n/);
    const idle = text(3, (out) => writeShards(viewOf({ runs: [{ first: 0, last: 9, owner: A, copies: [B] }] }), out));
    assert.match(
      idle,
      /^\*2\r\n[\s\S]*%2\r\n\$5\r\nslots\r\n\*0\r\n\$5\r\nnodes\r\n\*1\r\n%7\r\n\$2\r\nid\r\n\$40\r\n3333/,
    );
  });

  test('INFO counts slots by their owner’s health', () => {
    const info = infoText(
      viewOf({
        isOk: false,
        runs: [
          { first: 0, last: 99, owner: A, copies: [] },
          { first: 100, last: 109, owner: member(2, { health: 'failed' }), copies: [] },
        ],
      }),
    );
    for (const line of [
      'cluster_state:fail',
      'cluster_slots_assigned:110',
      'cluster_slots_ok:100',
      'cluster_slots_fail:10',
      'cluster_size:2',
      'cluster_my_epoch:1',
      'cluster_current_epoch:7',
    ]) {
      assert.ok(info.includes(`${line}\r\n`), line);
    }
  });
});
