/**
 * Statements to one pool: their names, and their failures in our words.
 *
 * A prepared statement outlives the table that it was planned for. After a column has changed its type each connection refuses the old statement for
 * as long as it lives ("cached plan must not change result type"), so it is prepared once more under a new name, on all connections from then on.
 */
import { createHash } from 'node:crypto';
import { BreakwaterError, messageOf } from '../../base/errors.ts';
import { type PostgresPool, type Result, runStatement } from './connection.ts';

const PLAN_OUTDATED = '0A000';
/** SQLSTATE classes in which the server refused what it was told, and did nothing: data, constraints, syntax or rights, raised by a trigger. */
const REFUSALS = ['22', '23', '42', '44', 'P0'];

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

  /** @throws BreakwaterError `SOURCE_TABLE_UNKNOWN`, `SOURCE_COLUMN_UNKNOWN`, `SOURCE_REFUSED`, `SOURCE_FAILED`, `SOURCE_ABORTED` */
  async run(text: string, values: unknown[], signal?: AbortSignal): Promise<Result> {
    const edition = this.#edition;
    try {
      return await this.#runOnce(text, values, signal);
    } catch (error) {
      if (!this.#prepare || sqlState(error) !== PLAN_OUTDATED) throw this.#worded(error);
      if (this.#edition === edition) this.#edition += 1;
    }
    try {
      return await this.#runOnce(text, values, signal);
    } catch (error) {
      throw this.#worded(error);
    }
  }

  #runOnce(text: string, values: unknown[], signal: AbortSignal | undefined): Promise<Result> {
    const query = { text, values, ...(this.#prepare ? { name: statementName(text, this.#edition) } : {}) };
    return runStatement(this.#pool, query, signal, this.name);
  }

  #worded(error: unknown): BreakwaterError {
    if (error instanceof BreakwaterError) return error;
    const state = sqlState(error);
    let code = 'SOURCE_FAILED';
    if (state === '42P01') code = 'SOURCE_TABLE_UNKNOWN';
    else if (state === '42703') code = 'SOURCE_COLUMN_UNKNOWN';
    else if (state !== null && REFUSALS.includes(state.slice(0, 2))) code = 'SOURCE_REFUSED';
    const why = state === null ? messageOf(error) : `${messageOf(error)} (SQLSTATE ${state})`;
    return new BreakwaterError(code, `cannot use ${this.name}: ${why}`, { cause: error });
  }
}

function sqlState(error: unknown): string | null {
  const code: unknown = typeof error === 'object' && error !== null && 'code' in error ? error.code : null;
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : null;
}

/** By which each connection knows the statement. Made of the text: a connection that is shared must not meet one name with two texts. */
function statementName(text: string, edition: number): string {
  return `breakwater_${createHash('sha256').update(`${edition}\n${text}`).digest('hex').slice(0, 32)}`;
}
