/**
 * `breakwater warm`: fills the store before it is asked. Two ways in:
 *
 *   --config breakwater.yaml NAMESPACE    opens the sources and the store of a gateway's file itself and warms behind the file's guard, in the background's slots. Ids come from a
 *                                         list, from a query, or are all keys of the table. The store must be one that the gateway shares: one embedded in another process cannot be filled
 *   --url http://gateway NAMESPACE        asks a running gateway for the ids of a list, a batch at a time: also where its store is embedded. What it loads it loads as for any
 *                                         caller
 *
 * With --state the place is kept in a file: begun again after it was interrupted it goes on from there.
 */
import {
  accessSync,
  constants,
  createReadStream,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import type { Command } from 'commander';
import { BreakwaterError, messageOf } from '../base/errors.ts';
import type { WarmProgress } from '../cache/warm.ts';
import { type Progress, progressOn } from './demo/progress.ts';
import { EXIT_FAILURE, EXIT_OK, EXIT_USAGE, formatCount, say, sayError, sayJson } from './output.ts';
import { type WarmRun, warmByUrl } from './warm/by-url.ts';

interface Flags {
  readonly config?: string;
  readonly url?: string;
  readonly token?: string;
  readonly ids?: string;
  readonly sql?: string;
  readonly batch: string;
  readonly concurrency: string;
  readonly rate?: string;
  readonly total?: string;
  readonly state?: string;
  readonly json?: boolean;
}

const NOTES = `
Which ids: --ids FILE has one a line ("-" reads standard input); --sql asks the namespace's database, whose first column is the id, with $1 (the last id of the page
before) and $2 (most rows) page by page; with neither, all keys of the namespace's table.

Examples:
  breakwater warm --config breakwater.yaml product                       every row, behind the guard of the file
  breakwater warm --config breakwater.yaml product --sql 'SELECT id FROM product ORDER BY sold DESC LIMIT 10000'
  breakwater warm --config breakwater.yaml product --ids ids.txt --rate 200 --state warm.json
  breakwater warm --url http://127.0.0.1:8380 --token "$TOKEN" product --ids ids.txt

Exit codes: 0 all ids done, 1 some could not be loaded or it was cut off, 2 the command line or the file is wrong.`;

export function register(program: Command): void {
  program
    .command('warm')
    .description('fill the store of a gateway before it is asked')
    .argument('<namespace>', 'the namespace of the gateway')
    .option('--config <file>', "the gateway's YAML file")
    .option('--url <url>', 'a running gateway instead')
    .option('--token <token>', 'with --url: what it asks for')
    .option('--ids <file>', 'ids, one a line; - = standard input')
    .option('--sql <query>', 'with --config: a query for the ids')
    .option('--batch <n>', 'ids of one batch', '100')
    .option('--concurrency <n>', 'batches at once', '2')
    .option('--rate <n>', 'most ids loaded a second')
    .option('--total <n>', 'how many ids there are, for the bar')
    .option('--state <file>', 'keep the place here, and go on from it')
    .option('--json', 'print what became of them as one line of JSON')
    .addHelpText('after', NOTES)
    .action(async (namespace: string, flags: Flags) => {
      process.exitCode = await run(namespace, flags);
    });
}

interface State {
  readonly namespace: string;
  readonly ids: string;
  readonly cursor: number;
  readonly lastId: string | null;
}

async function run(namespace: string, flags: Flags): Promise<number> {
  if ((flags.config === undefined) === (flags.url === undefined)) throw usage('give --config or --url, one of them');
  if (flags.ids !== undefined && flags.sql !== undefined) throw usage('give --ids or --sql, not both');
  if (flags.url !== undefined && flags.ids === undefined)
    throw usage('--url needs --ids: a gateway does not tell its keys');
  const batch = number('--batch', flags.batch);
  const concurrency = number('--concurrency', flags.concurrency);
  const rate = flags.rate === undefined ? undefined : number('--rate', flags.rate);
  const total = flags.total === undefined ? null : number('--total', flags.total);
  const before = flags.state === undefined ? null : readState(flags.state, namespace, idsName(flags));

  if (flags.state !== undefined) checkStateFolder(flags.state);

  const abort = new AbortController();
  const stop = (): void => abort.abort(new BreakwaterError('INTERRUPTED', 'stopped'));
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  const progress = progressOn(process.stderr);
  // Keyset pages go on behind the last id; a list is read again up to its place.
  const isPaged = flags.ids === undefined && (flags.sql === undefined || flags.sql.includes('$1'));
  let last: WarmProgress | null = null;
  let savedAtMs = 0;
  const save = (): void => {
    if (flags.state === undefined || last === null) return;
    const { cursor, lastId } = last;
    const passed = isPaged ? (before?.cursor ?? 0) : 0;
    const state: State = {
      namespace,
      ids: idsName(flags),
      cursor: passed + cursor,
      lastId: lastId ?? before?.lastId ?? null,
    };
    try {
      writeFileSync(`${flags.state}.new`, JSON.stringify(state));
      renameSync(`${flags.state}.new`, flags.state);
    } catch (error) {
      throw new BreakwaterError('WARM_STATE_FAILED', `cannot keep the place in --state: ${messageOf(error)}`);
    }
  };
  const warmRun: WarmRun = {
    batch,
    concurrency,
    rate,
    skip: isPaged ? 0 : (before?.cursor ?? 0),
    signal: abort.signal,
    onProgress: (now) => {
      last = now;
      const passed = isPaged ? (before?.cursor ?? 0) : 0;
      show(progress, namespace, now, passed + now.cursor, total);
      if (performance.now() - savedAtMs < 1_000) return;
      savedAtMs = performance.now();
      save();
    },
  };
  try {
    const after = isPaged ? (before?.lastId ?? null) : null;
    const end =
      flags.url !== undefined
        ? await warmByUrl(flags.url, flags.token, namespace, lines(flags.ids!), warmRun)
        : await warmByConfig(flags, namespace, after, warmRun);
    if (end === null) return EXIT_USAGE;
    progress.clear();
    if (flags.state !== undefined) rmSync(flags.state, { force: true });
    if (flags.json === true)
      sayJson({ namespace, ...end, errors: end.errors.map(({ id, error }) => ({ id, error: messageOf(error) })) });
    else sayResult(namespace, end);
    return end.failed === 0 ? EXIT_OK : EXIT_FAILURE;
  } catch (error) {
    progress.clear();
    save();
    if (!abort.signal.aborted) throw error;
    const at = (last as WarmProgress | null)?.cursor ?? 0;
    sayError(
      `stopped after ${formatCount(at)} ids${flags.state === undefined ? '' : `; ${flags.state} has the place`}`,
    );
    return 130;
  } finally {
    process.off('SIGINT', stop);
    process.off('SIGTERM', stop);
  }
}

async function warmByConfig(
  flags: Flags,
  name: string,
  after: string | null,
  run: WarmRun,
): Promise<WarmProgress | null> {
  const [{ readConfigFile }, { GatewayConfigError }] = await Promise.all([
    import('../gateway/config/read.ts'),
    import('../gateway/config/problems.ts'),
  ]);
  const [{ openSources }, { declareNamespaces }, { withPassingQueues }] = await Promise.all([
    import('../gateway/sources.ts'),
    import('../gateway/namespaces.ts'),
    import('../gateway/queues.ts'),
  ]);
  try {
    const config = readConfigFile(flags.config!, process.env);
    if (config.store.store === undefined || config.store.store === 'embedded') {
      throw usage(`the store of ${flags.config} is embedded in its gateway's process: warm that through --url`);
    }
    const sources = await openSources(config.sources);
    // What is queued elsewhere is known by the notes in the store; the queue itself is the gateway's own.
    const passing = withPassingQueues(config);
    const { bw, namespaces } = declareNamespaces(passing.config, sources);
    try {
      const namespace = namespaces.get(name);
      if (namespace === undefined)
        throw usage(`${flags.config} has no namespace "${name}"; it has ${[...namespaces.keys()].join(', ')}`);
      const { rows } = namespace;
      if (rows === null) throw usage(`the namespace "${name}" has no source to load from`);
      const { ids } = rows.source;
      if (flags.ids === undefined && ids === undefined)
        throw usage(`the source of "${name}" cannot tell its ids: give --ids`);
      const query = { ...(flags.sql !== undefined && { sql: flags.sql }), ...(after !== null && { after }) };
      const iterable = flags.ids === undefined ? ids!(query, { signal: run.signal }) : lines(flags.ids);
      const { rate, ...options } = run;
      return await namespace.cache.warm(iterable, { ...options, ...(rate !== undefined && { rate }) });
    } finally {
      await bw.close();
      passing.remove();
      await Promise.all([...sources.values()].map((source) => source.close()));
    }
  } catch (error) {
    if (!(error instanceof GatewayConfigError)) throw error;
    for (const line of error.lines) sayError(line);
    return null;
  }
}

/** Before anything is loaded: a place that cannot be kept would be told of at the end. */
function checkStateFolder(file: string): void {
  try {
    accessSync(dirname(file), constants.W_OK);
  } catch (error) {
    throw usage(`--state ${file} cannot be written: ${messageOf(error)}`);
  }
}

/** One id a line; empty lines are none. */
async function* lines(file: string): AsyncGenerator<string> {
  const input = file === '-' ? process.stdin : createReadStream(file, 'utf8');
  try {
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY }))
      if (line !== '') yield line;
  } catch (error) {
    throw new BreakwaterError('USAGE_INVALID', `cannot read --ids: ${messageOf(error)}`);
  } finally {
    input.destroy();
  }
}

function show(progress: Progress, name: string, now: WarmProgress, at: number, total: number | null): void {
  const { loaded, present, failed, waits } = now;
  const more = `${failed > 0 ? ` · ${formatCount(failed)} failed` : ''}${waits > 0 ? ` · ${formatCount(waits)} waits` : ''}`;
  const detail = `${formatCount(at)} ids · ${formatCount(loaded)} loaded · ${formatCount(present)} there${more}`;
  progress.update(`warming ${name}`, total === null ? null : Math.min(1, at / total), detail);
}

function sayResult(name: string, end: WarmProgress): void {
  const parts = (['loaded', 'present', 'absent', 'refused', 'elsewhere', 'failed'] as const)
    .filter((part) => end[part] > 0)
    .map((part) => `${formatCount(end[part])} ${WORDS[part]}`);
  say(`${name}: ${formatCount(end.done)} ids: ${parts.join(', ') || 'nothing to do'}`);
  for (const { id, error } of end.errors) sayError(`  ${name}:${id}: ${messageOf(error)}`);
}

const WORDS = {
  loaded: 'loaded',
  present: 'were there',
  absent: 'do not exist',
  refused: 'changed meanwhile',
  elsewhere: 'loaded by others',
  failed: 'failed',
} as const;

function idsName({ ids, sql }: Flags): string {
  return ids !== undefined ? `ids ${ids}` : sql !== undefined ? `sql ${sql}` : 'all';
}

function readState(file: string, namespace: string, ids: string): State | null {
  if (!existsSync(file)) return null;
  let state: Partial<State> | null = null;
  try {
    state = JSON.parse(readFileSync(file, 'utf8')) as Partial<State>;
  } catch {
    // Said below.
  }
  const isOne = Number.isSafeInteger(state?.cursor) && (state?.lastId === null || typeof state?.lastId === 'string');
  if (!isOne) throw usage(`${file} is not what --state has written`);
  if (state?.namespace === namespace && state.ids === ids) return state as State;
  throw usage(`${file} is of another warming (${state?.namespace}, ${state?.ids}): remove it, or name another file`);
}

function number(flag: string, text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value > 0) return value;
  throw usage(`${flag} must be a number above 0, received "${text}"`);
}

function usage(why: string): BreakwaterError {
  return new BreakwaterError('USAGE_INVALID', `cannot warm: ${why}`);
}
