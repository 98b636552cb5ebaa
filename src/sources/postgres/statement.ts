/**
 * Statements to one pool: their names, and their failures in our words.
 *
 * A prepared statement outlives the table that it was planned for. After a column has changed its type each connection refuses the old statement for
 * as long as it lives ("cached plan must not change result type"), so it is prepared once more under a new name, on all connections from then on.
 *
 * A pool also hands out connections that have died while they were idle (the server was restarted, a firewall forgot them) before it has noticed. So a
 * statement that only reads is sent again when its connection is lost under it: as often as it takes where the connection had been there before, since
 * each loss is one such connection less; once where it was opened for the statement. A new connection that is lost says that the server is not well, or that this very statement
 * ends its backends. Neither is for us to repeat, and the guard of the cache has to know. Nor is anything sent again when no connection is to be had. A
 * statement that writes never is: nobody knows whether it was committed.
 */
import { createHash } from 'node:crypto';
import { BreakwaterError, messageOf } from '../../base/errors.ts';

import {
  LostConnection,
  type PostgresPool,
  type PostgresQuery,
  type Result,
  runSeries,
  sqlState,
} from './connection.ts';
import { inTransaction, type Steps } from './transaction.ts';

/** So many connections in a row and a read fails, whatever they were: larger than pools are, and an end. */
const MOST_LOST = 100;
const PLAN_OUTDATED = '0A000';
/** SQLSTATE classes in which the server refused what it was told, and did nothing: data, constraints, syntax or rights, raised by a trigger. */
const REFUSALS = ['22', '23', '42', '44', 'P0'];

export type Run = (text: string, values: unknown[]) => Promise<Result>;

export class Statement {
  readonly name: string;
  readonly #pool: PostgresPool;
  readonly #prepare: boolean;
  /** Counts the changes of type that were met. */
  #edition = 0;

  constructor(pool: PostgresPool, prepare: boolean, name: string) {
    this.#pool = pool;
    this.#prepare = prepare;
    this.name = name;
  }

  /**
   * One that only reads.
   * @throws BreakwaterError `SOURCE_TABLE_UNKNOWN`, `SOURCE_COLUMN_UNKNOWN`, `SOURCE_REFUSED`, `SOURCE_FAILED`, `SOURCE_ABORTED`
   */
  read(text: string, values: unknown[], signal?: AbortSignal): Promise<Result> {
    return this.readSeries((run) => run(text, values), signal);
  }

  /** Several on one connection. `work` is called again where a statement would be sent again. @throws BreakwaterError as {@link read} */
  async readSeries<T>(work: (run: Run) => Promise<T>, signal?: AbortSignal): Promise<T> {
    let newOnesLost = 0;
    for (let lost = 1; ; lost += 1) {
      try {
        return await this.#runPlanned(work, signal);
      } catch (error) {
        if (!(error instanceof LostConnection)) throw this.#worded(error);
        if (!error.wasUsed) newOnesLost += 1;
        if (newOnesLost > 1 || lost === MOST_LOST) throw this.#worded(error);
      }
    }
  }

  /** One that may change rows: never sent again once it may have run. @throws BreakwaterError as {@link read} */
  async write(text: string, values: unknown[], signal?: AbortSignal): Promise<Result> {
    try {
      return await this.#runPlanned((run) => run(text, values), signal);
    } catch (error) {
      throw this.#worded(error);
    }
  }

  /**
   * Several statements, one after the other on one connection, committed together: each sees what was committed before *it* began, and what those before it
   * did. Never sent again. @throws BreakwaterError as {@link read}
   */
  async transaction(steps: Steps, signal?: AbortSignal): Promise<Result> {
    try {
      const pool = inTransaction(this.#pool, steps);
      return await runSeries(pool, (run) => run({ text: '', values: [] }), signal, this.name);
    } catch (error) {
      throw this.#worded(error);
    }
  }

  /** Under a name that the connections accept: a refused plan has done nothing. */
  async #runPlanned<T>(work: (run: Run) => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    const edition = this.#edition;
    const { name } = this;
    const once = (): Promise<T> =>
      runSeries(this.#pool, (run) => work((text, values) => run(this.#query(text, values))), signal, name);
    try {
      return await once();
    } catch (error) {
      if (!this.#prepare || sqlState(error) !== PLAN_OUTDATED) throw error;
      if (this.#edition === edition) this.#edition += 1;
    }
    return await once();
  }

  #query(text: string, values: unknown[]): PostgresQuery {
    return { text, values, ...(this.#prepare ? { name: statementName(text, this.#edition) } : {}) };
  }

  #worded(thrown: unknown): BreakwaterError {
    if (thrown instanceof BreakwaterError) return thrown;
    const error = thrown instanceof LostConnection ? thrown.cause : thrown;
    const state = sqlState(error);
    let code = 'SOURCE_FAILED';
    if (state === '42P01') code = 'SOURCE_TABLE_UNKNOWN';
    else if (state === '42703') code = 'SOURCE_COLUMN_UNKNOWN';
    else if (state !== null && REFUSALS.includes(state.slice(0, 2))) code = 'SOURCE_REFUSED';
    const why = state === null ? messageOf(error) : `${messageOf(error)} (SQLSTATE ${state})`;
    return new BreakwaterError(code, `cannot use ${this.name}: ${why}`, { cause: error });
  }
}

/** By which each connection knows the statement. Made of the text: a connection that is shared must not meet one name with two texts. */
function statementName(text: string, edition: number): string {
  return `breakwater_${createHash('sha256').update(`${edition}\n${text}`).digest('hex').slice(0, 32)}`;
}
