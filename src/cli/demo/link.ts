/** A way to a server that can be frozen: nothing passes, and nothing is closed, as when a cable is pulled or a switch hangs. */
import { connect, createServer, type Server, type Socket } from 'node:net';

export class Link {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #isFrozen = false;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  /** @param to the server's port on the loopback */
  static async open(to: number): Promise<Link> {
    const server = createServer({ noDelay: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    const address = server.address();
    const link = new Link(server, address !== null && typeof address === 'object' ? address.port : 0);
    server.on('connection', (near) => link.#join(near, connect({ host: '127.0.0.1', port: to, noDelay: true })));
    return link;
  }

  freeze(): void {
    this.#isFrozen = true;
    for (const socket of this.#sockets) socket.pause();
  }

  thaw(): void {
    this.#isFrozen = false;
    for (const socket of this.#sockets) socket.resume();
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #join(near: Socket, far: Socket): void {
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(from);
      if (this.#isFrozen) from.pause();
      from.on('data', (chunk) => {
        if (!to.write(chunk)) from.pause();
      });
      to.on('drain', () => {
        if (!this.#isFrozen) from.resume();
      });
      from.on('error', () => {});
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
    }
  }
}
