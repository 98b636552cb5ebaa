/**
 * Batches of schedules over several processes. A worker is given its next batch when it has answered the last one, so that slow seeds delay nobody; what comes out does not depend
 * on who was faster.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type BatchOptions, type BatchResult, type Failure, sum } from './batch.ts';

const PROGRESS_MS = 15_000;

export interface Work<C> {
  /** The module that answers each {@link BatchOptions} it is sent with a {@link BatchResult}: {@link serveBatches} in it. */
  readonly worker: URL;
  readonly from: number;
  readonly seeds: number;
  /** Schedules a message: enough that the message costs nothing, few enough that a failure is heard of soon. */
  readonly batchSize: number;
  readonly processes: number;
  readonly everyTwice: number;
  readonly keepGoing: boolean;
  /** Sent with every batch beside its {@link BatchOptions}. */
  readonly job?: object;
  readonly nothing: C;
  readonly onProgress: (text: string) => void;
}

export interface Outcome<C> extends BatchResult<C> {
  readonly elapsedMs: number;
  readonly processes: number;
}

/** Runs all of it, or until something fails, or until SIGINT or SIGTERM: what was done by then counts. @throws Error when a worker dies */
export async function runOverWorkers<C extends object>(work: Work<C>): Promise<Outcome<C>> {
  const { from, seeds, batchSize, everyTwice, keepGoing } = work;
  const processes = Math.min(work.processes, Math.ceil(seeds / batchSize));
  const startMs = performance.now();
  let next = from;
  let done = 0;
  let counts = work.nothing;
  let repeated = 0;
  let isStopped = false;
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
      const child: ChildProcess = fork(fileURLToPath(work.worker), {
        execArgv: [...process.execArgv, '--max-semi-space-size=32'],
      });
      const give = (): void => {
        if (isStopped || next >= from + seeds) {
          child.disconnect();
          return;
        }
        const count = Math.min(batchSize, from + seeds - next);
        const batch: BatchOptions = { from: next, seeds: count, everyTwice, stopAtFailure: !keepGoing };
        child.send({ ...work.job, ...batch });
        next += count;
      };
      child.on('message', (result: BatchResult<C>) => {
        done += result.seeds;
        repeated += result.repeated;
        counts = sum(counts, result.counts);
        hashes.set(result.from, result.hash);
        failures.push(...result.failures);
        if (failures.length > 0 && !keepGoing) isStopped = true;
        const nowMs = performance.now();
        if (nowMs - saidMs > PROGRESS_MS) {
          saidMs = nowMs;
          const rate = ((done * 1000) / (nowMs - startMs)).toFixed(0);
          work.onProgress(`${done} of ${seeds}, ${rate} a second, ${failures.length} failed`);
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

/** What a worker's module does: one batch in, one result out, until the parent hangs up. */
export function serveBatches<O extends BatchOptions, C>(run: (options: O) => Promise<BatchResult<C>>): void {
  process.on('message', (job: O) => {
    void run(job).then((result) => process.send?.(result));
  });
  // Signals may reach the whole group: the parent decides.
  process.on('SIGINT', () => undefined).on('SIGTERM', () => undefined);
  process.on('disconnect', () => process.exit());
}

/** The first line of a summary: how much was run, how fast, how much of it failed. */
export function headline(
  { from, seeds, elapsedMs, processes, failures }: Outcome<object>,
  format: (value: number) => string,
): string {
  const rate = (seeds * 1000) / elapsedMs;
  return `${format(seeds)} schedules (seeds ${from} to ${from + seeds - 1}) in ${(elapsedMs / 1000).toFixed(1)} s, ${rate.toFixed(rate < 100 ? 1 : 0)} a second in ${processes} process(es): ${failures.length} failed`;
}
