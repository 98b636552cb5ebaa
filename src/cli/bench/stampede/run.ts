/**
 * `breakwater bench stampede`: a key that everybody wants and nobody has. Ten processes of a service, a thousand callers in each, all at the same
 * moment; the loader takes 50 ms. How often is the database asked, and how long after its answer has the last caller got it?
 *
 * With several loads the time counts from the end of the first: from then on the answer was known.
 */
import { BreakwaterError } from '../../../base/errors.ts';
import { type Child, type Children, modulePath } from '../../children/children.ts';
import { startServer } from '../correctness/servers.ts';
import type { Subject } from '../correctness/subject.ts';
import { monotonicMs, type Order, type Report } from './calls.ts';

export interface StampedePlan {
  /** Each with the word that the roster knows it by. */
  readonly subjects: readonly { readonly word: string; readonly subject: Subject }[];
  readonly processes: number;
  readonly callers: number;
  readonly loadMs: number;
  readonly rounds: number;
}

/** Figures of each round, sorted. */
export interface StampedeRow {
  readonly subject: string;
  readonly configuration: string;
  readonly loads: readonly number[];
  /** From the end of the first load until the last caller was answered. */
  readonly servedMs: readonly number[];
  /** Callers of all rounds that got an error or nothing. */
  readonly failures: number;
}

const STORM_TIMEOUT_MS = 60_000;
/** Long enough for the order to reach every process. */
const NOTICE_MS = 60;

export async function runStampede(
  plan: StampedePlan,
  children: Children,
  progress: (line: string) => void,
): Promise<StampedeRow[]> {
  const rows: StampedeRow[] = [];
  for (const { word, subject } of plan.subjects) {
    progress(subject.name);
    rows.push(await runSubject(word, subject, plan, children));
  }
  return rows;
}

async function runSubject(
  word: string,
  { name, configuration, server }: Subject,
  plan: StampedePlan,
  children: Children,
): Promise<StampedeRow> {
  const { ports, stop } = await startServer(server, children);
  const service = Array.from({ length: plan.processes }, (_, index) =>
    children.startNode(modulePath('./process', import.meta.url), [], { label: `process ${index + 1} with ${name}` }),
  );
  try {
    await Promise.all(
      service.map((one) => tell(one, { kind: 'open', subject: word, port: ports[0] ?? 0, loadMs: plan.loadMs })),
    );
    const loads: number[] = [];
    const servedMs: number[] = [];
    let failures = 0;
    // The first round is for the compilers.
    for (let round = -1; round < plan.rounds; round += 1) {
      const order = {
        kind: 'storm',
        id: String(1000 + round),
        callers: plan.callers,
        atMs: monotonicMs() + NOTICE_MS,
      } as const;
      const reports = await Promise.all(service.map((one) => tell(one, order)));
      if (round < 0) continue;
      const ends: number[] = [];
      let lastMs = 0;
      for (const report of reports) {
        if (report.kind !== 'storm') continue;
        ends.push(...report.loadEndsMs);
        lastMs = Math.max(lastMs, report.lastMs);
        failures += report.failures;
      }
      loads.push(ends.length);
      servedMs.push(lastMs - Math.min(...ends));
    }
    const sorted = (figures: number[]): number[] => figures.sort((a, b) => a - b);
    return { subject: name, configuration, loads: sorted(loads), servedMs: sorted(servedMs), failures };
  } finally {
    await Promise.all(service.map((one) => one.stop()));
    await stop();
  }
}

/** @throws BreakwaterError `BENCH_FAILED`, `CHILD_FAILED` */
async function tell(child: Child, order: Order): Promise<Report> {
  const report = await new Promise<Report>((resolve, reject) => {
    const timer = setTimeout(() => settle(child.failure('did not answer')), STORM_TIMEOUT_MS);
    const settle = (answer: Report | Error): void => {
      clearTimeout(timer);
      child.process.off('message', settle);
      if (answer instanceof Error) reject(answer);
      else resolve(answer);
    };
    child.process.on('message', settle);
    void child.exited.then(() => settle(child.failure('ended')));
    child.process.send(order);
  });
  if (report.kind === 'failed') {
    throw new BreakwaterError('BENCH_FAILED', `${child.label} could not ${order.kind}: ${report.message}`);
  }
  return report;
}
