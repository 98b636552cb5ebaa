/**
 * The real network behind `Dial`: one socket, read into one static buffer, so that a busy connection allocates nothing for reading.
 */
import { isIP, type Socket, connect as tcpConnect } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import type { DialTarget, Link, LinkEvents } from './link.ts';

const READ_BUFFER_BYTES = 64 * 1024;
const KEEP_ALIVE_MS = 30_000;

/** Opens a TCP connection, or one over TLS. */
export function tcpDial(target: DialTarget, events: LinkEvents): Link {
  return new TcpLink(target, events);
}

class TcpLink implements Link {
  readonly #socket: Socket;

  constructor({ host, port, tls }: DialTarget, events: LinkEvents) {
    const onread = {
      buffer: new Uint8Array(READ_BUFFER_BYTES),
      callback: (size: number, bytes: Uint8Array): boolean => {
        events.onBytes(bytes, size);
        return true;
      },
    };
    // `onread` belongs to tls.connect too (since Node.js 13.6), though its types do not say so.
    const secure = { ...(isIP(host) === 0 ? { servername: host } : {}), ...tls, host, port, onread };
    this.#socket = tls === null ? tcpConnect({ host, port, onread }) : tlsConnect(secure);
    this.#socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS);
    this.#socket.once(tls === null ? 'connect' : 'secureConnect', () => events.onOpen());
    let failure: Error | null = null;
    this.#socket.once('error', (error) => {
      failure = error;
    });
    this.#socket.once('close', () => events.onClose(failure));
  }

  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  write(bytes: Uint8Array): boolean {
    this.#socket.write(bytes);
    // Written through to the kernel (the usual case). Else the socket still reads from the buffer.
    return this.#socket.writableLength === 0;
  }

  destroy(): void {
    this.#socket.destroy();
  }
}
