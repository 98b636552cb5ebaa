/**
 * Ports for servers that must be told theirs: a redis-server takes no 0, and one that is killed and started again is to come back where it was.
 *
 * They are taken from below the range out of which the operating system gives ports by itself. A port of that range that is released for a moment may
 * be given to anybody's outgoing connection, and then the server does not start. Worse, a client that tries again and again to reach a server there that is
 * down is one day given that very port for its own end, and TCP connects it with itself.
 */
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';

const FIRST = 12_000;
/** Linux's own range begins here, other systems' later. */
const END = 32_768;
/** With fewer than these to choose from, processes that choose at once would often choose the same. */
const LEAST = 2_000;
const TRIES = 200;

const end = endOfRange();
const isEnough = end - FIRST >= LEAST;
/** Goes round, so that a port is not given twice in a row by one process; where it begins is chance, so that two do not meet. */
let next = isEnough ? randomInt(FIRST, end) : 0;

function endOfRange(): number {
  try {
    const [first = END] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split(/\s+/).map(Number);
    return Math.min(END, first);
  } catch {
    return END; // no Linux
  }
}

/**
 * Listens on loopback, on a port that only `server` is likely to have also when it stops and listens again. Resolves with the port.
 * @throws Error what `listen` fails with, other than that the port is taken
 */
export async function listenOnOwnPort(server: Server): Promise<number> {
  for (let left = TRIES; ; left -= 1) {
    const port = isEnough && left > 0 ? next : 0;
    next = next + 1 < end ? next + 1 : FIRST;
    try {
      await listen(server, port);
      const address = server.address();
      return address !== null && typeof address === 'object' ? address.port : port;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (port === 0 || (code !== 'EADDRINUSE' && code !== 'EACCES')) throw error;
    }
  }
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Ports that were free a moment ago, all different. */
export async function freePorts(count: number): Promise<number[]> {
  const probes = Array.from({ length: count }, () => createServer());
  const ports: number[] = [];
  // One after the other: together they would try the same ones.
  for (const probe of probes) ports.push(await listenOnOwnPort(probe));
  await Promise.all(probes.map((probe) => new Promise<void>((resolve) => probe.close(() => resolve()))));
  return ports;
}
