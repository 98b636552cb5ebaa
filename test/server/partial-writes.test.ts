/**
 * Replies larger than what the kernel takes at once, read by clients that stop and go: every way in which a write can be taken
 * in part, thousands of times. In a process of its own, because what goes wrong here aborts it (see src/server/direct-write.ts).
 */
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { RawClient, type ServedNode, serveNode } from './support.ts';

const VALUE_BYTES = 300_000;
const READERS = 30;
const REQUESTS = 50;

let node: ServedNode;
before(async () => {
  node = await serveNode();
});
after(async () => {
  await node?.stop('SIGKILL');
});

test('30 clients that stop and go read 450 MB of replies, complete and unchanged', async () => {
  const value = Buffer.from(Array.from({ length: VALUE_BYTES }, (_, i) => 97 + (i % 26)));
  const writer = await RawClient.connect(node.port);
  writer.send(`*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$${VALUE_BYTES}\r\n`);
  writer.send(value);
  await writer.expect('\r\n', '+OK\r\n');
  const reply = Buffer.concat([Buffer.from(`$${VALUE_BYTES}\r\n`), value, Buffer.from('\r\n')]);
  await Promise.all(Array.from({ length: READERS }, (_, i) => readAll(node.port, reply, new SeededRandom(i))));
  await writer.expect('PING\r\n', '+PONG\r\n');
  writer.destroy();
  assert.equal(node.child.exitCode, null);
});

/** Asks for everything at once and reads it in fits and starts. */
function readAll(port: number, reply: Buffer, random: SeededRandom): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1');
    let received = 0;
    socket.on('error', reject);
    socket.on('close', () => {
      if (received === reply.length * REQUESTS) resolve();
      else reject(new Error(`closed after ${received} bytes`));
    });
    socket.on('data', (chunk) => {
      for (let at = 0; at < chunk.length; ) {
        const from = received % reply.length;
        const size = Math.min(chunk.length - at, reply.length - from);
        if (reply.compare(chunk, at, at + size, from, from + size) !== 0) {
          reject(new Error(`a wrong byte near ${received}`));
          socket.destroy();
          return;
        }
        at += size;
        received += size;
      }
      if (received === reply.length * REQUESTS) socket.destroy();
      else if (random.nextFloat() < 0.1) {
        socket.pause();
        setTimeout(() => socket.resume(), random.nextFloat() * 4);
      }
    });
    socket.write('GET big\r\n'.repeat(REQUESTS));
  });
}
