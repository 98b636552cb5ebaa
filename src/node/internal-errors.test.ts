import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MapStore } from '../../test/model/map-store.ts';
import { SeededRandom } from '../base/random.ts';
import { ReplyWriter } from '../resp/writer.ts';
import { Node } from './node.ts';

describe('a bug inside a command', () => {
  class Failing extends MapStore {
    failing: Error | null = null;
    clearFails = false;
    override find(...args: Parameters<MapStore['find']>): number {
      if (this.failing !== null && args[2] === 4) throw this.failing;
      return super.find(...args);
    }
    override clear(nowMs: number): void {
      if (this.clearFails) throw new Error('no');
      super.clear(nowMs);
    }
  }

  function failingNode(): {
    node: Node;
    store: Failing;
    told: string[];
    ask: (text: string, kind?: 'resp' | 'http') => [string, boolean];
  } {
    const store = new Failing();
    const told: string[] = [];
    const node = new Node({
      memoryBytes: 2 ** 22,
      eviction: 'lru',
      random: new SeededRandom(1),
      startMs: 1000,
      version: '0',
      makeStore: () => store,
      onInternalError: (_error, where) => told.push(where),
    });
    const ask = (text: string, kind: 'resp' | 'http' = 'resp'): [string, boolean] => {
      const session = node.openSession(1000, { address: 'x', kind });
      const out = new ReplyWriter();
      const bytes = Buffer.from(text);
      node.onRequest(session, bytes, 0, bytes.length, 1000, out);
      const { closing } = session;
      node.closeSession(session);
      return [Buffer.from(out.bytes.subarray(0, out.length)).toString('latin1'), closing];
    };
    return { node, store, told, ask };
  }

  test('is an error reply; nothing of before is served, the session ends, the node goes on', () => {
    const { node, store, told, ask } = failingNode();
    ask('SET safe 1\r\n');
    const [token] = /\d+-\d+/.exec(ask('BW.GET void LEASE\r\n')[0])!;
    store.failing = new TypeError('a bug');
    const [reply, closing] = ask('GET safe\r\nPING\r\n');
    assert.match(
      reply,
      /^-ERR internal error NODE_INTERNAL[^\r]*\r\n$/,
      'one reply, and what came behind it is not executed',
    );
    assert.equal(closing, true);
    store.failing = null;
    assert.deepEqual(ask('GET safe\r\n'), ['$-1\r\n', false], 'a miss is always safe');
    assert.match(ask(`BW.SET void 1 LEASE ${token}\r\n`)[0], /^-LEASEVOID/, 'loads under way are void');
    assert.equal(ask('SET safe 2\r\nGET safe\r\n')[0], '+OK\r\n$1\r\n2\r\n');
    assert.deepEqual(told, ['get']);
    assert.equal(node.stats().commands.internalErrors, 1);
    assert.equal(node.stats().commands.internalResets, 1);
    assert.equal(node.isServing, true);
  });

  test('want of memory for a reply throws nothing away and ends nothing; the HTTP session is never closed', () => {
    const { node, store, ask } = failingNode();
    ask('SET kept 1\r\nSET safe 1\r\n');
    store.failing = new RangeError('Array buffer allocation failed');
    const [reply, closing] = ask('GET safe\r\nPING\r\n');
    assert.match(reply, /^-ERR internal error[^\r]*\r\n\+PONG\r\n$/);
    assert.equal(closing, false);
    store.failing = new TypeError('a bug');
    assert.equal(ask('GET safe\r\n', 'http')[1], false);
    assert.equal(node.stats().commands.internalResets, 1);
  });

  test('that cannot be recovered from: every request is an error, none a value', () => {
    const { node, store, told, ask } = failingNode();
    ask('SET kept 1\r\n');
    store.failing = new TypeError('a bug');
    store.clearFails = true;
    ask('GET safe\r\n');
    store.failing = null;
    assert.equal(node.isServing, false);
    assert.match(ask('GET kept\r\n')[0], /^-ERR internal error NODE_BROKEN/);
    assert.equal(node.onTick(2000), 1000);
    assert.deepEqual(told, ['get', 'recovery from a failed get']);
  });
});
