/**
 * Ends a connection with a RST, in a bench or a test.
 *
 * Not `resetAndDestroy` alone: of a socket whose own end is still on its way (libuv's shutdown is pending) Node.js 20 refuses it with `reset EINVAL`, and then
 * neither closes the handle nor forgets it. When all work is done the process spins for ever in its own exit, where no timer and no signal handler
 * of ours runs any more. Such a socket is destroyed instead: its peer sees the end that was on its way.
 */
import type { Socket } from 'node:net';

export function resetSocket(socket: Socket): void {
  if (socket.writableEnded && !socket.writableFinished) socket.destroy();
  else socket.resetAndDestroy();
}
