import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

/** A connection whose client has a last piece and its end on their way, and is reset in that moment. */
const SCRIPT = `
  import { connect, createServer } from 'node:net';
  import { resetSocket } from '${new URL('reset.ts', import.meta.url).href}';
  const server = createServer({ allowHalfOpen: true }, (peer) => {
    peer.on('error', () => {});
    peer.on('close', () => server.close());
    peer.on('end', () => peer.destroy());
    peer.resume();
  });
  server.listen(0, '127.0.0.1', () => {
    const socket = connect({ port: server.address().port, allowHalfOpen: true }, () => {
      socket.end('x');
      resetSocket(socket);
    });
    socket.on('error', (error) => console.log(error.message));
    socket.on('close', () => console.log('closed'));
  });`;

test('a socket that is reset while its end is on its way: closed, and the process can end', {
  timeout: 60_000,
}, async (t) => {
  const args = ['--import', 'tsx', '--input-type=module', '-e', SCRIPT];
  const cwd = fileURLToPath(new URL('../../../..', import.meta.url));
  const child = spawn(process.execPath, args, { cwd, stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  let printed = '';
  child.stdout.on('data', (piece: Buffer) => {
    printed += piece.toString();
  });
  assert.deepEqual(await once(child, 'close'), [0, null]);
  assert.equal(printed, 'closed\n');
});
