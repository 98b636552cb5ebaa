/** The client over a network that a test makes by hand (`link.ts`). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../base/random.ts';
import { ManualScheduler } from '../base/scheduler.ts';
import { RespClient } from './client.ts';
import type { Dial, LinkEvents } from './link.ts';

const encoder = new TextEncoder();

/** A server that greets and then says what it is told to; `dials` counts connections. */
function network(scheduler: ManualScheduler, answers: { greets: boolean }) {
  const state = { dials: 0, events: null as LinkEvents | null, written: '' };
  const dial: Dial = (_target, events) => {
    state.dials += 1;
    state.events = events;
    let greeted = false;
    if (answers.greets) scheduler.setTimer(1, () => events.onOpen());
    return {
      unsentBytes: 0,
      write: (bytes) => {
        state.written += Buffer.from(bytes).toString();
        const greeting = encoder.encode('%0\r\n+OK\r\n');
        if (!greeted) scheduler.setTimer(1, () => events.onBytes(greeting, greeting.length));
        greeted = true;
        return true;
      },
      destroy: () => undefined,
    };
  };
  return { dial, state };
}

test('a command that is to be sent again has its deadline also when the connection was lost by a sweep and none comes back', async () => {
  const scheduler = new ManualScheduler();
  const answers = { greets: true };
  const { dial, state } = network(scheduler, answers);
  const client = new RespClient({
    port: 1,
    dial,
    scheduler,
    clock: scheduler.clock,
    random: new SeededRandom(1),
    hangTimeoutMs: 400,
    connectTimeoutMs: 10_000,
  });
  // The peer is silent from the first command on: its hang is found at 400 ms, when the second still has 200 to go.
  const first = client.command(['GET', 'a'], { timeoutMs: 300 }).catch((error: { code: string }) => error.code);
  await scheduler.run(200);
  let second = '';
  void client.command(['DEL', 'a'], { timeoutMs: 400, idempotent: true }).catch((error: { code: string }) => {
    second = `${error.code} at ${scheduler.clock.now() - 1_700_000_000_000}`;
  });
  answers.greets = false;
  await scheduler.run(300);
  assert.equal(await first, 'CLIENT_TIMEOUT');
  assert.equal(state.dials, 2, 'the connection was given up and another one is tried');
  assert.equal(second, '', 'it waits for the next connection');
  await scheduler.run(200);
  assert.match(second, /^CLIENT_TIMEOUT at 60\d$/);
  await client.close({ drain: false });
});

/** A client that is connected, whose requests are answered by hand. */
async function connected() {
  const scheduler = new ManualScheduler();
  const { dial, state } = network(scheduler, { greets: true });
  const timing = { commandTimeoutMs: 100, hangTimeoutMs: 300, connectTimeoutMs: 10_000 };
  const client = new RespClient({
    port: 1,
    dial,
    scheduler,
    clock: scheduler.clock,
    random: new SeededRandom(1),
    ...timing,
  });
  const hello = client.command(['GET', 'hello'], { timeoutMs: 10_000 });
  await scheduler.run(10);
  const answer = (): void => state.events!.onBytes(encoder.encode('+OK\r\n'), 5);
  answer();
  assert.equal(await hello, 'OK');
  /** Sends a command and resolves with its outcome `afterMs` later, when `meanwhile` was called 1 ms after the sending. */
  const ask = async (afterMs: number, meanwhile: () => void = () => undefined): Promise<string> => {
    let outcome = 'nothing';
    client.command(['GET', 'a']).then(
      (reply) => (outcome = String(reply)),
      (error: { code: string }) => (outcome = error.code),
    );
    await scheduler.run(1);
    meanwhile();
    await scheduler.run(afterMs);
    return outcome;
  };
  return { scheduler, state, client, answer, ask };
}

test('a connection that lost one reply and answers ever since, one place late, is given up', async () => {
  const { scheduler, state, client, answer, ask } = await connected();
  assert.equal(await ask(100), 'CLIENT_TIMEOUT', 'its reply is lost');
  for (let n = 0; n < 3; n += 1) assert.notEqual(await ask(110, answer), 'OK');
  assert.equal(state.dials, 2, 'made anew, though never silent for hangTimeoutMs');
  assert.ok(client.stats.lateReplies >= 2);
  await scheduler.run(60);
  assert.equal(await ask(10, answer), 'OK', 'the next one answers');
  await client.close({ drain: false });
});

test('a connection that answers late now and then is kept: one reply in time, or nothing in flight, ends the doubt', async () => {
  const { scheduler, state, client, answer, ask } = await connected();
  for (let n = 0; n < 6; n += 1) {
    assert.equal(await ask(150), 'CLIENT_TIMEOUT');
    answer(); // late, and then nothing is in flight
    await scheduler.run(1_000);
    assert.equal(await ask(90, answer), 'OK');
  }
  for (let n = 0; n < 6; n += 1) {
    assert.equal(await ask(120), 'CLIENT_TIMEOUT');
    const both = (): void => {
      answer(); // late, while the next is in flight
      answer(); // in time
    };
    assert.equal(await ask(10, both), 'OK');
  }
  assert.equal(state.dials, 1);
  await client.close({ drain: false });
});
