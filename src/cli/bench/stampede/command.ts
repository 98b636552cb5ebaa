/** The command line of `breakwater bench stampede`. */
import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { withChildren } from '../../children/children.ts';
import { say, sayError, sayJson } from '../../output.ts';
import { findSubjects, SUBJECT_NAMES } from '../correctness/roster.ts';
import { environment, environmentLine } from '../environment.ts';
import { countFlag, invalidFlag } from '../flags.ts';
import { stampedeMarkdown, stampedePreamble, stampedeTable } from './report.ts';
import { runStampede } from './run.ts';

interface Options {
  readonly subjects: string;
  readonly processes: string;
  readonly callers: string;
  readonly loadMs: string;
  readonly rounds: string;
  readonly json?: boolean;
  readonly output?: string;
}

const DEFAULT_SUBJECTS = [
  'breakwater',
  'breakwater-l1',
  'breakwater-redis',
  'breakwater-redis-l1',
  'bentocache',
  'cache-aside',
  'set-nx-lock',
];
/** One process; a cluster and a ring have several servers, and a key lives on one of them. */
const LEFT_OUT = /embedded|cluster|ring/;

const CHOICES = SUBJECT_NAMES.filter((name) => !LEFT_OUT.test(name));

export function registerStampede(bench: Command): void {
  bench
    .command('stampede')
    .description('a cold key that many processes want at once: loads of the source, and how long the last caller waits')
    .option('--subjects <names>', `some of ${CHOICES.join(', ')}`, DEFAULT_SUBJECTS.join(','))
    .option('--processes <n>', 'processes of the service', '10')
    .option('--callers <n>', 'callers in each', '1000')
    .option('--load-ms <ms>', 'how long a load takes', '50')
    .option('--rounds <n>', 'rounds', '5')
    .option('--json', 'print JSON')
    .option('--output <file>', 'write the table as markdown')
    .action(async (options: Options) => {
      process.exitCode = await stampede(options);
    });
}

async function stampede(options: Options): Promise<number> {
  const subjects = [];
  for (const word of options.subjects.split(',').map((name) => name.trim())) {
    if (!CHOICES.includes(word)) throw invalidFlag('--subjects', `some of ${CHOICES.join(', ')}`, word);
    const { subjects: found, missing } = await findSubjects([word]);
    for (const line of missing) sayError(line);
    if (found[0] !== undefined) subjects.push({ word, subject: found[0] });
  }
  const plan = {
    subjects,
    processes: countFlag('--processes', options.processes, 100),
    callers: countFlag('--callers', options.callers, 100_000),
    loadMs: countFlag('--load-ms', options.loadMs, 4_000),
    rounds: countFlag('--rounds', options.rounds, 1_000),
  };
  return await withChildren(async (children) => {
    const rows = await runStampede(plan, children, sayError);
    const where = environment();
    if (options.output) writeFileSync(options.output, stampedeMarkdown(plan, rows, where));
    if (options.json) {
      const { subjects: _, ...settings } = plan;
      sayJson({ environment: where, settings, rows });
      return 0;
    }
    say(environmentLine(where));
    for (const line of stampedePreamble(plan)) say(line);
    say(stampedeTable(rows));
    return 0;
  });
}
