/**
 * `npm run sim -- --library`: schedules by the thousand over several processes, and the trace of the first that fails.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { WordsInvalid, whole } from '../run/words.ts';
import { headline, type Outcome, runOverWorkers } from '../run/workers.ts';
import { fromMacrotask } from '../world/world.ts';
import { NOTHING } from './batch.ts';
import { ABOUT, type About, describeStep, type Plan, planOf } from './plan.ts';
import { shrink } from './shrink.ts';
import { type Counts, type Report, Simulation } from './simulation.ts';

const HELP = `npm run sim -- --library [options]

  --seeds N        schedules to run (default 1000)
  --from S         the first seed (default 1)
  --about WORD     all of them about versions, or about outboxes (default: one in three is about one of them)
  --processes N    worker processes (default: one a core)
  --twice K        one seed in K is run twice and must leave the same trace (default 50; 0 = none)
  --trace S        run seed S alone and print what happens in it
  --no-shrink      print a failing seed's trace as it is
  --keep-going     run all seeds, also behind a failure
  --json           print the outcome as one line of JSON

SIGINT and SIGTERM end a run early; what was done until then is summed up.
`;

const BATCH = 100;

export async function libraryCommand(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      seeds: { type: 'string', default: '1000' },
      from: { type: 'string', default: '1' },
      processes: { type: 'string', default: String(availableParallelism()) },
      twice: { type: 'string', default: '50' },
      trace: { type: 'string' },
      about: { type: 'string' },
      'no-shrink': { type: 'boolean', default: false },
      'keep-going': { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  const about = aboutOf(values.about);
  if (values.trace !== undefined) {
    const report = await traced(planOf(whole('trace', values.trace, 0), about));
    print(report);
    return report.violations.length === 0 ? 0 : 1;
  }
  const seeds = whole('seeds', values.seeds, 1);
  const from = whole('from', values.from, 0);
  const outcome = await runOverWorkers({
    worker: new URL('./worker.ts', import.meta.url),
    nothing: NOTHING,
    batchSize: BATCH,
    from,
    seeds,
    job: { about },
    processes: whole('processes', values.processes, 1),
    everyTwice: whole('twice', values.twice, 0),
    keepGoing: values['keep-going'],
    onProgress: values.json ? () => undefined : (text) => console.log(text),
  });
  if (values.json) {
    console.log(JSON.stringify(outcome));
    return outcome.failures.length === 0 ? 0 : 1;
  }
  console.log(summary(outcome));
  const [first] = outcome.failures;
  if (first === undefined) return 0;
  console.log(`\nseed ${first.seed} fails:\n  ${first.violations.join('\n  ')}`);
  const plan = planOf(first.seed, about);
  if (values['no-shrink']) print(await traced(plan));
  else {
    const small = await fromMacrotask(() => shrink(plan));
    console.log(`\nmade smaller: ${small.plan.steps.length} of ${plan.steps.length} steps, ${small.runs} runs`);
    print(await traced(small.plan));
    console.log(`\nthe plan:\n${JSON.stringify(small.plan.setup)}\n${small.plan.steps.map(describeStep).join('\n')}`);
  }
  console.log(`\nagain: npm run sim -- --library --trace ${first.seed}${about === null ? '' : ` --about ${about}`}`);
  return 1;
}

function summary(outcome: Outcome<Counts>): string {
  const { repeated, counts, hash } = outcome;
  const n = (value: number): string => value.toLocaleString('en-US');
  return [
    headline(outcome, n),
    `${n(counts.answers)} answers checked (${n(counts.fromL1)} known to be from an L1, ${n(counts.staleFromL1)} of them replaced and within the bound), ${n(counts.loads)} loads`,
    `${n(counts.changes)} changes; invalidations: ${n(counts.acknowledged)} acknowledged (${n(counts.everywhere)} everywhere), ${n(counts.unacknowledged)} not; ${n(counts.refused)} calls refused`,
    `${n(counts.queued)} invalidations went into an outbox; ${n(counts.versionedSets)} sets with a version were answered, ${n(counts.outdatedSets)} of them as outdated`,
    `${n(counts.faults)} faults, ${n(counts.events)} events, ${n(Math.round(counts.virtualMs / 1000))} s of virtual time; ${n(repeated)} seeds run twice with the same trace; hash ${hash.toString(16)}`,
  ].join('\n');
}

function traced(plan: Plan): Promise<Report> {
  return fromMacrotask(() => new Simulation(plan, true).run());
}

function print(report: Report): void {
  console.log(`\n${report.lines.join('\n')}\n`);
  console.log(
    report.violations.length === 0
      ? `seed ${report.seed}: nothing wrong, trace ${report.hash}`
      : report.violations.join('\n'),
  );
}

function aboutOf(text: string | undefined): About | null {
  if (text === undefined) return null;
  const about = ABOUT.find((word) => word === text);
  if (about !== undefined) return about;
  throw new WordsInvalid(`--about must be one of ${ABOUT.join(', ')}, received "${text}"`);
}
