/**
 * COMMAND: the table, told to clients. Cluster clients read from it where a command's keys stand; redis-cli reads summaries.
 */
import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import { errorShowing } from './echo.ts';
import { wrongArity } from './errors.ts';
import { textField } from './fields.ts';
import { FRESHNESS_ARGUMENTS } from './freshness-arguments.ts';
import { globMatches } from './glob.ts';
import { nextKeyOf } from './key-positions.ts';
import type { ArgumentSpec, CommandRow } from './row.ts';
import { argIs, latinOf, word } from './words.ts';

const encoder = new TextEncoder();

/** How a row is found by name; `parent|name` finds a subcommand. */
export type RowOf = (name: string) => CommandRow | undefined;

/** COMMAND, COMMAND INFO [name ...] */
export function commandInfo(rows: readonly CommandRow[], rowOf: RowOf, args: Args, out: ReplyWriter): void {
  if (args.count <= 2) {
    out.array(rows.length);
    for (const row of rows) writeInfo(row, out);
    return;
  }
  out.array(args.count - 2);
  for (let i = 2; i < args.count; i += 1) {
    const row = rowOf(latinOf(args, i));
    if (row === undefined) out.nullBulk();
    else writeInfo(row, out);
  }
}

/** Ten elements, as Redis 7 writes them; tips and key specifications are left empty (first, last and step say it all here). */
function writeInfo(row: CommandRow, out: ReplyWriter): void {
  const flags = row.flags === '' ? [] : row.flags.split(' ');
  out.array(10);
  out.bulkText(row.name);
  out.integer(row.arity);
  out.set(flags.length);
  for (const flag of flags) out.simple(flag);
  for (const position of row.keys) out.integer(position);
  const categories = categoriesOf(row, flags);
  out.set(categories.length);
  for (const category of categories) out.simple(category);
  out.array(0);
  out.array(0);
  const subcommands = row.subcommands ?? [];
  out.array(subcommands.length);
  for (const subcommand of subcommands) writeInfo(subcommand, out);
}

/** Redis's ACL categories, which follow from flags and group. */
function categoriesOf(row: CommandRow, flags: readonly string[]): string[] {
  const categories: string[] = [];
  if (row.group === 'generic') categories.push('@keyspace');
  if (flags.includes('readonly')) categories.push('@read');
  if (flags.includes('write')) categories.push('@write');
  if (row.group === 'string') categories.push('@string');
  categories.push(flags.includes('fast') ? '@fast' : '@slow');
  if (DANGEROUS.has(row.name)) categories.push('@dangerous');
  if (row.group === 'connection') categories.push('@connection');
  return categories;
}

const DANGEROUS = new Set(['keys', 'flushall', 'flushdb', 'info', 'config']);

/** COMMAND DOCS [name ...]: unknown names are left out. */
export function commandDocs(rows: readonly CommandRow[], rowOf: RowOf, args: Args, out: ReplyWriter): void {
  const wanted: CommandRow[] = args.count <= 2 ? [...rows] : [];
  for (let i = 2; i < args.count; i += 1) {
    const row = rowOf(latinOf(args, i));
    if (row !== undefined) wanted.push(row);
  }
  out.map(wanted.length);
  for (const row of wanted) writeDocs(row, out);
}

function writeDocs(row: CommandRow, out: ReplyWriter): void {
  const subcommands = row.subcommands ?? [];
  const specs = FRESHNESS_ARGUMENTS[row.name] ?? [];
  out.bulkText(row.name);
  out.map(4 + (subcommands.length > 0 ? 1 : 0) + (specs.length > 0 ? 1 : 0));
  textField(out, 'summary', row.summary);
  textField(out, 'since', row.since);
  textField(out, 'group', row.group);
  textField(out, 'complexity', row.complexity);
  if (specs.length > 0) writeArguments(specs, out);
  if (subcommands.length === 0) return;
  out.bulkText('subcommands');
  out.map(subcommands.length);
  for (const subcommand of subcommands) writeDocs(subcommand, out);
}

function writeArguments(specs: readonly ArgumentSpec[], out: ReplyWriter): void {
  out.bulkText('arguments');
  out.array(specs.length);
  for (const spec of specs) {
    const flags = [...(spec.optional ? ['optional'] : []), ...(spec.multiple ? ['multiple'] : [])];
    out.map(2 + (spec.token ? 1 : 0) + (flags.length > 0 ? 1 : 0) + (spec.parts ? 1 : 0));
    textField(out, 'name', spec.name);
    textField(out, 'type', spec.type);
    if (spec.token) textField(out, 'token', spec.token);
    if (flags.length > 0) {
      out.bulkText('flags');
      out.set(flags.length);
      for (const flag of flags) out.simple(flag);
    }
    if (spec.parts) writeArguments(spec.parts, out);
  }
}

const FILTERBY = word('filterby');
const PATTERN = word('pattern');
const ACLCAT = word('aclcat');
const MODULE = word('module');

/** COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern] */
export function commandList(rows: readonly CommandRow[], args: Args, out: ReplyWriter): void {
  let names = rows.flatMap((row) => [row.name, ...(row.subcommands ?? []).map((subcommand) => subcommand.name)]);
  if (args.count === 5 && argIs(args, 2, FILTERBY)) {
    const at = args.start[4]!;
    const length = args.length[4]!;
    if (argIs(args, 3, PATTERN)) {
      names = names.filter((name) => {
        const bytes = encoder.encode(name);
        return globMatches(args.bytes, at, length, bytes, 0, bytes.length, true);
      });
    } else if (argIs(args, 3, ACLCAT)) {
      const category = `@${latinOf(args, 4).toLowerCase()}`;
      names = rows.filter((row) => categoriesOf(row, row.flags.split(' ')).includes(category)).map((row) => row.name);
    } else if (argIs(args, 3, MODULE)) {
      names = [];
    } else {
      out.error('ERR syntax error');
      return;
    }
  } else if (args.count !== 2) {
    out.error('ERR syntax error');
    return;
  }
  out.array(names.length);
  for (const name of names) out.bulkText(name);
}

/** COMMAND GETKEYS command [argument ...] */
export function commandGetkeys(rowOf: RowOf, args: Args, out: ReplyWriter): void {
  const row = rowOf(latinOf(args, 2));
  if (row === undefined) {
    out.error('ERR Invalid command specified');
    return;
  }
  const next = nextKeyOf(row);
  if (next === null) {
    out.error('ERR The command has no key arguments');
    return;
  }
  const given = args.count - 2;
  if (row.arity > 0 ? given !== row.arity : given < -row.arity) {
    out.error('ERR Invalid number of arguments specified for command');
    return;
  }
  // The command as if it had been sent by itself.
  const sent = { bytes: args.bytes, count: given, start: args.start.subarray(2), length: args.length.subarray(2) };
  const found: number[] = [];
  for (let at = next(sent, 0); at !== 0; at = next(sent, at)) found.push(at);
  if (found.length === 0) {
    out.error('ERR Invalid arguments specified for command');
    return;
  }
  out.array(found.length);
  for (const at of found) out.bulk(sent.bytes, sent.start[at]!, sent.length[at]!);
}

/** `NAME HELP` for a command with subcommands. */
export function help(parent: CommandRow, out: ReplyWriter): void {
  const lines = [`${parent.name.toUpperCase()} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:`];
  for (const { name, summary } of parent.subcommands ?? []) {
    lines.push(name.slice(name.indexOf('|') + 1).toUpperCase(), `    ${summary}`);
  }
  out.array(lines.length);
  for (const line of lines) out.simple(line);
}

/** The error for `PARENT nosuch`. */
export function unknownSubcommand(parent: string, args: Args, out: ReplyWriter): void {
  if (args.count < 2) out.error(wrongArity(parent));
  else errorShowing("ERR unknown subcommand '", args, 1, `'. Try ${parent.toUpperCase()} HELP.`, out);
}
