/**
 * Turns an accepted socket into one that reads into a buffer of ours.
 *
 * Why: by default every read allocates a 64 KiB slab, wraps the piece that arrived into a Buffer and sends it through the readable
 * stream's queue and an event: more CPU than a GET itself. The documented `onread` option ("a single buffer is reused and
 * passed to callback") avoids all three, but Node.js offers it only for outgoing connections. So the listener accepts paused
 * (`pauseOnConnect`), takes the handle out of the accepted socket before a byte was read, and builds a second socket around
 * the same handle with `onread`.
 *
 * What makes this safe (read off lib/net.js of Node.js 20, tested in resp-listener.test.ts):
 *   - `pauseOnConnect` guarantees that no byte is read by the first socket;
 *   - the second constructor makes itself the handle's owner, so reads, errors and closing reach it alone;
 *   - with its `_handle` set to null, destroying the first socket closes nothing and takes it off the server's count, so that
 *     `server.close()` does not wait for it. From then on it is garbage.
 *
 * `_handle` and the `handle` option are not documented. If a later Node.js lacks them, the accepted socket is used as it is
 * with `data` events: same behaviour, about a microsecond more per read.
 */
import net from 'node:net';

/** Called with the bytes that arrived: `bytes[0 .. length)`, valid until it returns. False = read no more until `resume()`. */
export type OnBytes = (bytes: Uint8Array, length: number) => boolean;

interface Handle {
  useUserBuffer?: unknown;
  readStop?: unknown;
}

/**
 * A flowing, half-open socket over `accepted`'s connection whose bytes arrive at `onBytes` in `buffer`.
 * @param accepted from a server with `pauseOnConnect` and `allowHalfOpen`; must not be used afterwards
 */
export function adoptSocket(accepted: net.Socket, buffer: Uint8Array, onBytes: OnBytes): net.Socket {
  const owner = accepted as unknown as { _handle?: Handle | null };
  const handle = owner._handle;
  if (!handle || typeof handle.useUserBuffer !== 'function' || typeof handle.readStop !== 'function') {
    accepted.on('data', (chunk: Buffer) => {
      if (!onBytes(chunk, chunk.length)) accepted.pause();
    });
    accepted.resume();
    return accepted;
  }
  const options = {
    handle,
    allowHalfOpen: true,
    onread: { buffer, callback: (length: number): boolean => onBytes(buffer, length) },
  };
  const socket = new net.Socket(options);
  owner._handle = null;
  accepted.destroy();
  socket.resume();
  return socket;
}
