/**
 * Who changes rows while the demo reads: users, by way of one of the application's processes; and somebody with a client of his own, straight in SQL, of whom the application
 * knows nothing. Both note in {@link Truth} what they did and when.
 */
import { Agent, request } from 'node:http';
import type { Pool } from 'pg';
import { STREAM } from './live-service.ts';
import { SET_STOCK } from './product.ts';
import type { RequestStream } from './stream.ts';
import type { Truth } from './truth.ts';

/** Between two changes of a kind. */
const INTERVAL_MS = 40;
/** Changes of one kind that may be under way: more are not begun while something is away. */
const MOST_UNDER_WAY = 16;
const COVER_INTERVAL_MS = 40;
const ANSWER_MS = 20_000;

export interface WriteCounts {
  /** Through the application: acknowledged; committed, the invalidation in the outbox; failed. */
  written: number;
  queued: number;
  refused: number;
  /** In SQL. */
  inSql: number;
  inSqlFailed: number;
}

export function newWriteCounts(): WriteCounts {
  return { written: 0, queued: 0, refused: 0, inSql: 0, inSqlFailed: 0 };
}

export class Writers {
  counts = newWriteCounts();
  readonly #truth: Truth;
  readonly #ports: readonly number[];
  readonly #sql: Pool;
  readonly #stream: RequestStream;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #timers: ReturnType<typeof setInterval>[] = [];
  readonly #underWay = new Set<Promise<void>>();
  #next = 0;

  constructor(truth: Truth, ports: readonly number[], sql: Pool, stream: RequestStream) {
    this.#truth = truth;
    this.#ports = ports;
    this.#sql = sql;
    this.#stream = stream;
  }

  start(): void {
    const kinds = { app: 0, sql: 0, cover: 0 };
    const every = (ms: number, kind: keyof typeof kinds, most: number, work: () => Promise<void>): void => {
      this.#timers.push(
        setInterval(() => {
          if (kinds[kind] >= most) return;
          kinds[kind] += 1;
          const done = work().finally(() => {
            kinds[kind] -= 1;
            this.#underWay.delete(done);
          });
          this.#underWay.add(done);
        }, ms),
      );
    };
    every(INTERVAL_MS, 'app', MOST_UNDER_WAY, () => this.#throughTheApp());
    every(INTERVAL_MS, 'sql', MOST_UNDER_WAY, () => this.#inSql());
    every(COVER_INTERVAL_MS, 'cover', 1, () => this.#cover());
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await Promise.all(this.#underWay);
    this.#agent.destroy();
  }

  async #throughTheApp(): Promise<void> {
    const { counts } = this;
    const id = this.#stream.next();
    this.#next = (this.#next + 1) % this.#ports.length;
    const through = this.#next;
    const edition = this.#truth.begin(id, through);
    if (edition === null) return;
    const status = await this.#put(`/products/${id}?stock=${edition}`, this.#ports[through]!);
    if (status === 200 || status === 202) {
      this.#truth.committed(id, edition, performance.now(), status === 200);
      if (status === 200) counts.written += 1;
      else counts.queued += 1;
    } else counts.refused += 1;
  }

  #put(path: string, port: number): Promise<number> {
    return new Promise((resolve) => {
      const put = request({ host: '127.0.0.1', port, path, method: 'PUT', agent: this.#agent, timeout: ANSWER_MS });
      put.on('response', (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode ?? 0));
        response.on('error', () => resolve(0));
      });
      put.on('timeout', () => put.destroy());
      put.on('error', () => resolve(0));
      put.end();
    });
  }

  async #inSql(): Promise<void> {
    const { counts } = this;
    const id = this.#stream.next();
    const edition = this.#truth.begin(id, null);
    if (edition === null) return;
    try {
      await this.#sql.query(SET_STOCK, [id, edition]);
      const committedAtMs = performance.now();
      const { rows } = await this.#sql.query<{ at: string }>(
        "SELECT (pg_current_wal_insert_lsn() - '0/0')::text AS at",
      );
      this.#truth.committedInSql(id, edition, committedAtMs, BigInt(rows[0]!.at));
      counts.inSql += 1;
    } catch {
      counts.inSqlFailed += 1;
    }
  }

  /** The reader of the stream confirms what it has invalidated, and nothing else. */
  async #cover(): Promise<void> {
    try {
      const { rows } = await this.#sql.query<{ at: string | null }>(
        "SELECT (confirmed_flush_lsn - '0/0')::text AS at FROM pg_replication_slots WHERE slot_name = $1",
        [STREAM],
      );
      const at = rows[0]?.at;
      if (typeof at === 'string') this.#truth.coveredUpTo(BigInt(at), performance.now());
    } catch {
      // The database is away; asked again in a moment.
    }
  }
}
