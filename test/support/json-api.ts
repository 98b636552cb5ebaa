/** A JSON API for tests: items by id, ETags, and whatever a test wants it to answer instead. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export type Handler = (request: IncomingMessage, response: ServerResponse) => void;

export interface JsonApi {
  readonly origin: string;
  /** Of each request: method, path and headers. */
  readonly seen: { readonly method: string; readonly url: string; readonly headers: IncomingMessage['headers'] }[];
  /** Connections made in all. */
  connections(): number;
  /** Instead of the items; null: the items again. */
  answer(handler: Handler | null): void;
  put(id: string, item: unknown): void;
  remove(id: string): void;
  /** Holds every answer until what it gives is called. */
  stall(): () => void;
  /** Requests whose answer is held and whose caller is still there. */
  busy(): number;
  close(): Promise<void>;
}

/** `/items/ID`; `/items?ids=1,2`; POST `/items` with `{ids}`. Ids are read as numbers, as a careless API does. */
export async function openJsonApi(): Promise<JsonApi> {
  const items = new Map<number, { etag: string; item: unknown }>();
  let edition = 0;
  let other: Handler | null = null;
  let held: (() => void)[] | null = null;
  let busy = 0;
  let connections = 0;
  const seen: { method: string; url: string; headers: IncomingMessage['headers'] }[] = [];

  const send = (
    response: ServerResponse,
    status: number,
    body?: unknown,
    headers: Record<string, string> = {},
  ): void => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(body === undefined ? undefined : JSON.stringify(body));
  };
  const several = (response: ServerResponse, ids: readonly string[]): void =>
    send(
      response,
      200,
      // In an order of its own.
      [...items].filter(([id]) => ids.some((one) => Number(one) === id)).map(([, { item }]) => item),
    );
  const route: Handler = (request, response) => {
    const url = new URL(request.url!, 'http://x');
    if (request.method === 'POST') {
      let text = '';
      request.on('data', (chunk) => {
        text += chunk;
      });
      request.on('end', () => several(response, (JSON.parse(text) as { ids: string[] }).ids));
      return;
    }
    const ids = url.searchParams.get('ids');
    if (ids !== null) return several(response, ids.split(','));
    if (url.pathname === '/') return send(response, 404, { error: 'no root' });
    const found = items.get(Number(decodeURIComponent(url.pathname.slice('/items/'.length))));
    if (found === undefined) return send(response, 404, { error: 'not found' });
    if (request.headers['if-none-match'] === found.etag) return send(response, 304, undefined, { etag: found.etag });
    send(response, 200, found.item, { etag: found.etag });
  };
  const server = createServer((request, response) => {
    seen.push({ method: request.method!, url: request.url!, headers: request.headers });
    const go = (): void => (other ?? route)(request, response);
    if (held === null) return go();
    busy += 1;
    let isHere = true;
    response.on('close', () => {
      if (isHere) busy -= 1;
      isHere = false;
    });
    held.push(() => {
      if (isHere) go();
    });
  });
  server.on('connection', () => {
    connections += 1;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    connections: () => connections,
    answer: (handler) => {
      other = handler;
    },
    put: (id, item) => {
      edition += 1;
      items.set(Number(id), { etag: `"v${edition}"`, item });
    },
    remove: (id) => {
      items.delete(Number(id));
    },
    stall: () => {
      const mine: (() => void)[] = [];
      held = mine;
      return () => {
        held = null;
        for (const go of mine) go();
      };
    },
    busy: () => busy,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
