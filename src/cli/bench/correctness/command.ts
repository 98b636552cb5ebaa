/** The command line of `breakwater bench correctness`. */
import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { withChildren } from '../../children/children.ts';
import { say, sayError, sayJson } from '../../output.ts';
import { environment, environmentLine } from '../environment.ts';
import { countFlag, invalidFlag } from '../flags.ts';
import { correctnessMarkdown, correctnessNotes, correctnessTable } from './report.ts';
import { findSubjects, SUBJECT_NAMES } from './roster.ts';
import { ALL_SCENARIOS, runCorrectness } from './run.ts';

interface Options {
  readonly quick?: boolean;
  readonly subjects: string;
  readonly scenarios: string;
  readonly keys?: string;
  readonly operations?: string;
  readonly seed: string;
  readonly json?: boolean;
  readonly output?: string;
}

const HELP = `
A wrong hit: a read that began after an invalidation was acknowledged, and was answered with the value from before it.
A stuck key: it stays old until its TTL ends. Every library runs over a real redis-server (Breakwater over each of its stores),
as two instances that share the server, with gates in the loader and on the wire, so that each interleaving is made to happen.

Examples:
  breakwater bench correctness --quick
  breakwater bench correctness --subjects breakwater,bentocache,cache-aside --scenarios load-delete,load-tag
  breakwater bench correctness --output bench/results/correctness.md`;

/** What a reader of the page must know. */
const TERMS = [
  'A *wrong hit* is a read that began after an invalidation was acknowledged to its caller, and was answered with the value from before it;',
  'its staleness counts from that acknowledgement. Where a library declares how long another process may see the old value (its L1, by *bound*), a wrong',
  'hit whose read began within that time is counted and called so. A key is *left stale* when it is not right a second after the scenario: only its TTL will',
  'end it. Two instances, A and B, share one server; the loader and the wire between instance and server have gates, so that each',
  'interleaving is made to happen (`src/cli/bench/correctness/scenarios.ts` has the steps). Both live in one process: a skewed clock is the clock of both for the moment of',
  'the invalidation. The holder of a lease that is killed (SIGKILL) or stopped (SIGSTOP, as when its machine vanishes: its connections stay open) is a process of its own. A tag is',
  'evicted on Redis by the server itself, under `maxmemory` and `allkeys-lru`; a node of ours evicts none, and gets 70,000 other tags instead.',
  'In the random mix links are cut or slow for A, where they can be; of a Redis Cluster, whose clients go past them, primaries are killed, paused and cut off, and members of a cluster of nodes killed, stopped and',
  'cut off from each other; for all the database is slow, and the clock an hour off, for 5 to 45 ms at a time. A read that fails is counted as such: it says nothing old.',
  '"-": there is no word for it, or no wire between the instance and its server that could be held, or no second process that could share the store.',
];

export function registerCorrectness(bench: Command): void {
  bench
    .command('correctness')
    .description('wrong hits: this library and published ones in the interleavings that make caches lie')
    .option('--quick', 'few keys and operations: which holes are there, not how often')
    .option('--subjects <names>', `some of ${SUBJECT_NAMES.join(', ')}`, 'all')
    .option('--scenarios <names>', `some of ${ALL_SCENARIOS.map(({ name }) => name).join(', ')}`, 'all')
    .option('--keys <n>', 'keys a scenario (20; quick: 3)')
    .option('--operations <n>', 'operations of the random mix (20,000; quick: 1,000)')
    .option('--seed <n>', 'seed of the random mix', '1')
    .option('--json', 'print JSON')
    .option('--output <file>', 'write the tables as markdown')
    .addHelpText('after', HELP)
    .action(async (options: Options) => {
      const code = await correctness(options);
      process.exitCode = code;
      // Stopped by a signal: the libraries under measurement are open still, and would wait for their servers for ever.
      if (code >= 128) process.exit();
    });
}

async function correctness(options: Options): Promise<number> {
  const { subjects, missing } = await findSubjects(names(options.subjects, SUBJECT_NAMES));
  const scenarios = names(
    options.scenarios,
    ALL_SCENARIOS.map(({ name }) => name),
  ).map((name) => {
    const found = ALL_SCENARIOS.find((scenario) => scenario.name === name);
    if (found === undefined)
      throw invalidFlag('--scenarios', `some of ${ALL_SCENARIOS.map((s) => s.name).join(', ')}`, name);
    return found;
  });
  const quick = options.quick === true;
  const size = {
    keys: countFlag('--keys', options.keys ?? (quick ? '3' : '20'), 100),
    callers: quick ? 50 : 200,
    operations: countFlag('--operations', options.operations ?? (quick ? '1000' : '20000'), 10_000_000),
    seed: countFlag('--seed', options.seed, 0xffff_ffff),
  };
  for (const line of missing) sayError(line);
  return await withChildren(async (children) => {
    const cells = await runCorrectness({ subjects, scenarios, size }, children, sayError);
    const where = environment();
    const preamble = [
      ...TERMS,
      '',
      environmentLine(where),
      '',
      `${size.keys} keys a scenario, ${size.operations} operations in the mix.`,
    ];
    if (options.output) writeFileSync(options.output, correctnessMarkdown(cells, subjects, scenarios, preamble));
    if (options.json) {
      const settings = subjects.map(({ name, version, configuration }) => ({ name, version, configuration }));
      sayJson({ environment: where, size, subjects: settings, missing, cells: cells.map(plain) });
      return 0;
    }
    say(environmentLine(where));
    say(correctnessTable(cells, subjects, scenarios));
    for (const line of correctnessNotes(cells, subjects)) say(line);
    return 0;
  });
}

/** JSON has no Infinity: "until its TTL" is null there. */
function plain(cell: Awaited<ReturnType<typeof runCorrectness>>[number]): unknown {
  if (cell.tally === null) return cell;
  const { worstStaleMs } = cell.tally;
  return { ...cell, tally: { ...cell.tally, worstStaleMs: Number.isFinite(worstStaleMs) ? worstStaleMs : null } };
}

function names(text: string, all: readonly string[]): string[] {
  return text === 'all' ? [...all] : text.split(',').map((word) => word.trim());
}
