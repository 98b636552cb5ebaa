import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { RespClient } from './client.ts';

/** A server on a thread of its own, which answers while this one is held up. */
const SERVER = `
  const { parentPort, workerData } = require('node:worker_threads');
  const answered = () => { Atomics.add(workerData, 0, 1); Atomics.notify(workerData, 0); };
  const server = require('node:net').createServer((socket) => {
    socket.on('data', (data) => {
      const text = data.toString();
      if (!text.includes('HANG')) socket.write('+OK\\r\\n'.repeat(text.split('*').length - 1), answered);
    });
  });
  server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));
`;

/** How often it has answered. */
const answers = new Int32Array(new SharedArrayBuffer(4));
let worker: Worker;
let client: RespClient;
before(async () => {
  worker = new Worker(SERVER, { eval: true, workerData: answers });
  const port = await new Promise<number>((resolve) => worker.once('message', resolve));
  client = new RespClient({ host: '127.0.0.1', port, protocol: 2, commandTimeoutMs: 100 });
  await client.command(['PING'], { timeoutMs: 60_000 });
});
after(async () => {
  await client.close({ drain: false });
  await worker.terminate();
});

/** Sends a command and does nothing else until it is answered, where it will be, and its deadline has passed. */
async function sendAndHoldUp(command: string): Promise<{ reply: Promise<unknown> }> {
  const before = Atomics.load(answers, 0);
  const reply = client.command([command]);
  reply.catch(() => undefined);
  // Sent, and not yet read.
  await new Promise((resolve) => setImmediate(resolve));
  if (command !== 'HANG') assert.notEqual(Atomics.wait(answers, 0, before, 60_000), 'timed-out');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  return { reply };
}

test('a process that was held up past the deadline reads the replies that have come before it calls them late', async () => {
  for (let round = 0; round < 3; round += 1) {
    const { reply } = await sendAndHoldUp('PING');
    assert.equal(await reply, 'OK');
  }
  assert.equal(client.stats.timeouts, 0);
});

test('a reply that has not come is a timeout all the same', async () => {
  const { reply } = await sendAndHoldUp('HANG');
  await assert.rejects(reply, { code: 'CLIENT_TIMEOUT' });
});
