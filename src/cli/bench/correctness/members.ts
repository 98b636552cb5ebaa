/**
 * A cluster of three nodes as processes, and what goes wrong with it while others work: members are killed, stopped and cut off from each other. Clients reach each of them all the time.
 *
 * One fault at a time, and the next one when the cluster is whole again: two of three gone at once is nobody's promise.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { BreakwaterError } from '../../../base/errors.ts';
import { type Child, type Children, modulePath } from '../../children/children.ts';
import { freePorts } from '../../children/ports.ts';
import { Link } from './link.ts';
import type { ServerFault } from './server-faults.ts';

const HOST = '127.0.0.1';
const COUNT = 3;
const READY_MS = 180_000;
/** Longer than a takeover takes (1.5 s): the others own what it owned when it is back. */
const AWAY_MS = 3000;
/** Of each kind: some seconds each, in which a third of the keys finds nobody. */
const MOST = 3;

export interface Members {
  readonly ports: readonly number[];
  readonly faults: readonly ServerFault[];
  stop(): Promise<void>;
}

/** Resolves when every range has its owner and its copies. */
export async function startMembers(children: Children): Promise<Members> {
  const directory = children.directory('breakwater-members-');
  const free = await freePorts(3 * COUNT);
  const places = Array.from({ length: COUNT }, (_, index) => ({
    port: free[3 * index]!,
    httpPort: free[3 * index + 1]!,
    linkPort: free[3 * index + 2]!,
  }));
  const list = places.map(({ linkPort }) => `${HOST}:${linkPort}`).join(',');
  // The first one's links, both ways.
  const [first, ...others] = places;
  const there = await Link.to(...others.map(({ linkPort }) => linkPort));
  const back = await Link.to(first!.linkPort);
  // The members end with the bench, and are not told before.
  for (const link of [there, back]) link.unref();
  const detoursOf = (index: number): Record<string, number> =>
    index === 0
      ? Object.fromEntries(others.map(({ linkPort }, i) => [linkPort, there.ports[i]!]))
      : { [first!.linkPort]: back.ports[0]! };

  const start = async (index: number): Promise<Child> => {
    const { port, httpPort, linkPort } = places[index]!;
    const child = children.startNode(
      modulePath('../../main', import.meta.url),
      [
        'serve',
        ...['--port', String(port), '--http-port', String(httpPort), '--link-port', String(linkPort)],
        ...['--join', list, '--memory', '32mb', '--log-format', 'text', '--data', join(directory, String(index))],
      ],
      {
        label: `member ${HOST}:${port}`,
        stopSignal: 'SIGINT',
        nodeFlags: ['--import', pathToFileURL(modulePath('../../children/link-detour', import.meta.url)).href],
        spawn: { env: { ...ownEnvironment(), LINK_DETOURS: JSON.stringify(detoursOf(index)) } },
      },
    );
    await child.waitForOutput(/^ready$/m, READY_MS);
    return child;
  };
  const members = await Promise.all(places.map((_, index) => start(index)));

  const statusOf = async (index: number): Promise<Status | null> => {
    try {
      const answer = await fetch(`http://${HOST}:${places[index]!.httpPort}/cluster.json`, {
        signal: AbortSignal.timeout(5000),
      });
      return (await answer.json()) as Status;
    } catch {
      return null;
    }
  };
  const until = async (holds: () => Promise<boolean>, what: string): Promise<void> => {
    const endMs = performance.now() + READY_MS;
    while (!(await holds())) {
      if (performance.now() > endMs) throw new BreakwaterError('CHILD_FAILED', `the cluster of nodes ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  const isWhole = async (): Promise<boolean> => {
    const all = await Promise.all(places.map((_, index) => statusOf(index)));
    return all.every((status) => status?.isOk === true && status.unowned === 0 && status.short === 0);
  };
  const whole = (): Promise<void> => until(isWhole, 'did not become whole again');
  /** The others own what it owned. */
  const replaced = (index: number): Promise<void> =>
    until(async () => {
      const status = await statusOf((index + 1) % COUNT);
      const found = status?.members.find(({ linkPort }) => linkPort === places[index]!.linkPort);
      return status?.isOk === true && status.unowned === 0 && found?.owned === 0;
    }, 'has no replacement for a member that is away');
  await whole();

  let last: Promise<void> = Promise.resolve();
  const fault = (name: string, work: (index: number) => Promise<void>): ServerFault => ({
    name,
    most: MOST,
    run: (_, which) => {
      const one = async (): Promise<void> => {
        await whole();
        await work(which % COUNT);
        await whole();
      };
      const done = last.then(one, one);
      last = done.catch(() => undefined);
      return done;
    },
  });
  const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  return {
    ports: places.map(({ port }) => port),
    faults: [
      fault('killed', async (index) => {
        members[index]!.process.kill('SIGKILL');
        await members[index]!.exited;
        await replaced(index);
        members[index] = await start(index);
      }),
      fault('stopped', async (index) => {
        members[index]!.process.kill('SIGSTOP');
        try {
          await Promise.all([replaced(index), wait(AWAY_MS)]);
        } finally {
          members[index]!.process.kill('SIGCONT');
        }
      }),
      fault('cut off', async () => {
        there.cut();
        back.cut();
        try {
          await Promise.all([replaced(0), wait(AWAY_MS)]);
        } finally {
          there.restore();
          back.restore();
        }
      }),
    ],
    stop: async () => {
      await Promise.all(members.map((member) => member.stop()));
      await Promise.all([there.close(), back.close()]);
    },
  };
}

interface Status {
  readonly isOk: boolean;
  readonly unowned: number;
  readonly short: number;
  readonly members: readonly { readonly linkPort: number; readonly owned: number }[];
}

/** Settings of a node that happen to stand in the environment are not meant for these. */
function ownEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('BREAKWATER_')));
}
