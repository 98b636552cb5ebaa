/**
 * The two kinds of connection that following needs, over `pg` (an optional peer, loaded with the first use): one for SQL, and one that has become a stream.
 *
 * `pg` knows the bytes of replication and nothing of their meaning: frames come as events of its inner connection, and go out the way a COPY goes out. That much of it is used, as
 * pg-logical-replication does; docs/decisions/0016 says why not that package itself.
 *
 * Every wait has an end: connecting and asking by deadlines here, the stream by the pings of whoever reads it.
 */
import { BreakwaterError, messageOf } from '../../../base/errors.ts';
import { aborted } from '../../port.ts';

const CONNECT_MS = 10_000;
const QUERY_MS = 15_000;
/**
 * For the server's side: a session whose client's machine has vanished keeps its locks until TCP notices, by default after two hours. Here after half a minute. (A stream needs none of it: it
 * has `wal_sender_timeout`.)
 */
const KEEPALIVE = 'SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3';

interface Client {
  connect(): Promise<unknown>;
  query(query: string | { text: string; values: unknown[]; rowMode: 'array' }): Promise<{ rows: unknown[] }>;
  end(): Promise<void>;
  on(event: string, listener: (arg: never) => void): unknown;
  readonly processID?: number | null;
  readonly connection: Wire;
}

/** The part of `pg`'s connection that a stream goes through. */
interface Wire {
  on(event: string, listener: (message: never) => void): unknown;
  once(event: string, listener: (message: never) => void): unknown;
  sendCopyFromChunk(bytes: Uint8Array): void;
  end(): void;
  readonly stream: { pause(): unknown; resume(): unknown; destroy(): unknown };
}

/** Connects; the returned promise rejects with a code, and as soon as `signal` fires. */
async function open(config: Readonly<Record<string, unknown>>, more: object, signal: AbortSignal): Promise<Client> {
  let pg: { readonly Client: new (config: object) => Client };
  try {
    const module = (await import('pg')) as unknown as { default: typeof pg };
    pg = module.default;
  } catch (cause) {
    throw new BreakwaterError(
      'SOURCE_PG_MISSING',
      'cannot follow changes of Postgres without its client: npm install pg',
      {
        cause,
      },
    );
  }
  signal.throwIfAborted();
  const client = new pg.Client({ connectionTimeoutMillis: CONNECT_MS, keepAlive: true, ...config, ...more });
  // A connection that is lost says so also as an event, which would end the process if nobody listened.
  client.on('error', () => {});
  const close = (): void => {
    client.connection.stream.destroy();
  };
  signal.addEventListener('abort', close, { once: true });
  try {
    await client.connect();
  } catch (error) {
    close();
    throw signal.aborted ? aborted('Postgres', signal) : refusal(error, 'connect to Postgres');
  } finally {
    signal.removeEventListener('abort', close);
  }
  return client;
}

/** An ordinary connection. */
export class Sql {
  readonly #client: Client;
  readonly #signal: AbortSignal;
  readonly #close: () => void;
  /** The last statement, settled or not: one at a time, in the order of the calls. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(client: Client, signal: AbortSignal) {
    this.#client = client;
    this.#signal = signal;
    this.#close = () => client.connection.stream.destroy();
    signal.addEventListener('abort', this.#close, { once: true });
  }

  /** @param signal ends the connection, whatever it is doing */
  static async open(config: Readonly<Record<string, unknown>>, name: string, signal: AbortSignal): Promise<Sql> {
    const more = { application_name: `breakwater changes ${name}`, query_timeout: QUERY_MS };
    const client = await open(config, more, signal);
    const sql = new Sql(client, signal);
    try {
      await client.query(KEEPALIVE);
      return sql;
    } catch (error) {
      await sql.close();
      throw signal.aborted ? aborted('Postgres', signal) : refusal(error, 'use Postgres');
    }
  }

  /** Rows as arrays of columns. @throws BreakwaterError see {@link refusal} */
  rows(text: string, values: unknown[] = []): Promise<readonly (readonly unknown[])[]> {
    const rows = this.#last.then(() => this.#rows(text, values));
    this.#last = rows.catch(() => undefined);
    return rows;
  }

  async #rows(text: string, values: unknown[]): Promise<readonly (readonly unknown[])[]> {
    try {
      const { rows } = await this.#client.query({ text, values, rowMode: 'array' });
      return rows as unknown[][];
    } catch (error) {
      throw this.#signal.aborted ? aborted('Postgres', this.#signal) : refusal(error, 'use Postgres');
    }
  }

  onNotice(listener: () => void): void {
    this.#client.on('notification', listener);
  }

  /** Called when the connection ends, however it does. */
  onEnd(listener: () => void): void {
    this.#client.on('end', listener);
  }

  async close(): Promise<void> {
    this.#signal.removeEventListener('abort', this.#close);
    await ended(this.#client);
  }
}

/** A connection in replication mode: commands first, then, from {@link ReplicationLink.start} on, frames. */
export class ReplicationLink {
  readonly #client: Client;
  readonly #signal: AbortSignal;
  readonly #close: () => void;

  private constructor(client: Client, signal: AbortSignal) {
    this.#client = client;
    this.#signal = signal;
    this.#close = () => client.connection.stream.destroy();
    signal.addEventListener('abort', this.#close, { once: true });
  }

  static async open(
    config: Readonly<Record<string, unknown>>,
    name: string,
    signal: AbortSignal,
  ): Promise<ReplicationLink> {
    const more = { application_name: `breakwater changes ${name}`, replication: 'database' };
    try {
      return new ReplicationLink(await open(config, more, signal), signal);
    } catch (error) {
      if (!(error instanceof BreakwaterError) || error.code !== 'CHANGES_NOT_ALLOWED') throw error;
      throw new BreakwaterError(
        error.code,
        `${error.message}; the role needs the right of replication (ALTER ROLE ... REPLICATION) and a line of pg_hba.conf for its database`,
        { cause: error.cause },
      );
    }
  }

  /** The server's process that sends. */
  get pid(): number | null {
    return this.#client.processID ?? null;
  }

  /** A replication command, or SQL without parameters; the first row by column. */
  async command(text: string): Promise<Readonly<Record<string, unknown>>> {
    try {
      const { rows } = await this.#client.query(text);
      return (rows[0] ?? {}) as Record<string, unknown>;
    } catch (error) {
      throw this.#signal.aborted ? aborted('Postgres', this.#signal) : refusal(error, `run ${text}`);
    }
  }

  /**
   * Begins to stream; resolves when the server has agreed. `onFrame` gets each frame, good only within the call; what it throws ends the link.
   * `onEnd` is called once with why it ended, not when this side closed it.
   */
  start(text: string, onFrame: (bytes: Uint8Array) => void, onEnd: (error: unknown) => void): Promise<void> {
    const { connection } = this.#client;
    return new Promise((resolve, reject) => {
      let isOver = false;
      const end = (error: unknown): void => {
        if (isOver) return;
        isOver = true;
        connection.stream.destroy();
        reject(error);
        onEnd(error);
      };
      // From here on who reads ends it, with a goodbye.
      connection.once('replicationStart', () => {
        this.#signal.removeEventListener('abort', this.#close);
        resolve();
      });
      connection.on('copyData', ({ chunk }: { chunk: Uint8Array }) => {
        if (isOver) return;
        try {
          onFrame(chunk);
        } catch (error) {
          end(error);
        }
      });
      this.#client.query(text).then(
        () => end(new BreakwaterError('SOURCE_FAILED', 'the stream of changes ended: the server is shutting down')),
        (error: unknown) =>
          end(this.#signal.aborted ? aborted('Postgres', this.#signal) : refusal(error, 'read changes')),
      );
    });
  }

  /** Sends one frame; what the socket does not take yet is a few dozen bytes. */
  send(bytes: Uint8Array): void {
    this.#client.connection.sendCopyFromChunk(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  }

  /** No frames until {@link resume}: the server waits in turn. */
  pause(): void {
    this.#client.connection.stream.pause();
  }

  resume(): void {
    this.#client.connection.stream.resume();
  }

  /** Says goodbye behind what was sent, so that the server reads that first. */
  async close(): Promise<void> {
    this.#signal.removeEventListener('abort', this.#close);
    const { connection } = this.#client;
    connection.stream.resume();
    connection.end();
    await ended(this.#client);
  }
}

/** Longest that a goodbye may take. */
const GOODBYE_MS = 1_000;

async function ended(client: Client): Promise<void> {
  const { stream } = client.connection;
  const timer = setTimeout(() => stream.destroy(), GOODBYE_MS);
  await client.end().catch(() => undefined);
  clearTimeout(timer);
}

/**
 * What the driver threw, in our words: `CHANGES_NOT_ALLOWED` (rights), `CHANGES_WAL_LEVEL`, `CHANGES_SLOTS_EXHAUSTED`, `CHANGES_SLOT_BUSY` (another one reads it), `CHANGES_SLOT_LOST`,
 * `CHANGES_EXISTS` (somebody else was faster), `SOURCE_FAILED` (anything else: no connection, a server that shuts down). The server's own words are in the sentence and the cause.
 */
function refusal(error: unknown, what: string): BreakwaterError {
  if (error instanceof BreakwaterError) return error;
  const state: unknown = typeof error === 'object' && error !== null && 'code' in error ? error.code : null;
  const said = messageOf(error);
  let code = 'SOURCE_FAILED';
  if (state === '42501' || state === '28000' || state === '28P01') code = 'CHANGES_NOT_ALLOWED';
  else if (state === '3D000') code = 'CHANGES_DATABASE_UNKNOWN';
  else if (state === '55006') code = 'CHANGES_SLOT_BUSY';
  else if (state === '42710') code = 'CHANGES_EXISTS';
  // A publication that was made later than the changes that are to be read, for want of the one that there was: they cannot be read any more.
  else if (state === '42704' && /publication/.test(said)) code = 'CHANGES_SLOT_LOST';
  else if (state === '53400' && /slot/.test(said)) code = 'CHANGES_SLOTS_EXHAUSTED';
  else if (state === '55000') code = /wal_level/.test(said) ? 'CHANGES_WAL_LEVEL' : 'CHANGES_SLOT_LOST';
  const hint =
    code === 'CHANGES_SLOTS_EXHAUSTED' ? '; raise max_replication_slots, or drop slots that nobody reads' : '';
  const why = typeof state === 'string' && /^[0-9A-Z]{5}$/.test(state) ? `${said} (SQLSTATE ${state})` : said;
  return new BreakwaterError(code, `cannot ${what}: ${why}${hint}`, { cause: error });
}
