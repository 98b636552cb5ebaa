/**
 * Opening a port, for RESP and HTTP alike: what goes wrong here goes wrong at every first start, so it gets one clear sentence.
 */
import type net from 'node:net';
import { BreakwaterError, messageOf } from '../base/errors.ts';

/**
 * Listens and resolves with the port; one clear sentence when that is impossible.
 * @throws BreakwaterError `LISTEN_FAILED`
 */
export function listenOn(
  server: net.Server,
  port: number,
  host: string,
  backlog: number,
  what: string,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => {
      const reason =
        error.code === 'EADDRINUSE'
          ? 'the port is already taken'
          : error.code === 'EACCES'
            ? 'this user may not open it'
            : error.code === 'EADDRNOTAVAIL' || error.code === 'ENOTFOUND'
              ? 'this machine has no such address'
              : messageOf(error);
      reject(
        new BreakwaterError('LISTEN_FAILED', `cannot listen for ${what} on ${host}:${port}: ${reason}`, {
          cause: error,
        }),
      );
    };
    server.once('error', onError);
    server.listen({ port, host, backlog }, () => {
      server.off('error', onError);
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : port);
    });
  });
}
