/** What is sent a second time, and over which connection. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import type { BreakwaterError } from '../../base/errors.ts';
import type { PostgresClient, PostgresPool } from './connection.ts';
import { Statement } from './statement.ts';

/** A pool whose connections answer in turn as they are told: an error to throw, or null for one row. */
function pool(...answers: (Error | null)[]) {
  const released: (boolean | undefined)[] = [];
  let sent = 0;
  const fake: PostgresPool = {
    connect: async () => ({
      query: async () => {
        const answer = answers[sent];
        sent += 1;
        if (answer === undefined) throw new Error('asked more often than expected');
        if (answer !== null) throw answer;
        return { rows: [['1']], fields: [{ name: 'id' }] };
      },
      release: (destroy) => released.push(destroy),
    }),
  };
  return { fake, released, sent: () => sent };
}

const failure = (message: string, more: object = {}): Error => Object.assign(new Error(message), more);
const lost = () => failure('Connection terminated unexpectedly');
const LOST = [
  lost(),
  failure('read ECONNRESET', { code: 'ECONNRESET', syscall: 'read' }),
  failure('write EPIPE', { code: 'EPIPE', syscall: 'write' }),
  failure('terminating connection due to administrator command', { code: '57P01' }),
  failure('terminating connection due to idle-session timeout', { code: '57P05' }),
  failure('Client has encountered a connection error and is not queryable'),
];

test('a read whose connection was lost is sent again over another one, and the lost one is closed', async () => {
  for (const error of LOST) {
    const { fake, released } = pool(error, null);
    const { rows } = await new Statement(fake, true, 'it').read('SELECT 1', []);
    assert.deepEqual(rows, [['1']], error.message);
    assert.deepEqual(released, [true, false], error.message);
  }
});

test('all connections of a pool died while they were idle: each is lost once, and the new one serves', async () => {
  const dead = Array.from({ length: 20 }, () => ({ isDead: false, closed: false }));
  let opened = 0;
  const clients: PostgresClient[] = dead.map((state) => ({
    query: async () => {
      if (state.isDead) throw lost();
      return { rows: [], fields: [] };
    },
    release: (destroy) => {
      state.closed = destroy === true;
    },
  }));
  const connect = async (): Promise<PostgresClient> => {
    const idle = clients[dead.findIndex(({ closed }) => !closed)];
    if (idle !== undefined) return idle;
    opened += 1;
    return { query: async () => ({ rows: [['1']], fields: [] }), release: () => {} };
  };
  const statement = new Statement({ connect }, true, 'it');
  for (const client of clients) await new Statement({ connect: async () => client }, true, 'it').read('SELECT 1', []);
  for (const state of dead) state.isDead = true;
  assert.deepEqual((await statement.read('SELECT 1', [])).rows, [['1']]);
  assert.equal(opened, 1);
  assert.ok(dead.every(({ closed }) => closed));
});

test('connections that only others have used: the pool says that they were idle', async () => {
  const { fake, released } = pool(lost(), lost(), lost(), null);
  let idleCount = 3;
  const connect = (): ReturnType<PostgresPool['connect']> => {
    idleCount -= 1;
    return fake.connect();
  };
  const shared: PostgresPool = {
    get idleCount() {
      return idleCount;
    },
    connect,
  };
  assert.deepEqual((await new Statement(shared, true, 'it').read('SELECT 1', [])).rows, [['1']]);
  assert.deepEqual(released, [true, true, true, false]);
});

test('two new connections lost: a code, and not a third time', async () => {
  const { fake, released, sent } = pool(lost(), lost(), null);
  await assert.rejects(new Statement(fake, true, 'it').read('SELECT 1', []), (error: BreakwaterError) => {
    assert.equal(error.code, 'SOURCE_FAILED');
    assert.equal(error.message, 'cannot use it: Connection terminated unexpectedly');
    return (error.cause as Error).message === 'Connection terminated unexpectedly';
  });
  assert.equal(sent(), 2);
  assert.deepEqual(released, [true, true]);
});

test('a write is never sent again once it may have run', async () => {
  for (const error of LOST) {
    const { fake, released, sent } = pool(error, null);
    await assert.rejects(new Statement(fake, true, 'it').write('DELETE', []), { code: 'SOURCE_FAILED' });
    assert.equal(sent(), 1, error.message);
    assert.deepEqual(released, [true]);
  }
});

test('what the server refuses, cancels or is too slow for is not sent again; after a time-out of the driver the connection is closed', async () => {
  for (const [error, code, closes] of [
    [failure('permission denied', { code: '42501' }), 'SOURCE_REFUSED', false],
    [failure('canceling statement due to statement timeout', { code: '57014' }), 'SOURCE_FAILED', false],
    [failure('Query read timeout'), 'SOURCE_FAILED', true],
  ] as const) {
    const { fake, released, sent } = pool(error, null);
    await assert.rejects(new Statement(fake, true, 'it').read('SELECT 1', []), { code });
    assert.equal(sent(), 1, error.message);
    assert.deepEqual(released, [closes], error.message);
  }
});

test('no connection to be had: not asked for again', async () => {
  let asked = 0;
  const connect = async (): Promise<never> => {
    asked += 1;
    throw failure('connect ECONNREFUSED', { code: 'ECONNREFUSED', syscall: 'connect' });
  };
  await assert.rejects(new Statement({ connect }, true, 'it').read('SELECT 1', []), { code: 'SOURCE_FAILED' });
  assert.equal(asked, 1);
});

test('a caller that has gone meanwhile: no second try', async () => {
  const abort = new AbortController();
  const { fake, sent } = pool(lost(), null);
  const connect = async () => {
    const client = await fake.connect();
    const query = async (): Promise<never> => {
      abort.abort();
      return (await client.query({ text: '', values: [] })) as never;
    };
    return { ...client, query };
  };
  const reading = new Statement({ connect }, true, 'it').read('SELECT 1', [], abort.signal);
  await assert.rejects(reading, { code: 'SOURCE_ABORTED' });
  assert.equal(sent(), 1);
});

test('a plan that a schema change has outdated is prepared anew, by writes too, also behind a lost connection', async () => {
  const outdated = () => failure('cached plan must not change result type', { code: '0A000' });
  const writing = pool(outdated(), null);
  await new Statement(writing.fake, true, 'it').write('UPDATE', []);
  assert.deepEqual(writing.released, [false, false]);
  const reading = pool(lost(), outdated(), null);
  await new Statement(reading.fake, true, 'it').read('SELECT 1', []);
  assert.deepEqual(reading.released, [true, false, false]);
});

test('a server that ends in the packet of its greeting fails the statement, and not the process', async () => {
  for (const inTransaction of [false, true]) {
    const emitter = new EventEmitter();
    const released: (boolean | undefined)[] = [];
    const client = Object.assign(emitter, {
      query: async () => {
        throw lost();
      },
      release: (destroy?: boolean) => void released.push(destroy),
    }) as unknown as PostgresClient;
    let connects = 0;
    // As `pg` calls back, and reads on.
    const connect = (done?: (error: unknown, client: PostgresClient) => void): Promise<PostgresClient> | undefined => {
      connects += 1;
      if (done === undefined) return Promise.resolve(client);
      done(undefined, client);
      emitter.emit('error', failure('terminating connection due to unexpected postmaster exit', { code: '57P01' }));
      return undefined;
    };
    const statement = new Statement({ connect } as unknown as PostgresPool, true, 'it');
    const asked = inTransaction
      ? statement.transaction(async (run) => await run({ text: 'SELECT 1', values: [] }))
      : statement.write('SELECT 1', []);
    await assert.rejects(asked, { code: 'SOURCE_FAILED' });
    assert.deepEqual([connects, released], [1, [true]]);
    assert.ok(emitter.listenerCount('error') >= 1, 'more may come');
  }
});
