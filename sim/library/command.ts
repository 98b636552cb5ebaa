/**
 * `npm run sim -- --library`: schedules by the thousand over several processes, and the trace of the first that fails.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { fromMacrotask } from '../world/world.ts';
import { type BatchResult, type Failure, NOTHING, sum } from './batch.ts';
import { describeStep, type Plan, planOf } from './plan.ts';
import { shrink } from './shrink.ts';
import { type Report, Simulation } from './simulation.ts';

const HELP = `npm run sim -- --library [options]

  --seeds N        schedules to run (default 1000)
  --from S         the first seed (default 1)
  --processes N    worker processes (default: one a core)
  --twice K        one seed in K is run twice and must leave the same trace (default 50; 0 = none)
  --trace S        run seed S alone and print what happens in it
  --no-shrink      print a failing seed's trace as it is
  --keep-going     run all seeds, also behind a failure
  --json           print the outcome as one line of JSON

SIGINT and SIGTERM end a run early; what was done until then is summed up.
`;

const BATCH = 100;
const PROGRESS_MS = 15_000;

export async function libraryCommand(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      seeds: { type: 'string', default: '1000' },
      from: { type: 'string', default: '1' },
      processes: { type: 'string', default: String(availableParallelism()) },
      twice: { type: 'string', default: '50' },
      trace: { type: 'string' },
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
  if (values.trace !== undefined) {
    const report = await traced(planOf(whole('trace', values.trace, 0)));
    print(report);
    return report.violations.length === 0 ? 0 : 1;
  }
  const seeds = whole('seeds', values.seeds, 1);
  const from = whole('from', values.from, 0);
  const outcome = await runAll({
    from,
    seeds,
    processes: Math.min(whole('processes', values.processes, 1), Math.ceil(seeds / BATCH)),
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
  const plan = planOf(first.seed);
  if (values['no-shrink']) print(await traced(plan));
  else {
    const small = await fromMacrotask(() => shrink(plan));
    console.log(`\nmade smaller: ${small.plan.steps.length} of ${plan.steps.length} steps, ${small.runs} runs`);
    print(await traced(small.plan));
    console.log(`\nthe plan:\n${JSON.stringify(small.plan.setup)}\n${small.plan.steps.map(describeStep).join('\n')}`);
  }
  console.log(`\nagain: npm run sim -- --library --trace ${first.seed}`);
  return 1;
}

interface Work {
  readonly from: number;
  readonly seeds: number;
  readonly processes: number;
  readonly everyTwice: number;
  readonly keepGoing: boolean;
  readonly onProgress: (text: string) => void;
}

interface Outcome extends BatchResult {
  readonly elapsedMs: number;
  readonly processes: number;
}

async function runAll({ from, seeds, processes, everyTwice, keepGoing, onProgress }: Work): Promise<Outcome> {
  const startMs = performance.now();
  let next = from;
  let done = 0;
  let counts = NOTHING;
  let repeated = 0;
  let isStopped = false;
  // Asked to stop: what was done counts.
  const stop = (): void => {
    isStopped = true;
  };
  process.once('SIGINT', stop).once('SIGTERM', stop);
  const failures: Failure[] = [];
  /** By the batch's first seed: the hash of all does not depend on who was faster. */
  const hashes = new Map<number, number>();
  let saidMs = startMs;
  const one = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const child: ChildProcess = fork(fileURLToPath(new URL('./worker.ts', import.meta.url)), {
        execArgv: [...process.execArgv, '--max-semi-space-size=32'],
      });
      const give = (): void => {
        if (isStopped || next >= from + seeds) {
          child.disconnect();
          return;
        }
        const count = Math.min(BATCH, from + seeds - next);
        child.send({ from: next, seeds: count, everyTwice, stopAtFailure: !keepGoing });
        next += count;
      };
      child.on('message', (result: BatchResult) => {
        done += result.seeds;
        repeated += result.repeated;
        counts = sum(counts, result.counts);
        hashes.set(result.from, result.hash);
        failures.push(...result.failures);
        if (failures.length > 0 && !keepGoing) isStopped = true;
        const nowMs = performance.now();
        if (nowMs - saidMs > PROGRESS_MS) {
          saidMs = nowMs;
          onProgress(
            `${done} of ${seeds}, ${((done * 1000) / (nowMs - startMs)).toFixed(0)} a second, ${failures.length} failed`,
          );
        }
        give();
      });
      child.on('error', reject);
      child.on('exit', (code) => {
        if (code === 0) resolve();
        else reject(new Error(`a worker ended with ${code}`));
      });
      give();
    });
  await Promise.all(Array.from({ length: processes }, one));
  failures.sort((a, b) => a.seed - b.seed);
  let hash = 0;
  for (const [, value] of [...hashes].sort(([a], [b]) => a - b)) hash = (Math.imul(hash ^ value, 0x01000193) >>> 0) ^ 1;
  const elapsedMs = Math.round(performance.now() - startMs);
  return { from, seeds: done, hash: hash >>> 0, repeated, failures, counts, elapsedMs, processes };
}

function summary({ from, seeds, hash, repeated, failures, counts, elapsedMs, processes }: Outcome): string {
  const n = (value: number): string => value.toLocaleString('en-US');
  return [
    `${n(seeds)} schedules (seeds ${from} to ${from + seeds - 1}) in ${(elapsedMs / 1000).toFixed(1)} s, ${((seeds * 1000) / elapsedMs).toFixed(0)} a second in ${processes} process(es): ${failures.length} failed`,
    `${n(counts.answers)} answers checked (${n(counts.fromL1)} known to be from an L1, ${n(counts.staleFromL1)} of them replaced and within the bound), ${n(counts.loads)} loads`,
    `${n(counts.changes)} changes; invalidations: ${n(counts.acknowledged)} acknowledged (${n(counts.everywhere)} everywhere), ${n(counts.unacknowledged)} not; ${n(counts.refused)} calls refused`,
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

function whole(name: string, text: string, least: number): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new Error(`--${name} must be an integer from ${least}, received "${text}"`);
}
