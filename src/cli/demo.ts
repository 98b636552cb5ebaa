/**
 * `breakwater demo`: what the cache does for a real application with a real database, on the machine at hand, in under a
 * minute. It starts everything itself (Postgres from npm, a node, a small HTTP service), and leaves nothing behind.
 */
import { appendFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { Command } from 'commander';
import { BreakwaterError } from '../base/errors.ts';
import { environment, environmentLine } from './bench/environment.ts';
import { withChildren } from './children/children.ts';
import type { LivePlan, Phase } from './demo/live.ts';
import { progressOn } from './demo/progress.ts';
import type { DemoPlan, DemoResult } from './demo/run.ts';
import { readTrace, traceStream, zipfStream } from './demo/stream.ts';
import { EXIT_OK, say, sayJson } from './output.ts';

interface DemoOptions {
  readonly seconds?: string;
  readonly requests?: string;
  readonly rows?: string;
  readonly concurrency: string;
  readonly zipf: string;
  readonly seed: string;
  readonly warm?: string;
  readonly trace?: string;
  readonly memory: string;
  readonly short?: boolean;
  /** False: --no-changes. */
  readonly changes?: boolean;
  readonly json?: boolean;
  readonly output?: string;
}

/** As many as `pg`'s pool has by default. */
const POOL_SIZE = 10;

function number(flag: string, text: string, min: number, max: number, whole = true): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= min && value <= max) || (whole && !Number.isInteger(value))) {
    throw new BreakwaterError(
      'USAGE_INVALID',
      `cannot read ${flag}: expected ${whole ? 'a whole number' : 'a number'} from ${min} to ${max}, received "${text}"`,
    );
  }
  return value;
}

/** The scenes in which rows change. */
function livePlan({ memory }: DemoOptions, short: boolean, rows: number, stream: LivePlan['stream']): LivePlan {
  const times = short
    ? { calmMs: 3_000, outageMs: 1_500, afterMs: 1_500 }
    : { calmMs: 10_000, outageMs: 5_000, afterMs: 3_000 };
  return { rows, ...times, memory, poolSize: POOL_SIZE, stream };
}

/** What the options ask for. `--short` changes defaults only: what is given explicitly stays. */
export function demoPlan(options: DemoOptions): DemoPlan {
  const short = options.short === true;
  const rows = number('--rows', options.rows ?? (short ? '10000' : '100000'), 1, 5_000_000);
  const requests = options.requests === undefined ? null : number('--requests', options.requests, 1, 1e9);
  const seconds = options.seconds === undefined ? null : number('--seconds', options.seconds, 0.1, 86_400, false);
  const shared = {
    rows,
    concurrency: number('--concurrency', options.concurrency, 1, 1000),
    poolSize: POOL_SIZE,
    memory: options.memory,
  };
  if (options.trace !== undefined) {
    const ids = readTrace(options.trace);
    const name = basename(options.trace).replace(/\.u32\.br$/, '');
    return {
      ...shared,
      requests: requests ?? (seconds === null ? ids.length : null),
      seconds,
      warmRequests: number('--warm', options.warm ?? '0', 0, 1e9),
      settleMs: 0,
      live: null,
      stream: () => traceStream(ids, rows, name),
    };
  }
  const exponent = number('--zipf', options.zipf, 0.01, 10, false);
  const seed = number('--seed', options.seed, 0, 2 ** 32 - 1);
  return {
    ...shared,
    requests,
    seconds: seconds ?? (requests === null ? (short ? 1.5 : 15) : null),
    warmRequests: number('--warm', options.warm ?? (short ? '200000' : '1000000'), 0, 1e9),
    settleMs: short ? 500 : 2000,
    live: options.changes === false ? null : livePlan(options, short, rows, () => zipfStream(rows, exponent, seed)),
    stream: () => zipfStream(rows, exponent, seed),
  };
}

function sum(phases: readonly Phase[], what: 'wrong'): number {
  return phases.reduce((total, phase) => total + phase[what], 0);
}

async function demo(options: DemoOptions): Promise<number> {
  const plan = demoPlan(options);
  const progress = progressOn(process.stderr);
  const { runDemo } = await import('./demo/run.ts');
  const { demoMarkdown, demoTable, queryReduction } = await import('./demo/report.ts');
  const { liveMarkdown, liveTable } = await import('./demo/live-report.ts');
  return await withChildren(async (children, signal) => {
    signal.addEventListener('abort', () => progress.done('stopping, cleaning up'), { once: true });
    let result: DemoResult;
    try {
      result = await runDemo(plan, children, signal, progress);
    } finally {
      progress.clear();
    }
    const reduction = queryReduction(result);
    if (options.output) {
      const title = `${environmentLine(environment())}`;
      appendFileSync(options.output, demoMarkdown(title, result));
      if (result.live !== null) appendFileSync(options.output, liveMarkdown(result.live));
    }
    if (options.json) {
      sayJson({ environment: environment(), ...result, queryReduction: Number.isFinite(reduction) ? reduction : null });
    } else {
      say(demoTable(result));
      if (result.live !== null) say(liveTable(result.live));
    }
    const phases = result.live === null ? [] : [result.live.calm, ...result.live.broken];
    const wrong =
      result.without.wrong + result.with.wrong + result.without.failed + result.with.failed + sum(phases, 'wrong');
    // What fails while something is broken is what users saw of it; while nothing is, nothing may.
    const failed = result.live?.calm.failedReads ?? 0;
    if (wrong + failed === 0) return EXIT_OK;
    const first = phases.find(({ firstWrong }) => firstWrong !== '')?.firstWrong ?? result.live?.calm.firstFailed ?? '';
    throw new BreakwaterError(
      'DEMO_WRONG',
      `${wrong + failed} answers were not what the database says, the first: ${result.with.firstWrong || result.without.firstWrong || first}`,
    );
  }).catch((error: unknown) => {
    progress.clear();
    throw error;
  });
}

const HELP = `
What it does: 100,000 products in a throw-away Postgres; a small HTTP service reads them by id; 50 users ask as fast as they
are answered, first without and then with the cache. Every answer is compared with the row. Database queries are counted
by Postgres itself. Then three processes of the service share the cache while rows change, through them and behind their
back, and a checker judges every answer; then Postgres is killed, the node is killed, and one process is cut off from it.

Examples:
  breakwater demo                        about two minutes
  breakwater demo --short                about half a minute
  breakwater demo --no-changes           the comparison alone
  breakwater demo --trace web12.u32.br   a recorded trace, from a cold cache (brotli of 32-bit ids)
  breakwater demo --zipf 1.2 --warm 0    a steeper stream, from a cold cache`;

export function register(program: Command): void {
  program
    .command('demo')
    .description('a real Postgres and a small service, without and with the cache')
    .option('--seconds <s>', 'length of each run (15; short: 1.5; a trace: once through)')
    .option('--requests <n>', 'requests of each run, instead of --seconds')
    .option('--rows <n>', 'products in the table (100000; short: 10000)')
    .option('--concurrency <n>', 'users that ask at once', '50')
    .option('--zipf <exponent>', 'steepness of the generated stream', '0.99')
    .option('--seed <n>', 'seed of the generated stream', '1')
    .option('--warm <n>', 'earlier requests that filled the cache (1000000; short: 200000; a trace: 0)')
    .option('--trace <file>', 'replay a recorded trace instead')
    .option('--memory <size>', 'memory of the node', '256mb')
    .option('--no-changes', 'only the comparison: no row changes, nothing is broken')
    .option('--short', 'a short form, about half a minute')
    .option('--json', 'print JSON on stdout (progress goes to stderr)')
    .option('--output <file>', 'append the table to this markdown file')
    .addHelpText('after', HELP)
    .action(async (options: DemoOptions) => {
      process.exitCode = await demo(options);
    });
}
