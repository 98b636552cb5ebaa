/**
 * A cluster of real processes for tests of faults: `breakwater serve --join`, killed, stopped, restarted and cut off from each other; and a client whose every answer is judged.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BreakwaterError } from '../../src/base/errors.ts';
import { freePorts } from '../../src/cli/children/ports.ts';
import { RespClient } from '../../src/client/client.ts';
import { slotOf } from '../../src/hash/slot.ts';
import { type Reply, ReplyError, replyText } from '../../src/resp/reply.ts';
import type { ClusterStatus } from '../../src/server/cluster/status.ts';
import { cleanEnvironment, eventually } from '../server/support.ts';
import { FaultProxy } from './fault-proxy.ts';

const HOST = '127.0.0.1';
const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const LINK_PORTS = new URL('./link-ports.ts', import.meta.url).href;
/** Nothing here is about speed: whatever a slow machine needs. */
export const PATIENCE_MS = 180_000;

/** Where a member runs; another one than this machine has an address of its own. */
export interface Place {
  readonly host: string;
  /** What stands before its command line. */
  readonly launcher: readonly string[];
}

const HERE: Place = { host: HOST, launcher: [] };

export class MemberProcess {
  readonly index: number;
  readonly host: string;
  readonly port: number;
  readonly httpPort: number;
  readonly linkPort: number;
  /** For clients that know nothing of clusters. */
  readonly proxyPort: number;
  readonly #launcher: readonly string[];
  readonly #flags: readonly string[];
  readonly #links: Readonly<Record<string, number>>;
  #child: ChildProcess | null = null;
  #output = '';

  constructor(
    index: number,
    [port, httpPort, linkPort, proxyPort]: readonly [number, number, number, number],
    flags: readonly string[],
    links: Readonly<Record<string, number>>,
    { host, launcher }: Place = HERE,
  ) {
    this.index = index;
    this.host = host;
    this.#launcher = launcher;
    this.port = port;
    this.httpPort = httpPort;
    this.linkPort = linkPort;
    this.proxyPort = proxyPort;
    this.#flags = flags;
    this.#links = links;
  }

  get output(): string {
    return this.#output;
  }

  /** Resolves when it says that it is ready. */
  async start(): Promise<void> {
    this.#output = '';
    const line = [
      ...this.#launcher,
      ...[process.execPath, '--import', 'tsx', '--import', LINK_PORTS, MAIN, 'serve', ...this.#flags],
    ];
    const child = spawn(line[0]!, line.slice(1), {
      env: cleanEnvironment({ TEST_LINK_PORTS: JSON.stringify(this.#links) }),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    const keep = (chunk: Buffer): void => {
      this.#output += chunk.toString();
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    await eventually(
      () => {
        if (child.exitCode !== null || child.signalCode !== null) throw new Error(`it ended: ${this.#output}`);
        return /^ready$/m.test(this.#output);
      },
      () => `member ${this.index} is ready: ${this.#output}`,
      PATIENCE_MS,
    );
  }

  signal(name: NodeJS.Signals): void {
    this.#child!.kill(name);
  }

  /** Ends it, whatever state it is in. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  /** Tells it to end, and waits until it has. */
  async leave(): Promise<void> {
    const exited = once(this.#child!, 'exit');
    this.signal('SIGTERM');
    await exited;
  }

  async status(): Promise<ClusterStatus | null> {
    try {
      const response = await fetch(`http://${this.host}:${this.httpPort}/cluster.json`, {
        signal: AbortSignal.timeout(10_000),
      });
      return (await response.json()) as ClusterStatus;
    } catch {
      // It is down, stopped, or busy: who asks tries again.
      return null;
    }
  }
}

export class ClusterProcesses {
  readonly members: readonly MemberProcess[];
  /** Between member `cut` and each other one, both ways. */
  readonly proxies: readonly FaultProxy[];

  readonly #directory: string;

  private constructor(members: readonly MemberProcess[], proxies: readonly FaultProxy[], directory: string) {
    this.members = members;
    this.proxies = proxies;
    this.#directory = directory;
  }

  /**
   * @param cut the links of this member go through proxies; default none's
   * @param forgets this one keeps nothing on disk; default none
   * @param machines where they run; default all here
   */
  static async start(
    count: number,
    cut = -1,
    forgets = -1,
    machines: readonly Place[] = [],
    flags: readonly string[] = [],
  ): Promise<ClusterProcesses> {
    const directory = mkdtempSync(join(tmpdir(), 'breakwater-cluster-'));
    const ports = await freePorts(4 * count);
    const places = Array.from(
      { length: count },
      (_, index) => ports.slice(4 * index, 4 * index + 4) as [number, number, number, number],
    );
    const hostOf = (index: number): string => machines[index]?.host ?? HOST;
    const list = places.map(([, , linkPort], index) => `${hostOf(index)}:${linkPort}`).join(',');
    const proxies: FaultProxy[] = [];
    const links: Record<string, number>[] = places.map(() => ({}));
    for (const [index, [, , linkPort]] of places.entries()) {
      if (cut === -1 || index === cut) continue;
      const out = await FaultProxy.start({ host: HOST, port: linkPort });
      links[cut]![linkPort] = out.port;
      const back = await FaultProxy.start({ host: HOST, port: places[cut]![2] });
      links[index]![places[cut]![2]] = back.port;
      proxies.push(out, back);
    }
    const members = places.map(
      (place, index) =>
        new MemberProcess(
          index,
          place,
          [
            ...['--port', String(place[0]), '--http-port', String(place[1]), '--link-port', String(place[2])],
            ...['--proxy-port', String(place[3])],
            ...(hostOf(index) === HOST ? [] : ['--bind', hostOf(index)]),
            ...['--join', list, '--memory', '32mb', '--log-format', 'text'],
            ...(index === forgets ? [] : ['--data', join(directory, String(index))]),
            ...flags,
          ],
          links[index]!,
          machines[index],
        ),
    );
    const cluster = new ClusterProcesses(members, proxies, directory);
    try {
      await Promise.all(members.map((member) => member.start()));
      await cluster.settled(members);
    } catch (error) {
      await cluster.close();
      throw error;
    }
    return cluster;
  }

  /** The member `cut` hears nothing, or is heard by nobody; what it sends, or is sent, arrives. */
  cutOneWay(lost: 'hears' | 'is heard'): void {
    // Those at even places carry the links that the member dials, the others those that it accepts.
    for (const [index, proxy] of this.proxies.entries()) {
      proxy.blackhole((index % 2 === 0) === (lost === 'is heard') ? 'up' : 'down');
    }
  }

  /** Every range has its owner and all its copies, and all of these members say the same of who owns what. */
  async settled(members: readonly MemberProcess[] = this.members): Promise<void> {
    let last = '';
    await eventually(
      async () => {
        const all = await Promise.all(members.map((member) => member.status()));
        const owners = all.map((status) =>
          status?.members.map(({ id, slots }) => `${id} ${slots.join(' ')}`).join('\n'),
        );
        last = JSON.stringify(all.map((status) => status && { ...status, members: undefined, links: undefined }));
        return (
          all.every(
            (status) =>
              status?.isOk === true && status.vote !== 'recovering' && status.unowned === 0 && status.short === 0,
          ) && new Set(owners).size === 1
        );
      },
      () => `the cluster is whole: ${last}\n${this.#outputs()}`,
      PATIENCE_MS,
    );
  }

  /** Every other member than those `without` sees that they own nothing any more. */
  async takenOver(...without: readonly MemberProcess[]): Promise<void> {
    const others = this.members.filter((member) => !without.includes(member));
    const gone = without.map(({ linkPort }) => linkPort);
    await eventually(
      async () => {
        const all = await Promise.all(others.map((member) => member.status()));
        return all.every((status) => {
          const owned = status?.members.filter(({ linkPort }) => gone.includes(linkPort)).map((one) => one.owned);
          return status?.isOk === true && owned?.length === gone.length && owned.every((count) => count === 0);
        });
      },
      () => `its ranges are taken over\n${this.#outputs()}`,
      PATIENCE_MS,
    );
  }

  async close(): Promise<void> {
    for (const member of this.members) {
      // A stopped process hears nothing else.
      await member.kill();
    }
    for (const proxy of this.proxies) await proxy.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #outputs(): string {
    return this.members.map(({ index, output }) => `-- member ${index}\n${output}`).join('\n');
  }
}

/** A connection to one member. No command of it is given up by time: what was sent may be done later, and then it would be judged wrongly. */
export function connectTo(member: MemberProcess, port = member.port): RespClient {
  return new RespClient({
    host: member.host,
    port,
    whenDown: 'reject',
    connectTimeoutMs: 30_000,
    commandTimeoutMs: 600_000,
    hangTimeoutMs: 600_000,
  });
}

/** The reply, an error reply as well. Rejects when none came. */
export async function replyOf(client: RespClient, args: readonly string[]): Promise<Reply> {
  try {
    return await client.command(args);
  } catch (error) {
    if (error instanceof ReplyError) return error;
    throw error;
  }
}

export type Answer =
  | { readonly kind: 'value'; readonly reply: Reply }
  /** An error reply, or no answer at all. */
  | { readonly kind: 'error'; readonly text: string };

export interface AskingClient {
  ask(key: string, args: readonly string[]): Promise<Answer>;
  close(): Promise<void>;
}

/** One connection to one member; knows nothing of clusters. */
export class PlainClient implements AskingClient {
  readonly #client: RespClient;

  constructor(member: MemberProcess) {
    this.#client = connectTo(member, member.proxyPort);
  }

  async ask(_key: string, args: readonly string[]): Promise<Answer> {
    try {
      const reply = await replyOf(this.#client, args);
      if (!(reply instanceof ReplyError)) return { kind: 'value', reply };
      // Anything else it could not make sense of.
      if (/^(TRYAGAIN|CLUSTERDOWN|NOREPLICAS) /.test(reply.message)) return { kind: 'error', text: reply.message };
      throw new Error(`a plain client was told: ${reply.message}`);
    } catch (error) {
      if (error instanceof BreakwaterError) return { kind: 'error', text: error.message };
      throw error;
    }
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}

/** One connection to each member; follows MOVED, and says nothing of its own. */
export class RoutingClient implements AskingClient {
  readonly #clients: ReadonlyMap<number, RespClient>;
  readonly #members: readonly MemberProcess[];
  readonly #owners = new Map<number, number>();

  constructor(members: readonly MemberProcess[]) {
    this.#members = members;
    this.#clients = new Map(members.map((member) => [member.port, connectTo(member)]));
  }

  /** Asked once, and of whom a MOVED says; any other error is the answer. */
  async ask(key: string, args: readonly string[]): Promise<Answer> {
    const slot = slotOf(Buffer.from(key), 0, Buffer.byteLength(key));
    let port = this.#owners.get(slot) ?? this.#members[slot % this.#members.length]!.port;
    for (let hops = 0; hops < 4; hops += 1) {
      let reply: Reply;
      try {
        reply = await replyOf(this.#clients.get(port)!, args);
      } catch (error) {
        // Another one is asked next time.
        this.#owners.set(slot, this.#after(port));
        return { kind: 'error', text: error instanceof Error ? error.message : String(error) };
      }
      if (!(reply instanceof ReplyError)) {
        this.#owners.set(slot, port);
        return { kind: 'value', reply };
      }
      const moved = /^MOVED \d+ \S+:(\d+)$/.exec(reply.message);
      if (moved === null) {
        // Another one is asked next time: this one may be cut off from the others, and would say the same for as long as it is.
        this.#owners.set(slot, this.#after(port));
        return { kind: 'error', text: reply.message };
      }
      port = Number(moved[1]);
    }
    return { kind: 'error', text: 'moved too often' };
  }

  #after(port: number): number {
    const index = this.#members.findIndex((member) => member.port === port);
    return this.#members[(index + 1) % this.#members.length]!.port;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#clients.values()].map((client) => client.close()));
  }
}

/**
 * Writes growing numbers to its keys, overwrites and deletes them, and reads them: one operation on a key at a time. A read may miss; it may show what was acknowledged last, or
 * what was tried since without an acknowledgement. Anything older is a wrong hit.
 */
export class JudgedWorker {
  readonly wrong: string[] = [];
  acknowledged = 0;
  refused = 0;
  hits = 0;
  misses = 0;
  readonly #client: AskingClient;
  readonly #keys: readonly string[];
  /** By key: the number below which nothing may be read any more, and the last that was tried. */
  readonly #floor = new Map<string, number>();
  #number = 0;
  #isStopped = false;
  #running: Promise<void> = Promise.resolve();

  constructor(client: AskingClient, keys: readonly string[]) {
    this.#client = client;
    this.#keys = keys;
  }

  run(): void {
    this.#running = this.#loop();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  /** Reads every key once, and judges it. */
  async readAll(): Promise<void> {
    for (const key of this.#keys) await this.#read(key);
  }

  async #loop(): Promise<void> {
    for (let turn = 0; !this.#isStopped; turn += 1) {
      const key = this.#keys[turn % this.#keys.length]!;
      await this.#write(key, turn % 3 === 2);
      await this.#read(key);
      // A cluster that answers with errors at once is not to be asked without a pause.
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  async #write(key: string, isDelete: boolean): Promise<void> {
    this.#number += 1;
    const number = this.#number;
    const answer = await this.#client.ask(key, isDelete ? ['DEL', key] : ['SET', key, String(number)]);
    if (answer.kind === 'error') {
      this.refused += 1;
      return;
    }
    this.acknowledged += 1;
    this.#floor.set(key, number);
  }

  async #read(key: string): Promise<void> {
    const floor = this.#floor.get(key) ?? 0;
    const answer = await this.#client.ask(key, ['GET', key]);
    if (answer.kind === 'error') return;
    const text = replyText(answer.reply);
    if (text === null) {
      this.misses += 1;
      return;
    }
    this.hits += 1;
    if (Number(text) < floor) this.wrong.push(`${key}: read ${text}, ${floor} was acknowledged before`);
  }
}
