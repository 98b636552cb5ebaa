/** A real Postgres whose changes are followed, and a library that writes down what it is told to invalidate. */
import type { Client } from 'pg';
import { systemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { systemScheduler } from '../../src/base/scheduler.ts';
import type { ChangeRun, ChangeStats, ChangeStream, ChangesEvent, ChangeTarget } from '../../src/cache/changes/port.ts';
import { type PostgresChangesOptions, postgresChanges } from '../../src/sources/postgres.ts';
import type { InvalidateRequest } from '../../src/stores/store.ts';
import { type PostgresServer, startPostgres } from '../support/postgres-server.ts';

export const GENEROUS_MS = 60_000;

/** Until `is` gives something else than false, null or undefined. */
export async function until<T>(
  what: string,
  is: () => T | Promise<T>,
  deadlineMs = GENEROUS_MS,
): Promise<NonNullable<T>> {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const found = await is();
    if (found !== false && found !== null && found !== undefined) return found as NonNullable<T>;
    if (Date.now() > end) throw new Error(`waited ${deadlineMs} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** What a store would be told; what is remembered outlives the runs, as it does in a store. */
export class Recorder {
  readonly memory: Map<string, string>;
  readonly batches: Required<InvalidateRequest>[] = [];
  readonly events: Omit<ChangesEvent, 'stream'>[] = [];
  /** Called before an invalidation is acknowledged: what it waits for, or throws. */
  before: (what: Required<InvalidateRequest>, signal: AbortSignal) => Promise<unknown> | undefined = () => undefined;
  outcome: 'acknowledged' | 'queued' = 'acknowledged';
  isSettled = true;

  constructor(memory = new Map<string, string>()) {
    this.memory = memory;
  }

  get target(): ChangeTarget {
    return {
      clock: systemClock(),
      scheduler: systemScheduler(),
      random: new SeededRandom(7),
      invalidate: async ({ keys = [], tags = [], namespaces = [] }, signal) => {
        signal.throwIfAborted();
        await this.before({ keys, tags, namespaces }, signal);
        this.batches.push({ keys, tags, namespaces });
        return this.outcome;
      },
      hasSettled: () => this.isSettled,
      recall: async (name) => this.memory.get(name) ?? null,
      remember: async (name, text) => {
        this.memory.set(name, text);
      },
      tell: (event) => this.events.push(event),
    };
  }

  all(kind: 'keys' | 'tags' | 'namespaces'): string[] {
    return this.batches.flatMap((batch) => batch[kind]);
  }

  has(kind: 'keys' | 'tags' | 'namespaces', name: string): boolean {
    return this.batches.some((batch) => batch[kind].includes(name));
  }

  /** Forgets what was invalidated so far, to look at what comes next. */
  clear(): void {
    this.batches.length = 0;
    this.events.length = 0;
  }
}

export interface Followed {
  readonly recorder: Recorder;
  readonly run: ChangeRun;
  stats(): ChangeStats;
}

/** One server, and what was opened on it. */
export class World {
  readonly server: PostgresServer;
  #sql: Client;
  #runs: ChangeRun[] = [];
  #slots = 0;

  private constructor(server: PostgresServer, sql: Client) {
    this.server = server;
    this.#sql = sql;
  }

  static async start(settings: Readonly<Record<string, string>>): Promise<World> {
    const server = await startPostgres(settings);
    const world = new World(server, await newClient(server));
    return world;
  }

  /** Another name, for a slot and publication of a test's own. */
  newName(): string {
    this.#slots += 1;
    return `changes_${this.#slots}`;
  }

  async sql(text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
    return (await this.#sql.query(text, values)).rows as Record<string, unknown>[];
  }

  newClient(): Promise<Client> {
    return newClient(this.server);
  }

  follow(
    options: Omit<PostgresChangesOptions, 'connection'> & { connection?: Record<string, unknown> },
    recorder = new Recorder(),
  ): Followed {
    return this.open(postgresChanges({ connection: { ...this.server.connection }, ...options }), recorder);
  }

  open(stream: ChangeStream, recorder = new Recorder()): Followed {
    const run = stream.open(recorder.target);
    run.ready.catch(() => undefined);
    this.#runs.push(run);
    return { recorder, run, stats: () => run.stats() };
  }

  /** Follows, and waits until what is missed from now on would be a fault. */
  async followed(options: Parameters<World['follow']>[0], recorder = new Recorder()): Promise<Followed> {
    const followed = this.follow(options, recorder);
    await followed.run.ready;
    recorder.clear();
    return followed;
  }

  /** After the server was restarted. */
  async reconnect(): Promise<void> {
    await this.#sql.end().catch(() => undefined);
    this.#sql = await newClient(this.server);
  }

  /** Ends what a test has begun; servers have few slots. */
  async reset(): Promise<void> {
    await Promise.all(this.#runs.map((run) => run.stop()));
    this.#runs = [];
    await until('the slots to be free', async () => {
      await this.sql('SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE active_pid IS NULL');
      return (await this.sql('SELECT FROM pg_replication_slots')).length === 0;
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#runs.map((run) => run.stop()));
    await this.#sql.end();
    await this.server.close();
  }
}

async function newClient(server: PostgresServer): Promise<Client> {
  const client = new server.pg.Client({ ...server.connection });
  client.on('error', () => {});
  await client.connect();
  return client;
}

/** The commonest mapping. */
export const PRODUCT = {
  columns: ['id'],
  keys: (row: { readonly id: string | null }) => [`product:${row.id}`],
  namespaces: ['product'],
};
