/**
 * One run of one scenario on one subject: two instances with their links, the source, and the journal that judges every
 * answer.
 *
 * A *wrong hit* is an answer to a read that began after an invalidation was acknowledged to its caller, with the value from before it. How old
 * the answer was is counted from that acknowledgement. After the scenario each key is read until it is right; what is not
 * right within `settleMs` is *left stale*: nothing but its TTL will end it.
 */
import { connect } from 'node:net';
import { type Child, type Children, modulePath } from '../../children/children.ts';
import type { HolderOrder, HolderReport } from './holder.ts';
import { Link } from './link.ts';
import { evictNotes } from './pressure.ts';
import type { ServerFault } from './server-faults.ts';
import type { Started } from './servers.ts';
import { Source } from './source.ts';
import type { Instance, Row, Subject } from './subject.ts';
import { tagOf } from './subject.ts';

const FAILED = Symbol('the read failed');

/** The last that an instance said of a key. */
interface Last {
  readonly instance: Instance;
  readonly row: Row | null | undefined | typeof FAILED;
}

/** How an invalidation is said. */
export type Kind = 'key' | 'tag' | 'namespace';

export interface Tally {
  wrongHits: number;
  /** Of these, reads that began more than the declared bound after the acknowledgement. */
  beyondBound: number;
  reads: number;
  /** Keys that only their TTL will set right. */
  leftStale: number;
  worstStaleMs: number;
  loads: number;
  /** Reads that failed or took longer than their deadline. */
  failedReads: number;
  /** Invalidations that were not acknowledged: they judge nothing. */
  unacknowledged: number;
  /** What the table should say beside the numbers. */
  note: string;
}

export interface WorldSettings {
  readonly ttlMs: number;
  readonly loadTimeoutMs: number;
  readonly settleMs: number;
  /** Longest that one read may take before it counts as failed. */
  readonly readDeadlineMs: number;
}

export const SETTINGS: WorldSettings = { ttlMs: 120_000, loadTimeoutMs: 500, settleMs: 1000, readDeadlineMs: 3000 };

export class World {
  readonly source = new Source();
  readonly tally: Tally = {
    wrongHits: 0,
    beyondBound: 0,
    reads: 0,
    leftStale: 0,
    worstStaleMs: 0,
    loads: 0,
    failedReads: 0,
    unacknowledged: 0,
    note: '',
  };
  readonly settings: WorldSettings;
  readonly subject: Subject;
  readonly #servers: Started;
  readonly #children: Children;
  readonly #links: { l2: Link; bus: Link }[] = [];
  readonly #instances: Instance[] = [];
  /** Per id: when each version was acknowledged as the one that readers must see. */
  readonly #acknowledged = new Map<string, { version: number; atMs: number }[]>();

  private constructor(subject: Subject, servers: Started, settings: WorldSettings, children: Children) {
    this.subject = subject;
    this.#servers = servers;
    this.#children = children;
    this.settings = settings;
  }

  /** @param servers that this world may flush; none when the subject needs none. */
  static async open(subject: Subject, servers: Started, settings: WorldSettings, children: Children): Promise<World> {
    const world = new World(subject, servers, settings, children);
    const { ports: serverPorts } = servers;
    // Those that are replicas refuse it, and are flushed by their primaries.
    for (const port of serverPorts) await command(port, 'FLUSHALL');
    try {
      for (let index = 0; index < 2; index += 1) {
        const l2 = await Link.to(...serverPorts);
        const bus = await Link.to(...serverPorts);
        world.#links.push({ l2, bus });
        const { ttlMs, loadTimeoutMs } = settings;
        const load = (id: string): Promise<Row> => world.source.load(id);
        const l2Ports = world.isLinked ? l2.ports : serverPorts;
        const [busPort = 0] = bus.ports;
        world.#instances.push(
          await subject.open({ l2Port: l2Ports[0] ?? 0, l2Ports, busPort, ttlMs, loadTimeoutMs, load }),
        );
      }
    } catch (error) {
      await world.close();
      throw error;
    }
    return world;
  }

  get a(): Instance {
    return this.#instances[0]!;
  }

  get b(): Instance {
    return this.#instances[1]!;
  }

  get linksOfA(): { readonly l2: Link; readonly bus: Link } {
    return this.#links[0]!;
  }

  /** Does all that an instance says to its servers go through links that can be held and cut? */
  get isLinked(): boolean {
    const { server } = this.subject;
    return server !== 'none' && server !== 'redis-cluster' && server !== 'breakwater-members';
  }

  /** The link of A that brings news of invalidations; null when there is none to cut. */
  get newsOfA(): Link | null {
    const { news } = this.subject;
    return news === 'none' ? null : this.linksOfA[news];
  }

  /** Can it say this at all? */
  can(kind: Kind): boolean {
    if (kind === 'key') return true;
    return kind === 'tag' ? this.b.invalidateTag !== undefined : this.b.invalidateNamespace !== undefined;
  }

  /** Updates the rows in the source, then invalidates as `kind` says. The first id names the key or the tag. */
  async write(by: Instance, ids: readonly string[], kind: Kind = 'key'): Promise<void> {
    const versions = ids.map((id) => this.source.update(id));
    try {
      await within(this.settings.readDeadlineMs, invalidation(by, ids[0]!, kind));
    } catch {
      this.tally.unacknowledged += 1;
      return;
    }
    const atMs = performance.now();
    ids.forEach((id, index) => {
      const known = this.#acknowledged.get(id) ?? [];
      known.push({ version: versions[index]!, atMs });
      this.#acknowledged.set(id, known);
    });
  }

  /** Reads and judges; undefined when the read failed. */
  async read(by: Instance, id: string): Promise<Row | null | undefined> {
    const known = [...(this.#acknowledged.get(id) ?? [])];
    this.tally.reads += 1;
    const startMs = performance.now();
    let row: Row | null | undefined;
    try {
      row = await within(this.settings.readDeadlineMs, by.get(id));
    } catch {
      this.tally.failedReads += 1;
      return undefined;
    }
    const missed = known.filter(({ version }) => version > (row?.version ?? 0));
    if (missed.length === 0) return row;
    const sinceMs = Math.min(...missed.map(({ atMs }) => atMs));
    this.tally.wrongHits += 1;
    if (startMs - sinceMs > (this.subject.boundMs ?? 0)) this.tally.beyondBound += 1;
    this.#stale(sinceMs);
    return row;
  }

  /** Reads each key with both instances until it is right; what is still old after `settleMs` is left stale. */
  async settle(ids: readonly string[]): Promise<void> {
    await Promise.all(ids.map((id) => this.#settleOne(id)));
  }

  /** A server under memory pressure evicts what the library has noted (tag markers, sets of members) and keeps the entries. */
  async evictBookkeeping(ids: readonly string[]): Promise<number> {
    let count = 0;
    for (const port of this.#servers.ports) count += await evictNotes(port, ids);
    return count;
  }

  /** What can go wrong with the servers themselves. */
  get serverFaults(): readonly ServerFault[] {
    return this.#servers.faults;
  }

  /** Can another process be a third instance? */
  get hasOtherProcesses(): boolean {
    return this.subject.server !== 'none' && this.subject.word !== undefined;
  }

  /** Another process of the service, in the middle of a load of `id` that will never end. */
  async holder(id: string): Promise<Child> {
    const { ports } = this.#servers;
    const { ttlMs, loadTimeoutMs } = this.settings;
    const place = { l2Port: ports[0]!, l2Ports: ports, busPort: ports[0]!, ttlMs, loadTimeoutMs };
    const order: HolderOrder = { subject: this.subject.word!, place, id };
    const child = this.#children.startNode(modulePath('./holder', import.meta.url), [], { label: 'the holder' });
    const report = await new Promise<HolderReport | null>((resolve) => {
      child.process.once('message', (message: HolderReport) => resolve(message));
      void child.exited.then(() => resolve(null));
      child.process.send(order);
    });
    if (report?.kind !== 'loading') throw child.failure(report?.message ?? 'ended before it loaded');
    this.source.loads += 1;
    return child;
  }

  async close(): Promise<void> {
    this.source.mood = 'answer';
    this.tally.loads = this.source.loads;
    // Some libraries wait for a connection in order to close it.
    for (const { l2, bus } of this.#links) {
      for (const link of [l2, bus]) {
        link.restore();
        link.release();
      }
    }
    await Promise.all(this.#instances.map((instance) => within(2000, instance.close()).catch(() => {})));
    await Promise.all(this.#links.flatMap(({ l2, bus }) => [l2.close(), bus.close()]));
  }

  async #settleOne(id: string): Promise<void> {
    const known = this.#acknowledged.get(id) ?? [];
    const wanted = Math.max(0, ...known.map(({ version }) => version));
    const endMs = performance.now() + this.settings.settleMs;
    let wrong = this.#instances.map((instance): Last => ({ instance, row: null }));
    for (;;) {
      wrong = await Promise.all(
        wrong.map(async ({ instance }) => ({ instance, row: await this.#quietRead(instance, id) })),
      );
      wrong = wrong.filter(({ row }) => row === FAILED || (row?.version ?? 0) < wanted);
      if (wrong.length === 0) return;
      const oldest = Math.min(
        ...wrong.map(({ row }) => (row === FAILED || !row ? Number.POSITIVE_INFINITY : row.version)),
      );
      const missed = known.find(({ version }) => version > oldest);
      if (missed !== undefined) this.#stale(missed.atMs);
      if (performance.now() > endMs) break;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    // Who answers nothing says nothing old.
    if (wrong.every(({ row }) => row === FAILED)) {
      this.tally.failedReads += 1;
      return;
    }
    this.tally.leftStale += 1;
    this.tally.worstStaleMs = Number.POSITIVE_INFINITY;
  }

  async #quietRead(instance: Instance, id: string): Promise<Last['row']> {
    return await within(this.settings.readDeadlineMs, instance.get(id)).catch(() => FAILED);
  }

  #stale(sinceMs: number): void {
    this.tally.worstStaleMs = Math.max(this.tally.worstStaleMs, performance.now() - sinceMs);
  }
}

/** One inline command to a server, past all links; the first of its reply. */
export async function command(port: number, line: string): Promise<string> {
  return await new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('error', reject);
    socket.once('connect', () => socket.write(`${line}\r\n`));
    socket.once('data', (chunk) => {
      resolve(chunk.toString('latin1').trim());
      socket.destroy();
    });
  });
}

function invalidation(by: Instance, id: string, kind: Kind): Promise<unknown> {
  if (kind === 'key') return by.invalidateKey(id);
  const done = kind === 'tag' ? by.invalidateTag?.(tagOf(id)) : by.invalidateNamespace?.();
  return done ?? Promise.reject(new Error(`it has no word for ${kind}`));
}

/** The promise, or a failure when it takes longer. The loser is left alone. */
export async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`longer than ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves when `holds` does, or after `atMostMs`. */
export async function until(holds: () => boolean, atMostMs: number): Promise<boolean> {
  const endMs = performance.now() + atMostMs;
  while (!holds()) {
    if (performance.now() > endMs) return false;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return true;
}
