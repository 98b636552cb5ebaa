/**
 * The HTTP port of a member that is not in its cluster yet. It may wait for minutes, for others to start or for a name to resolve; whoever supervises it has to see that it is alive (else it would be killed for waiting), that it is not
 * ready, and what it waits for. As soon as it is in, the real server takes the port.
 *
 *   /healthz          200 {"status":"ok"}
 *   everything else   503 {"error":{"code":"NOT_READY","message":"the node is not in its cluster yet: ..."}}
 */
import { createServer, type Server } from 'node:http';
import { listenOn } from '../http/listen.ts';

export class WaitingDoor {
  /** What is waited for. */
  why = 'it is starting';
  readonly #server: Server;

  private constructor(isHostAllowed: (host: string | undefined) => boolean) {
    this.#server = createServer((request, response) => {
      const isAlive = request.url === '/healthz' && isHostAllowed(request.headers.host);
      const message = `the node is not in its cluster yet: ${isHostAllowed(request.headers.host) ? this.why : 'it is starting'}`;
      const body = JSON.stringify(isAlive ? { status: 'ok' } : { error: { code: 'NOT_READY', message } });
      response.writeHead(isAlive ? 200 : 503, {
        'content-type': 'application/json',
        'cache-control': 'no-store',
        connection: 'close',
      });
      response.end(body);
    });
    this.#server.requestTimeout = 5000;
    this.#server.maxConnections = 64;
  }

  /** @throws BreakwaterError `LISTEN_FAILED` */
  static async open(
    port: number,
    bind: string,
    isHostAllowed: (host: string | undefined) => boolean,
  ): Promise<WaitingDoor> {
    const door = new WaitingDoor(isHostAllowed);
    await listenOn(door.#server, port, bind, 64, 'HTTP');
    return door;
  }

  /** Resolves when the port is free. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }
}
