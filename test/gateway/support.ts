/** Gateways in this process on ports of their own, an API for them to load from that does as it is told, and plain HTTP calls. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { after } from 'node:test';
import type { Log } from '../../src/base/log.ts';
import { readConfig } from '../../src/gateway/config/read.ts';
import { type RunningGateway, startGateway } from '../../src/gateway/gateway.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: its shape is what the tests check
  readonly body: any;
}

/** Ended when the file's tests have: the root's own hook, wherever they were opened. */
const opened: (() => Promise<unknown>)[] = [];
after(async () => {
  for (const close of opened.reverse()) await close();
});

/** What was logged. */
export class Lines implements Log {
  readonly all: string[] = [];
  readonly #add = (message: string, fields: object = {}): void => {
    this.all.push(`${message} ${JSON.stringify(fields)}`);
  };
  readonly info = this.#add;
  readonly warn = this.#add;
  readonly error = this.#add;
}

export class TestGateway {
  readonly running: RunningGateway;
  readonly log: Lines;

  constructor(running: RunningGateway, log: Lines) {
    this.running = running;
    this.log = log;
  }

  get url(): string {
    return this.running.url;
  }

  async call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: body === undefined ? headers : { 'content-type': 'application/json', ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.startsWith('application/json') && text !== '';
    return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : null };
  }

  get(path: string, headers: Record<string, string> = {}): Promise<Answer> {
    return this.call('GET', path, undefined, headers);
  }

  /** Value and tier, for short assertions. */
  async read(key: string, headers: Record<string, string> = {}): Promise<[value: unknown, from: string | null]> {
    const answer = await this.get(`/cache/${encodeURIComponent(key)}`, headers);
    const value = answer.status === 200 ? answer.body.value : answer.body.error.code;
    return [value, answer.headers.get('breakwater-from')];
  }
}

/** Started, and closed when the file's tests have ended. `listen.port` is chosen by the system. */
export async function openGateway(yaml: string, env: Record<string, string> = {}): Promise<TestGateway> {
  const listen = yaml.includes('listen:') ? '' : 'listen: { port: 0 }\n';
  const drain = yaml.includes('shutdown:') ? '' : 'shutdown: { drain: 100ms }\n';
  const log = new Lines();
  const running = await startGateway(readConfig('test.yaml', listen + drain + yaml, env), { version: 'test', log });
  opened.push(() => running.close(true));
  return new TestGateway(running, log);
}

/** A JSON API: `/items/{id}` answers `items.get(id)`, or as `answer` says. */
export class FakeApi {
  readonly items = new Map<string, unknown>();
  readonly requests: string[] = [];
  /** Instead of the items; null = them. */
  answer: ((id: string, response: ServerResponse, request: IncomingMessage) => void | Promise<void>) | null = null;
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => {
      const id = decodeURIComponent((request.url ?? '').split('/').at(-1) ?? '');
      if (!request.url?.startsWith('/items/')) {
        response.writeHead(200).end('{}');
        return;
      }
      this.requests.push(id);
      if (this.answer !== null) void this.answer(id, response, request);
      else this.send(id, response);
    });
  }

  send(id: string, response: ServerResponse): void {
    const item = this.items.get(id);
    response.writeHead(item === undefined ? 404 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(item ?? {}));
  }

  static async start(): Promise<FakeApi> {
    const api = new FakeApi();
    await new Promise<void>((resolve) => {
      api.#server.listen(0, '127.0.0.1', resolve);
    });
    opened.push(() => api.close());
    return api;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => {
      this.#server.close(resolve);
    });
  }
}

/** Waits for something to be so, with patience. */
export async function until(isSo: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const endMs = performance.now() + 180_000;
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`waited in vain for: ${what}`);
    await new Promise((resolve) => {
      setTimeout(resolve, 20);
    });
  }
}

/** What stands between a gateway and its database, and can be cut. On a port of its own; `target` is a socket's path or a port. */
export class Gate {
  readonly #server: net.Server;
  readonly #links = new Set<net.Socket>();
  #isCut = false;

  private constructor(target: net.NetConnectOpts) {
    this.#server = net.createServer((socket) => {
      if (this.#isCut) {
        socket.destroy();
        return;
      }
      const far = net.connect(target);
      for (const [one, other] of [
        [socket, far],
        [far, socket],
      ] as const) {
        this.#links.add(one);
        one.on('error', () => {});
        one.on('close', () => {
          this.#links.delete(one);
          other.destroy();
        });
        one.pipe(other);
      }
    });
  }

  static async start(target: net.NetConnectOpts): Promise<Gate> {
    const gate = new Gate(target);
    await new Promise<void>((resolve) => {
      gate.#server.listen(0, '127.0.0.1', resolve);
    });
    opened.push(async () => {
      gate.cut();
      await new Promise((resolve) => {
        gate.#server.close(resolve);
      });
    });
    return gate;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Every connection ends, and new ones end at once. */
  cut(): void {
    this.#isCut = true;
    for (const link of this.#links) link.destroy();
  }

  heal(): void {
    this.#isCut = false;
  }
}
