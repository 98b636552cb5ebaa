/**
 * Ports for processes that must be told each other's before any of them listens. Not asked of the system with port 0: those come from the range out of which every other test is given
 * its own, a moment later. These lie below it, at random, and are tried first.
 */
import { once } from 'node:events';
import net from 'node:net';

const FIRST = 11_000;
const LAST = 31_000;

/** Different ports of 127.0.0.1 on which nobody listens now. */
export async function freePorts(count: number): Promise<number[]> {
  const found = new Set<number>();
  while (found.size < count) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST));
    if (!found.has(port) && (await isFree(port))) found.add(port);
  }
  return [...found];
}

async function isFree(port: number): Promise<boolean> {
  const server = net.createServer();
  server.listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch {
    return false;
  }
  server.close();
  await once(server, 'close');
  return true;
}
