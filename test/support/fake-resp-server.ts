/**
 * A RESP server that answers what the test says: for tests of clients against servers that are slow, silent, old or wrong.
 * HELLO, AUTH, CLIENT and PING are answered sensibly unless the script answers them itself.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { REQUEST, RequestParser } from '../../src/resp/parser.ts';

/** Raw bytes to answer with (latin1), '' for no answer ever, or null for the default. May write to the socket itself. */
export type Script = (args: string[], socket: Socket) => string | null;

export class FakeRespServer {
  readonly #server: Server;
  readonly sockets = new Set<Socket>();
  /** Every request received, across connections. */
  readonly requests: string[][] = [];
  /** Data events per connection in order of arrival: how many writes the client made, about. */
  chunks = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(script: Script = () => null, port = 0): Promise<FakeRespServer> {
    const server = createServer();
    const fake = new FakeRespServer(server);
    server.on('connection', (socket) => fake.#serve(socket, script));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', resolve);
    });
    return fake;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the fake server is not listening');
    return address.port;
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #serve(socket: Socket, script: Script): void {
    this.sockets.add(socket);
    const parser = new RequestParser();
    socket.on('error', () => {});
    socket.on('close', () => this.sockets.delete(socket));
    socket.on('data', (chunk: Buffer) => {
      this.chunks += 1;
      parser.begin(chunk, 0, chunk.length);
      while (parser.next() === REQUEST) {
        const { bytes, count, start, length } = parser.args;
        const args: string[] = [];
        for (let i = 0; i < count; i += 1) {
          args.push(Buffer.from(bytes.subarray(start[i]!, start[i]! + length[i]!)).toString());
        }
        this.requests.push(args);
        const reply = script(args, socket) ?? defaultReply(args);
        if (reply !== '' && !socket.destroyed) socket.write(reply, 'latin1');
      }
      parser.finish();
    });
  }
}

function defaultReply(args: readonly string[]): string {
  switch (args[0]?.toUpperCase()) {
    case 'HELLO':
      return '%2\r\n$6\r\nserver\r\n$4\r\nfake\r\n$5\r\nproto\r\n:3\r\n';
    case 'PING':
      return '+PONG\r\n';
    case 'ECHO':
      return `$${Buffer.byteLength(args[1]!)}\r\n${Buffer.from(args[1]!).toString('latin1')}\r\n`;
    default:
      return '+OK\r\n';
  }
}
