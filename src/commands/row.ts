/**
 * One row of the command table: what COMMAND tells clients about a command, and the function that does it.
 */
import type { CommandFunction } from './context.ts';

/** COMMAND INFO's groups, as in Redis; `freshness` is ours. */
export type CommandGroup = 'connection' | 'string' | 'generic' | 'server' | 'cluster' | 'freshness';

/** One argument, for COMMAND DOCS: redis-cli shows it as a hint. */
export interface ArgumentSpec {
  readonly name: string;
  readonly type: 'key' | 'string' | 'integer' | 'pure-token' | 'block' | 'oneof';
  /** The word before it. */
  readonly token?: string;
  readonly optional?: boolean;
  /** May be repeated. */
  readonly multiple?: boolean;
  /** The parts of a block, or the alternatives. */
  readonly parts?: readonly ArgumentSpec[];
}

export interface CommandRow {
  /** Lower case; of a subcommand `parent|name`. */
  readonly name: string;
  /** Number of arguments with the name; negative = at least. */
  readonly arity: number;
  /** Redis's flags, blank-separated: `write denyoom readonly fast ...`. */
  readonly flags: string;
  /** Where keys stand: first, last (negative = from the end), step; 0 0 0 = none. */
  readonly keys: readonly [number, number, number];
  readonly group: CommandGroup;
  readonly summary: string;
  readonly since: string;
  readonly complexity: string;
  readonly run: CommandFunction;
  readonly subcommands?: readonly CommandRow[];
}

/** What one row needs beyond its function, in the order in which it is read aloud. */
export function row(
  name: string,
  arity: number,
  flags: string,
  keys: readonly [number, number, number],
  group: CommandGroup,
  since: string,
  complexity: string,
  summary: string,
  run: CommandFunction,
  subcommands?: readonly CommandRow[],
): CommandRow {
  const made = { name, arity, flags, keys, group, since, complexity, summary, run };
  return subcommands === undefined ? made : { ...made, subcommands };
}
