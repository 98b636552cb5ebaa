/**
 * `breakwater bench`: the figures that the documentation quotes, measured on the machine at hand. Each part prints a table
 * for people, `--json` for programs and `--output FILE` as a page for bench/results/.
 */
import { writeFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { BreakwaterError } from '../base/errors.ts';
import { parseSizeBytes } from '../base/units.ts';
import type { Operation } from './bench/codec.ts';
import { registerCorrectness } from './bench/correctness/command.ts';
import { environment, environmentLine } from './bench/environment.ts';
import { registerStampede } from './bench/stampede/command.ts';
import { type Fullness, findTargets, parseTargets, TARGET_NAMES } from './bench/targets.ts';
import type { WirePlan } from './bench/wire.ts';
import { withChildren } from './children/children.ts';
import { say, sayError, sayJson } from './output.ts';

interface WireOptions {
  readonly quick?: boolean;
  readonly rounds?: string;
  readonly seconds?: string;
  readonly connections: string;
  readonly pipeline: string;
  readonly sizes: string;
  readonly ops: string;
  readonly states: string;
  readonly memory?: string;
  readonly keys?: string;
  readonly targets: string;
  readonly json?: boolean;
  readonly output?: string;
}

const invalid = (flag: string, expected: string, received: string): BreakwaterError =>
  new BreakwaterError('USAGE_INVALID', `cannot read ${flag}: expected ${expected}, received "${received}"`);

/** A number from `min` to `max`. */
function number(flag: string, text: string, min: number, max: number, whole = true): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= min && value <= max) || (whole && !Number.isInteger(value))) {
    throw invalid(flag, `${whole ? 'a whole number' : 'a number'} from ${min} to ${max}`, text);
  }
  return value;
}

function list<T>(text: string, read: (word: string) => T): T[] {
  return text.split(',').map((word) => read(word.trim()));
}

function oneOf<T extends string>(flag: string, choices: readonly T[]): (word: string) => T {
  return (word) => {
    const found = choices.find((choice) => choice === word);
    if (found === undefined) throw invalid(flag, `some of ${choices.join(', ')}`, word);
    return found;
  };
}

function wirePlan(options: WireOptions): { plan: WirePlan; missing: string[] } {
  const { targets, missing } = findTargets(parseTargets(options.targets));
  const quick = options.quick === true;
  const memoryBytes = parseSizeBytes(options.memory ?? (quick ? '32mb' : '128mb'), '--memory');
  const seconds = number('--seconds', options.seconds ?? (quick ? '1' : '3'), 0.05, 3600, false);
  return {
    missing,
    plan: {
      targets,
      rounds: number('--rounds', options.rounds ?? (quick ? '1' : '5'), 1, 1000),
      seconds,
      warmupSeconds: Math.min(0.5, seconds / 4),
      connections: number('--connections', options.connections, 1, 10_000),
      pipelines: list(options.pipeline, (word) => number('--pipeline', word, 1, 10_000)),
      sizes: list(options.sizes, (word) => number('--sizes', word, 1, 1_000_000)),
      operations: list(options.ops, oneOf<Operation>('--ops', ['get', 'set'])),
      states: list(options.states, oneOf<Fullness>('--states', ['half', 'full'])),
      memoryMb: Math.max(8, Math.round(memoryBytes / 1024 ** 2)),
      keys: options.keys === undefined ? null : number('--keys', options.keys, 1, 99_999_999),
    },
  };
}

async function wire(options: WireOptions): Promise<number> {
  const { plan, missing } = wirePlan(options);
  for (const line of missing) sayError(line);
  if (plan.targets.length === 0)
    throw new BreakwaterError('BENCH_FAILED', 'none of the servers to compare is installed');
  const { runWire } = await import('./bench/wire.ts');
  const { wireMarkdown, wirePreamble, wireTable, wireWarnings } = await import('./bench/wire-report.ts');
  return await withChildren(async (children) => {
    const rows = await runWire(plan, children, (line) => sayError(line));
    const where = environment();
    if (options.output) writeFileSync(options.output, wireMarkdown(plan, rows, where, missing));
    if (options.json) {
      const { targets, ...settings } = plan;
      sayJson({
        environment: where,
        settings: { ...settings, targets: targets.map(({ name, version }) => ({ name, version })) },
        missing,
        rows,
      });
      return 0;
    }
    say(environmentLine(where));
    for (const line of wirePreamble(plan)) say(line);
    say(wireTable(rows));
    for (const line of wireWarnings(rows)) say(`note: ${line}`);
    return 0;
  });
}

interface LibraryOptions {
  readonly quick?: boolean;
  readonly json?: boolean;
  readonly output?: string;
}

async function library(options: LibraryOptions): Promise<number> {
  // Before the library is loaded, which freezes every value in development: what is measured is what a service pays.
  process.env['NODE_ENV'] ??= 'production';
  const { runLibraryBench } = await import('./bench/library-bench.ts');
  const { libraryMarkdown, libraryTable } = await import('./bench/library-report.ts');
  const plan = options.quick
    ? { rounds: 1, l1Operations: 200_000, l2Operations: 500, keys: 10_000 }
    : { rounds: 7, l1Operations: 2_000_000, l2Operations: 10_000, keys: 10_000 };
  return await withChildren(async (children) => {
    const rows = await runLibraryBench(plan, children);
    const where = environment();
    if (options.output) writeFileSync(options.output, libraryMarkdown(rows, where));
    if (options.json) sayJson({ environment: where, settings: plan, rows });
    else {
      say(environmentLine(where));
      say(libraryTable(rows));
    }
    return 0;
  });
}

interface PlacementCliOptions {
  readonly cluster?: boolean;
  readonly ranges: string;
  readonly servers: string;
  readonly keys: string;
  readonly fleets: string;
  readonly json?: boolean;
  readonly output?: string;
}

async function clusterPlacement(options: PlacementCliOptions): Promise<number> {
  const { runClusterPlacementBench } = await import('./bench/cluster-placement.ts');
  const report = await import('./bench/cluster-placement-report.ts');
  const rows = options.ranges
    .split(',')
    .flatMap((text) => runClusterPlacementBench({ ranges: number('--ranges', text, 1, 16_384) }));
  const where = environment();
  if (options.output) writeFileSync(options.output, report.clusterPlacementMarkdown(rows, where));
  if (options.json) sayJson({ environment: where, rows });
  else {
    say(environmentLine(where));
    for (const line of report.CLUSTER_PLACEMENT_PREAMBLE) say(line);
    say(report.clusterPlacementTable(rows));
  }
  return 0;
}

async function placement(options: PlacementCliOptions): Promise<number> {
  if (options.cluster) return await clusterPlacement(options);
  const { runPlacementBench } = await import('./bench/placement.ts');
  const { placementMarkdown, placementPreamble, placementTable } = await import('./bench/placement-report.ts');
  const report = runPlacementBench({
    servers: number('--servers', options.servers, 2, 1000),
    keys: number('--keys', options.keys, 1, 10_000_000),
    fleets: number('--fleets', options.fleets, 1, 200),
  });
  if (options.output) writeFileSync(options.output, placementMarkdown(report));
  if (options.json) sayJson(report);
  else {
    for (const line of placementPreamble(report)) say(line);
    say(placementTable(report));
  }
  return 0;
}

interface EngineOptions {
  readonly entries: string;
  readonly json?: boolean;
  readonly output?: string;
}

async function engine(options: EngineOptions): Promise<number> {
  const entries = number('--entries', options.entries, 1000, 20_000_000);
  const { engineMarkdown, engineTable, measureEngine } = await import('./bench/engine-report.ts');
  return await withChildren(async (children) => {
    const report = await measureEngine(children, entries);
    const where = environment();
    if (options.output) writeFileSync(options.output, engineMarkdown(report, where));
    if (options.json) sayJson({ environment: where, ...report });
    else {
      say(environmentLine(where));
      say(engineTable(report));
    }
    return 0;
  });
}

const WIRE_HELP = `
What it does: starts each server fresh on a free loopback port, fills it, and puts the same load on each in turn.
Look at "CPU to redis" first: processor time an operation over redis's, which does not depend on how many cores the load
generator shares with the servers. ops/s does.

Examples:
  breakwater bench wire --quick                              a first look, about a minute
  breakwater bench wire --output bench/results/wire.md       the full comparison, about half an hour
  breakwater bench wire --ops get --sizes 100 --pipeline 1 --states half --rounds 9`;

export function register(program: Command): void {
  const bench = program.command('bench').description('measure: over the wire, the engine, the library, placement');
  bench
    .command('wire')
    .description('this node beside redis-server and memcached: throughput, latency and server CPU an operation')
    .option('--quick', 'one short round: shape, not figures to quote')
    .option('--rounds <n>', 'rounds a cell; the median is reported (5; quick: 1)')
    .option('--seconds <s>', 'seconds a server, cell and round (3; quick: 1)')
    .option('--connections <n>', 'connections', '50')
    .option('--pipeline <depths>', 'requests sent at once on a connection', '1,16')
    .option('--sizes <bytes>', 'sizes of values', '100,1024')
    .option('--ops <names>', 'get, set', 'get,set')
    .option('--states <names>', 'memory half filled, or full with evictions going on', 'half,full')
    .option('--memory <size>', 'memory of each server (128mb; quick: 32mb)')
    .option('--keys <n>', 'size of the key space (from the memory and the size of values)')
    .addOption(new Option('--targets <names>', 'servers').default(TARGET_NAMES.join(',')))
    .option('--json', 'print JSON')
    .option('--output <file>', 'write the table as markdown')
    .addHelpText('after', WIRE_HELP)
    .action(async (options: WireOptions) => {
      process.exitCode = await wire(options);
    });
  bench
    .command('engine')
    .description('nanoseconds an operation and bytes of overhead an entry, without sockets')
    .option('--entries <n>', 'entries in the store', '1000000')
    .option('--json', 'print JSON')
    .option('--output <file>', 'write the table as markdown')
    .action(async (options: EngineOptions) => {
      process.exitCode = await engine(options);
    });
  bench
    .command('library')
    .description('what a call of the library costs: L1 hits in nanoseconds, L2 hits in microseconds')
    .option('--quick', 'one short round: shape, not figures to quote')
    .option('--json', 'print JSON')
    .option('--output <file>', 'write the table as markdown')
    .action(async (options: LibraryOptions) => {
      process.exitCode = await library(options);
    });
  bench
    .command('placement')
    .description('keys moved when a server joins or leaves: modulo, ketama rings, rendezvous, slots')
    .option('--servers <n>', 'servers before the change', '10')
    .option('--keys <n>', 'keys to place', '100000')
    .option('--fleets <n>', 'fleets (other names) whose figures are averaged', '5')
    .option('--cluster', 'instead: the ranges of a cluster of 3 to 1,000 members, as our own cluster places them')
    .option('--ranges <counts>', 'with --cluster: ranges, powers of two', '1024,16384')
    .option('--json', 'print JSON')
    .option('--output <file>', 'write the table as markdown')
    .action(async (options: PlacementCliOptions) => {
      process.exitCode = await placement(options);
    });
  registerCorrectness(bench);
  registerStampede(bench);
}
