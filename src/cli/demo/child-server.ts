/** What the demo's services have in common: answers over HTTP on a port of the system's choice, which the parent is told, until SIGTERM. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

export type ServiceMessage =
  | { readonly kind: 'ready'; readonly port: number }
  | { readonly kind: 'failed'; readonly message: string };

/** @param from which tier answered: in `X-Cache`, where the replay counts hits */
export function send(response: ServerResponse, status: number, body: string, from: string): void {
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), 'x-cache': from };
  response.writeHead(status, headers);
  response.end(body);
}

/** @param failureStatus of an answer that could not be given */
export function listenAsChild(
  answer: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
  failureStatus: number,
  close: () => Promise<unknown>,
): void {
  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      send(response, failureStatus, JSON.stringify({ error: String(error) }), 'error');
    });
  });
  server.keepAliveTimeout = 60_000;
  server.listen(0, '127.0.0.1', () => {
    const address = server.address();
    tell({ kind: 'ready', port: address !== null && typeof address === 'object' ? address.port : 0 });
  });
  process.once('SIGTERM', () => {
    server.closeAllConnections();
    server.close();
    void close().finally(() => process.exit(0));
  });
}

export function tell(message: ServiceMessage): void {
  process.send?.(message);
}
