/**
 * `breakwater cluster`: a cluster on this machine, each member a process of its own, until Ctrl-C. To try takeover and redirection by hand: kill a member and look.
 */
import type { Command } from 'commander';
import { BreakwaterError } from '../base/errors.ts';
import { TOPOLOGIES } from '../cluster/topology.ts';
import { defaultReplicas } from '../server/cluster/setup.ts';
import type { ClusterStatus } from '../server/cluster/status.ts';
import { type Child, type Children, modulePath, withChildren } from './children/children.ts';
import { freePorts } from './children/ports.ts';
import { addressOf, askMember, membersTable } from './members.ts';
import { EXIT_OK, say } from './output.ts';

interface ClusterOptions {
  readonly members: string;
  readonly replicas?: string;
  readonly zones: string;
  readonly port: string;
  readonly memory: string;
  readonly takeover?: string;
  readonly crashFastPath?: boolean;
  readonly topology?: string;
  readonly data?: string;
}

/** One member as a process. */
interface Started {
  readonly child: Child;
  readonly port: number;
  readonly httpPort: number;
  readonly proxyPort: number;
  readonly command: string;
}

const HOST = '127.0.0.1';
const MOST_MEMBERS = 16;
const READY_MS = 180_000;
const WATCH_MS = 50;
/** How long the ranges of a member that ended are watched. */
const WATCHED_MS = 60_000;
const HTTP_OFFSET = 1000;
const PROXY_OFFSET = 2000;
const LINK_OFFSET = 10_000;

const NOTES = `
Each member is a "breakwater serve --join ..." of its own. Ports: RESP from --port on, HTTP 1000 above, RESP for clients that know nothing of clusters 2000 above, links 10000 above; --port 0 takes free ones. A member that ends is not
started again; what becomes of its ranges is shown, and the command that starts it.

Experimental: docs/cluster.md says what is built.

Examples:
  breakwater cluster --members 3 --replicas 1
  breakwater cluster --members 6 --zones 3 --takeover 3s
  breakwater cluster --members 3 --topology primary one primary, two replicas
  redis-cli -c -p 7379 set user:42 Ada              in another terminal
  redis-cli -p 9379 get user:42                     a plain client: whoever owns the key is asked
  breakwater nodes                                  likewise`;

export function register(program: Command): void {
  program
    .command('cluster')
    .description('a cluster of nodes on this machine, until Ctrl-C (experimental)')
    .option('--members <n>', `members, 1 to ${MOST_MEMBERS}`, '3')
    .option(
      '--replicas <n>',
      'copies of each range beside its owner (default: 1, with --topology primary 2; never more than other members)',
    )
    .option('--zones <n>', 'zones that the members are spread over in turn', '1')
    .option('--port <port>', 'RESP port of the first member; 0 = free ports', '7379')
    .option('--memory <size>', 'memory of each member', '64mb')
    .option('--takeover <duration>', 'silence after which a member is taken over (default: 1500ms)')
    .option('--crash-fast-path', 'take over at once when the process of a member dies')
    .option('--topology <kind>', 'sharded, or primary: one member owns all, the others copy (default: sharded)')
    .option('--data <directory>', 'keep what members promise as voters below this directory (default: nothing is kept)')
    .addHelpText('after', NOTES)
    .action(async (options: ClusterOptions) => {
      process.exitCode = await cluster(options);
    });
}

async function cluster(options: ClusterOptions): Promise<number> {
  const count = whole('--members', options.members, 1, MOST_MEMBERS);
  const zones = whole('--zones', options.zones, 1, count);
  const port = whole('--port', options.port, 0, 65_535 - LINK_OFFSET - count);
  const topology = TOPOLOGIES.find((each) => each === (options.topology ?? 'sharded'));
  if (topology === undefined) {
    throw new BreakwaterError(
      'USAGE_INVALID',
      `cannot read --topology: expected ${TOPOLOGIES.join(' or ')}, received ${JSON.stringify(options.topology)}`,
    );
  }
  const replicas = whole('--replicas', options.replicas ?? String(defaultReplicas(count, topology)), 0, count - 1);
  const code = await withChildren(async (children, signal) => {
    const members = await start(children, options, { count, zones, port, replicas });
    say(membersTable(await settled(members), null));
    say(`
  try    redis-cli -c -p ${members[0]!.port} SET user:42 Ada
         redis-cli -p ${members[0]!.proxyPort} GET user:42      (a client that knows nothing of clusters)
         npx breakwater nodes --http-port ${members[0]!.httpPort}
         kill -9 ${members.at(-1)!.child.pid}      (the last member; its ranges are taken over)

ready: ${members.map((member) => `${member.port} (process ${member.child.pid})`).join(', ')}; Ctrl-C ends all`);
    for (const member of members) void member.child.exited.then(() => onEnd(member, members, signal));
    await new Promise<void>((resolve) => {
      void Promise.all(members.map(({ child }) => child.exited)).then(() => resolve());
    });
    throw new BreakwaterError('CHILD_FAILED', 'every member has ended');
  });
  // Ctrl-C is how it ends.
  return code > 128 ? EXIT_OK : code;
}

interface Plan {
  readonly count: number;
  readonly zones: number;
  readonly port: number;
  readonly replicas: number;
}

async function start(
  children: Children,
  options: ClusterOptions,
  { count, zones, port, replicas }: Plan,
): Promise<readonly Started[]> {
  const free = port === 0 ? await freePorts(4 * count) : null;
  const places = Array.from({ length: count }, (_, index) => ({
    port: free?.[4 * index] ?? port + index,
    httpPort: free?.[4 * index + 1] ?? port + HTTP_OFFSET + index,
    linkPort: free?.[4 * index + 2] ?? port + LINK_OFFSET + index,
    proxyPort: free?.[4 * index + 3] ?? port + PROXY_OFFSET + index,
    zone: zones === 1 ? '' : `@zone-${(index % zones) + 1}`,
  }));
  const join = places.map(({ linkPort, zone }) => `${HOST}:${linkPort}${zone}`).join(',');
  const flagsOf = (place: (typeof places)[number], index: number): string[] => [
    ...['--port', String(place.port), '--http-port', String(place.httpPort), '--link-port', String(place.linkPort)],
    ...['--proxy-port', String(place.proxyPort)],
    ...['--join', join, '--replicas', String(replicas), '--memory', options.memory, '--log-format', 'text'],
    ...(options.takeover === undefined ? [] : ['--takeover', options.takeover]),
    ...(options.crashFastPath === true ? ['--crash-fast-path', 'on'] : []),
    ...(options.topology === undefined ? [] : ['--topology', options.topology]),
    ...(options.data === undefined ? [] : ['--data', `${options.data}/member-${index + 1}`]),
  ];
  // What the members would refuse is refused here, once, and before anything was started.
  const { resolveConfig } = await import('../server/config.ts');
  resolveConfig({ flags: recordOf(flagsOf(places[0]!, 0)), env: {}, file: null });
  say(`starting ${count === 1 ? 'one member' : `${count} members`} ...`);
  const members = places.map((place, index): Started => {
    const flags = flagsOf(place, index);
    const child = children.startNode(modulePath('./main', import.meta.url), ['serve', ...flags], {
      label: `member ${HOST}:${place.port}`,
      // At once: all end together, and nobody would be left to take anything over.
      stopSignal: 'SIGINT',
      spawn: { env: ownEnvironment() },
    });
    return {
      child,
      port: place.port,
      httpPort: place.httpPort,
      proxyPort: place.proxyPort,
      command: `breakwater serve ${flags.join(' ')}`,
    };
  });
  await Promise.all(members.map(({ child }) => child.waitForOutput(/^ready$/m, READY_MS)));
  return members;
}

/** What the first member knows when every range has its owner and its copies, or as it is after a minute. */
async function settled(members: readonly Started[]): Promise<ClusterStatus> {
  const sinceMs = performance.now();
  for (;;) {
    const all = await Promise.all(members.map(({ httpPort }) => askMember(HOST, httpPort)));
    const [first] = all;
    // What it knows of the others' copies comes with heartbeats.
    const copied = first!.members.reduce((sum, member) => sum + member.copied, 0);
    const isWhole =
      all.every(({ isOk, unowned, short }) => isOk && unowned === 0 && short === 0) &&
      copied === first!.ranges * (first!.copies - 1);
    if (isWhole || performance.now() - sinceMs >= WATCHED_MS) return all[0]!;
    await new Promise((resolve) => setTimeout(resolve, WATCH_MS));
  }
}

/** Settings of a node that happen to stand in the environment are not meant for all members at once; a secret may be. */
function ownEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !name.startsWith('BREAKWATER_') || name === 'BREAKWATER_CLUSTER_SECRET',
  );
  return Object.fromEntries(kept);
}

/** Says what became of the ranges of a member that ended by itself, or was killed. */
async function onEnd(ended: Started, members: readonly Started[], signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const endedMs = performance.now();
  say(`\n${ended.child.label} has ended. It is started again by:\n  ${ended.command}`);
  while (!signal.aborted && performance.now() - endedMs < WATCHED_MS) {
    const status = await anyStatus(members);
    if (status === null) return;
    const found = status.members.find((member) => addressOf(member) === `${HOST}:${ended.port}`);
    if (status.isOk && found?.owned === 0) {
      say(`its ranges have other owners, ${Math.round(performance.now() - endedMs)} ms after its end was seen here:`);
      say(membersTable(status, null));
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, WATCH_MS));
  }
  if (!signal.aborted) say('nobody has taken its ranges over: is a majority of the voters left? (breakwater nodes)');
}

async function anyStatus(members: readonly Started[]): Promise<ClusterStatus | null> {
  for (const { child, httpPort } of members) {
    if (!child.running) continue;
    try {
      return await askMember(HOST, httpPort);
    } catch (error) {
      // It is ending too, or is busy: the next one.
      if (!(error instanceof BreakwaterError)) throw error;
    }
  }
  return null;
}

/** `--name value` in turns. */
function recordOf(flags: readonly string[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (let at = 0; at < flags.length; at += 2) found[flags[at]!.slice(2)] = flags[at + 1]!;
  return found;
}

function whole(name: string, text: string, least: number, most: number): number {
  const value = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new BreakwaterError(
    'USAGE_INVALID',
    `cannot read ${name}: expected a whole number from ${least} to ${most}, received ${JSON.stringify(text)}`,
  );
}
