/**
 * Statements on one connection of the application's pool, with an end. `pg` itself has none: a query whose caller has gone keeps its
 * connection until the server answers, and a few of those empty the pool.
 *
 *     signal fires while we wait for a connection   reject at once; the connection is handed back when it comes
 *     signal fires while the statement runs         ask the server to cancel it, over another connection; reject when it has ended
 *     ... and it has not ended CANCEL_GRACE_MS later  close the connection, so that the pool can open another; reject
 *
 * Why wait for the end, when nobody wants the answer: the guard counts calls that have not settled as load on the database. One that was
 * rejected early would be replaced by another while the server is still busy with it.
 *
 * The connection goes back to the pool only when no cancel request for it is under way: one that arrived late would hit the next user's statement.
 * One that was lost goes back as to be closed: the server's last words come before the end of the stream, and a pool that has seen only the words would
 * hand the connection out once more, to fail another statement.
 *
 * The pool is described by its shape, so that neither `pg` nor its types are needed to import this.
 */
import { messageOf } from '../../base/errors.ts';
import { aborted } from '../port.ts';

/** What is used of a `Pool` of `pg` 8, or of anything alike. */
export interface PostgresPool {
  /** Connections that nobody uses at the moment. */
  readonly idleCount?: number;
  /** How its connections are made; a stream of changes goes to the same place. */
  readonly options?: object;
  connect(): Promise<PostgresClient>;
}

export interface PostgresClient {
  /** Backend's process number; without one a statement cannot be cancelled and its connection is closed instead. */
  readonly processID?: number | null | undefined;
  on?(event: 'error', listener: (error: Error) => void): unknown;
  off?(event: 'error', listener: (error: Error) => void): unknown;
  query(query: PostgresQuery): Promise<PostgresResult>;
  /** @param destroy true: close the connection */
  release(destroy?: boolean): void;
}

export interface PostgresQuery {
  readonly text: string;
  readonly values: unknown[];
  readonly name?: string;
  readonly rowMode?: 'array';
}

export interface PostgresResult {
  readonly rows: unknown[];
  readonly fields: readonly { readonly name: string }[];
}

/** A result whose rows are arrays of columns. */
export interface Result {
  readonly rows: readonly (readonly unknown[])[];
  readonly fields: readonly { readonly name: string }[];
}

/** SQLSTATEs that the server says as it ends the connection: an administrator does, or a crash of another backend, or it was idle for too long. */
const GOODBYES: readonly string[] = ['57P01', '57P02', '57P05'];
/** What `pg` says of a connection that is gone. Of anything else without a SQLSTATE, such as its `query_timeout`, nothing follows. */
const GONE = /^(?:Connection terminated|Client was closed|Client has encountered a connection error)/;

/** Whether `error` of a statement tells that its connection is gone. */
function isConnectionLost(error: unknown): boolean {
  const state = sqlState(error);
  if (state !== null) return state.startsWith('08') || GOODBYES.includes(state);
  return error instanceof Error && ('syscall' in error || GONE.test(error.message));
}

/** The server's code for what went wrong; null where the failure is none of the server's. */
export function sqlState(error: unknown): string | null {
  if (typeof error !== 'object' || error === null || !('code' in error)) return null;
  const { code } = error;
  // `EPIPE` has five letters too, and a system call that failed with it.
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && !('syscall' in error) ? code : null;
}

/** What the driver threw as its connection was lost: the statement may be tried on another one if it can do no harm twice. */
export class LostConnection extends Error {
  /** It was there before: it may have been dead for long, and this statement has nothing to do with it. */
  readonly wasUsed: boolean;

  constructor(cause: unknown, wasUsed: boolean) {
    super(messageOf(cause), { cause });
    this.wasUsed = wasUsed;
  }
}

/** Connections on which the server has answered us. Of those that others have used the pool's `idleCount` tells. */
const used = new WeakSet<PostgresClient>();

/** How long a statement may outlast the request to cancel it before its connection is closed. */
const CANCEL_GRACE_MS = 1_000;

/**
 * What `work` says, one statement after the other, on one connection.
 * @param signal undefined: no end but the server's own (`statement_timeout`)
 * @throws BreakwaterError `SOURCE_ABORTED`; {@link LostConnection} with what the driver threw as its cause; else what the driver or `work` threw
 */
export async function runSeries<T>(
  pool: PostgresPool,
  work: (run: (query: PostgresQuery) => Promise<Result>) => Promise<T>,
  signal: AbortSignal | undefined,
  name: string,
): Promise<T> {
  const isIdleThere = (pool.idleCount ?? 0) > 0;
  const client = await connect(pool, signal, name);
  let isUseless = false;
  const onUseless = (): void => {
    isUseless = true;
  };
  try {
    return await work((query) => runOn({ pool, client, name, isIdleThere, onUseless }, query, signal));
  } finally {
    // Closing makes the driver fail the statement, and emit more errors later: the listener stays.
    if (!isUseless) client.off?.('error', ignoreError);
    client.release(isUseless);
  }
}

interface Place {
  readonly pool: PostgresPool;
  readonly client: PostgresClient;
  readonly name: string;
  /** The pool had idle connections, of which this may be one. */
  readonly isIdleThere: boolean;
  /** The connection must be closed. */
  readonly onUseless: () => void;
}

async function runOn(
  { pool, client, name, isIdleThere, onUseless }: Place,
  query: PostgresQuery,
  signal: AbortSignal | undefined,
): Promise<Result> {
  if (signal?.aborted) throw aborted(name, signal);
  const ignore = (): void => {};
  const running = client.query({ ...query, rowMode: 'array' });
  let hasEnded = false;
  let cancelling: Promise<void> = Promise.resolve();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let onAbort = ignore;
  const isCut = new Promise<true>((resolve) => {
    onAbort = () => {
      const { processID } = client;
      if (typeof processID !== 'number') return resolve(true);
      timer = setTimeout(resolve, CANCEL_GRACE_MS, true);
      void cancel(
        pool,
        processID,
        () => hasEnded,
        (answered) => {
          cancelling = answered;
        },
      );
    };
  });
  if (signal?.aborted) onAbort();
  signal?.addEventListener('abort', onAbort, { once: true });
  let isLost = false;
  /** Of no more use to anybody: lost, or with a statement in it that the driver has turned away from (its `query_timeout`). */
  let isSpoilt = false;
  const isOver = running
    .then(
      () => used.add(client),
      (error: unknown) => {
        isLost = isConnectionLost(error);
        isSpoilt = isLost || sqlState(error) === null;
      },
    )
    .then(async () => {
      hasEnded = true;
      await cancelling;
      return false;
    });
  const wasCut = await Promise.race([isOver, isCut]);
  hasEnded = true;
  clearTimeout(timer);
  signal?.removeEventListener('abort', onAbort);
  if (wasCut || isSpoilt) onUseless();
  // What is cut off fails when its connection is closed, and `isOver` has seen to that failure.
  if (wasCut && signal !== undefined) throw aborted(name, signal);
  try {
    return (await running) as Result;
  } catch (error) {
    if (signal?.aborted) throw aborted(name, signal);
    throw isLost ? new LostConnection(error, isIdleThere || used.has(client)) : error;
  }
}

/** A connection that is lost says so twice: to the statement, and as an event that would end the process if nobody listened. */
function ignoreError(): void {}

type CheckOut = (done: (error: unknown, client: PostgresClient | undefined) => void) => unknown;

/**
 * A connection that is listened to from the moment at which the pool no longer does. By the promise of `pg` there would be a moment without: a server that ends right behind its greeting
 * can say both in one packet, which the driver reads to its end before any promise goes on, and the process would end with it. Pools that know no callback give a promise.
 */
export function checkOut(pool: PostgresPool): Promise<PostgresClient> {
  return new Promise((resolve, reject) => {
    const take = (client: PostgresClient): void => {
      client.on?.('error', ignoreError);
      resolve(client);
    };
    const returned = (pool.connect as CheckOut).call(pool, (error, client) => {
      if (client === undefined || error) reject(error);
      else take(client);
    });
    if (typeof (returned as PromiseLike<PostgresClient> | undefined)?.then === 'function') {
      (returned as PromiseLike<PostgresClient>).then(take, reject);
    }
  });
}

/** A connection; one that comes after the signal goes straight back. */
async function connect(pool: PostgresPool, signal: AbortSignal | undefined, name: string): Promise<PostgresClient> {
  if (signal === undefined) return await checkOut(pool);
  if (signal.aborted) throw aborted(name, signal);
  const connecting = checkOut(pool);
  return await new Promise((resolve, reject) => {
    const onAbort = (): void => reject(aborted(name, signal));
    signal.addEventListener('abort', onAbort, { once: true });
    connecting.then(
      (client) => {
        signal.removeEventListener('abort', onAbort);
        if (!signal.aborted) return resolve(client);
        client.off?.('error', ignoreError);
        client.release();
      },
      (error: unknown) => {
        signal.removeEventListener('abort', onAbort);
        reject(error);
      },
    );
  });
}

/**
 * Asks the server to cancel what `processId` runs, unless that has ended by the time a connection is free.
 * @param onSent called as the request leaves, with what settles when it was answered
 */
async function cancel(
  pool: PostgresPool,
  processId: number,
  hasEnded: () => boolean,
  onSent: (answered: Promise<void>) => void,
): Promise<void> {
  let client: PostgresClient;
  try {
    client = await checkOut(pool);
  } catch {
    return; // no connection to ask over: the grace runs out
  }
  if (hasEnded()) {
    client.off?.('error', ignoreError);
    return client.release();
  }
  const answered = client.query({ text: 'SELECT pg_cancel_backend($1)', values: [processId] }).then(
    () => {
      client.off?.('error', ignoreError);
      client.release();
    },
    () => client.release(true),
  );
  onSent(answered);
}
