/**
 * `bench wire`: servers side by side, over the wire. For each state of memory and size of value every server is started
 * fresh and filled; then each round visits them in turn (A B A B), so that a machine that is slow for a while is slow for
 * all, and the median of the rounds is reported.
 */
import { BreakwaterError } from '../../base/errors.ts';
import type { Child, Children } from '../children/children.ts';
import { modulePath } from '../children/children.ts';
import { KEY_BYTES, type Operation } from './codec.ts';
import type { Answer, Job } from './generator.ts';
import type { Fill, Load, LoadResult } from './load.ts';
import type { Fullness, RunningTarget, Target, TargetName } from './targets.ts';

export interface WirePlan {
  readonly targets: readonly Target[];
  readonly rounds: number;
  readonly seconds: number;
  readonly warmupSeconds: number;
  readonly connections: number;
  readonly pipelines: readonly number[];
  readonly sizes: readonly number[];
  readonly operations: readonly Operation[];
  readonly states: readonly Fullness[];
  readonly memoryMb: number;
  /** Null: from the memory and the size, see {@link keySpace}. */
  readonly keys: number | null;
}

/** One server under one load: the median of its rounds. */
export interface WireRow {
  readonly state: Fullness;
  readonly operation: Operation;
  readonly valueBytes: number;
  readonly pipeline: number;
  readonly target: TargetName;
  readonly keys: number;
  readonly operationsPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** Processor time of the server an operation, microseconds; null where the system does not tell. */
  readonly cpuUs: number | null;
  readonly cpuUserUs: number | null;
  readonly cpuSystemUs: number | null;
  /** Of each round, for the spread. */
  readonly cpuUsRounds: readonly number[];
  /** Processor time an operation over redis's, the median of the rounds' ratios; null without redis. */
  readonly cpuToRedis: number | null;
  /** Share of GETs that found a value; null for SET. */
  readonly hitRatio: number | null;
  readonly errors: number;
  readonly firstError: string;
  readonly generatorBusy: number;
}

/** What an entry is taken to cost beyond key and value when the key space is sized; between what the three servers need. */
const ASSUMED_OVERHEAD_BYTES = 56;

/** How many keys fill half of the memory, or one and a half times all of it. */
export function keySpace(state: Fullness, memoryMb: number, valueBytes: number): number {
  const entries = (memoryMb * 1024 ** 2) / (KEY_BYTES + valueBytes + ASSUMED_OVERHEAD_BYTES);
  return Math.max(1, Math.floor(entries * (state === 'half' ? 0.5 : 1.5)));
}

/** Runs the whole plan; `report` is told each cell of each round as it ends. */
export async function runWire(plan: WirePlan, children: Children, report: (line: string) => void): Promise<WireRow[]> {
  const generator = children.startNode(modulePath('./generator', import.meta.url), [], { label: 'load generator' });
  const rows: WireRow[] = [];
  for (const state of plan.states) {
    for (const valueBytes of plan.sizes) {
      const keys = plan.keys ?? keySpace(state, plan.memoryMb, valueBytes);
      const running: RunningTarget[] = [];
      for (const target of plan.targets) {
        report(`${state} · ${valueBytes} B · filling ${target.name} with ${keys} keys`);
        const server = await target.start(children, state, plan.memoryMb);
        running.push(server);
        await fill(generator, { port: server.port, protocol: target.protocol, valueBytes, keys }, (line) =>
          report(`${target.name}: ${line}`),
        );
      }
      for (const operation of plan.operations) {
        for (const pipeline of plan.pipelines) {
          const results = new Map<RunningTarget, LoadResult[]>(running.map((server) => [server, []]));
          for (let round = 0; round < plan.rounds; round += 1) {
            // Every other round backwards: nobody always runs after the same neighbour.
            for (const server of round % 2 === 0 ? running : running.toReversed()) {
              const result = await load(generator, {
                port: server.port,
                protocol: server.target.protocol,
                operation,
                valueBytes,
                keys,
                connections: plan.connections,
                pipeline,
                warmupMs: plan.warmupSeconds * 1000,
                measureMs: plan.seconds * 1000,
                serverPid: server.child.pid,
                seed: 0x5eed + round,
              });
              results.get(server)?.push(result);
              report(progressLine(state, operation, valueBytes, pipeline, round, server.target.name, result));
            }
          }
          const cell = { state, operation, valueBytes, pipeline, keys };
          rows.push(...withRatios([...results].map(([server, list]) => rowOf(cell, server.target.name, list))));
        }
      }
      for (const server of running) await server.child.stop();
    }
  }
  await generator.stop();
  return rows;
}

type Cell = Pick<WireRow, 'state' | 'operation' | 'valueBytes' | 'pipeline' | 'keys'>;

function rowOf(cell: Cell, target: TargetName, results: readonly LoadResult[]): WireRow {
  const perOperation = (pick: (result: LoadResult) => number | null): number[] =>
    results.flatMap((result) => {
      const ms = pick(result);
      return ms === null || result.operations === 0 ? [] : [(ms * 1000) / result.operations];
    });
  const total = perOperation((r) =>
    r.serverUserMs === null || r.serverSystemMs === null ? null : r.serverUserMs + r.serverSystemMs,
  );
  const sum = (pick: (result: LoadResult) => number): number => results.reduce((all, one) => all + pick(one), 0);
  const reads = sum((r) => r.hits) + sum((r) => r.misses);
  return {
    ...cell,
    target,
    operationsPerSecond: median(results.map((r) => r.operations / r.seconds)),
    p50Us: median(results.map((r) => r.p50Us)),
    p99Us: median(results.map((r) => r.p99Us)),
    cpuUs: total.length > 0 ? median(total) : null,
    cpuUserUs: total.length > 0 ? median(perOperation((r) => r.serverUserMs)) : null,
    cpuSystemUs: total.length > 0 ? median(perOperation((r) => r.serverSystemMs)) : null,
    cpuUsRounds: total,
    cpuToRedis: null,
    hitRatio: cell.operation === 'get' && reads > 0 ? sum((r) => r.hits) / reads : null,
    errors: sum((r) => r.errors),
    firstError: results.find((r) => r.firstError !== '')?.firstError ?? '',
    generatorBusy: median(results.map((r) => r.generatorBusy)),
  };
}

/**
 * Each row with its ratio to redis: the median of the ratios round by round, since two servers' turns of one round lie seconds apart
 * and share the machine's mood, while the medians of each may come from different minutes.
 */
export function withRatios(rows: readonly WireRow[]): WireRow[] {
  const redis = rows.find((row) => row.target === 'redis')?.cpuUsRounds ?? [];
  return rows.map((row) => {
    const paired = redis.length > 0 && redis.length === row.cpuUsRounds.length;
    return { ...row, cpuToRedis: paired ? median(row.cpuUsRounds.map((us, round) => us / redis[round]!)) : null };
  });
}

/** The middle value; of an even number the mean of the two in the middle; 0 of none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return 0;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function progressLine(
  state: Fullness,
  operation: Operation,
  valueBytes: number,
  pipeline: number,
  round: number,
  target: TargetName,
  result: LoadResult,
): string {
  const cpu =
    result.serverUserMs === null || result.serverSystemMs === null
      ? 'n/a'
      : (((result.serverUserMs + result.serverSystemMs) * 1000) / Math.max(1, result.operations)).toFixed(2);
  const rate = Math.round(result.operations / result.seconds);
  return `${state} · ${operation} ${valueBytes} B · pipeline ${pipeline} · round ${round + 1} · ${target}: ${rate} ops/s, ${cpu} us CPU/op`;
}

async function ask(generator: Child, job: Job): Promise<Answer> {
  return await new Promise((resolve, reject) => {
    const channel = generator.process;
    const onExit = (): void => reject(generator.failure('ended in the middle of its work'));
    channel.once('exit', onExit);
    channel.once('message', (message) => {
      channel.off('exit', onExit);
      resolve(message as Answer);
    });
    channel.send(job);
  });
}

async function load(generator: Child, job: Load): Promise<LoadResult> {
  const answer = await ask(generator, { kind: 'load', load: job });
  if (answer.kind === 'load') return answer.result;
  throw new BreakwaterError('BENCH_FAILED', answer.kind === 'failed' ? answer.message : 'an answer to another job');
}

/** memcached refuses a SET now and then while its background thread makes room: more than this share is a server set up wrong. */
const TOLERATED_REFUSALS = 0.01;

/** Fills a server; a few refusals are said, many are an error: nothing measured on such a server would mean anything. */
async function fill(generator: Child, job: Fill, say: (line: string) => void): Promise<void> {
  const answer = await ask(generator, { kind: 'fill', fill: job });
  if (answer.kind === 'failed') throw new BreakwaterError('BENCH_FAILED', answer.message);
  if (answer.kind !== 'fill' || answer.result.errors === 0) return;
  const { errors, firstError } = answer.result;
  const sentence = `${errors} of ${job.keys} keys could not be stored: ${firstError}`;
  if (errors > job.keys * TOLERATED_REFUSALS) throw new BreakwaterError('BENCH_FAILED', sentence);
  say(sentence);
}
