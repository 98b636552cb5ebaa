/**
 * Servers as children: waiting until they answer, and a Breakwater node like anybody's.
 */
import { connect } from 'node:net';
import { type Child, type Children, modulePath, nodeFlags } from './children.ts';
import { freePorts } from './ports.ts';

const READY_TIMEOUT_MS = 60_000;

/** Resolves when the server on `port` answers `ask` with something that matches. */
export async function untilAnswers(port: number, child: Child, ask: string, expected: RegExp): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    if (!child.running) throw child.failure('ended before it was ready');
    if (await answers(port, ask, expected)) return;
    if (performance.now() > deadline) throw child.failure(`did not answer within ${READY_TIMEOUT_MS / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function answers(port: number, ask: string, expected: RegExp): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.setTimeout(1000, () => socket.destroy());
    socket.once('connect', () => socket.write(ask));
    socket.once('data', (chunk) => {
      resolve(expected.test(chunk.toString('latin1')));
      socket.destroy();
    });
    socket.once('error', () => resolve(false));
    socket.once('close', () => resolve(false));
  });
}

/** Somebody else may take a port between our looking and the server's binding it; then it ends at once and the next try gets others. */
const TRIES = 3;

/**
 * Starts a server on `count` free ports and waits until the first of them answers.
 * @throws BreakwaterError `CHILD_FAILED`
 */
export async function startOnFreePorts(
  count: number,
  start: (ports: readonly number[]) => Child,
  ask: string,
  expected: RegExp,
): Promise<{ ports: readonly number[]; child: Child }> {
  for (let left = TRIES - 1; ; left -= 1) {
    const ports = await freePorts(count);
    const child = start(ports);
    try {
      await untilAnswers(ports[0]!, child, ask, expected);
      return { ports, child };
    } catch (error) {
      if (left === 0 || child.running) throw error;
    }
  }
}

/** A node that was killed, on the ports that it had, when it answers. */
export async function startNodeAgain(
  children: Children,
  { port, httpPort }: { readonly port: number; readonly httpPort: number },
  args: readonly string[],
): Promise<Child> {
  const main = modulePath('../main', import.meta.url);
  const serve = ['serve', '--port', String(port), '--http-port', String(httpPort), ...args];
  const child = children.start(process.execPath, [...nodeFlags(), main, ...serve], { label: 'breakwater serve' });
  await untilAnswers(port, child, 'PING\r\n', /^\+PONG/);
  return child;
}

/**
 * A node as `breakwater serve` starts it, with its defaults except for free ports and `args`. `flags` go to Node.js itself
 * (profiling).
 */
export async function startBreakwater(
  children: Children,
  args: readonly string[],
  flags: readonly string[] = [],
): Promise<{ port: number; httpPort: number; child: Child }> {
  const main = modulePath('../main', import.meta.url);
  const { ports, child } = await startOnFreePorts(
    2,
    ([port, httpPort]) => {
      const serve = ['serve', '--port', String(port), '--http-port', String(httpPort), ...args];
      return children.start(process.execPath, [...nodeFlags(), ...flags, main, ...serve], {
        label: 'breakwater serve',
      });
    },
    'PING\r\n',
    /^\+PONG/,
  );
  return { port: ports[0]!, httpPort: ports[1]!, child };
}
