/** Runs the engine bench in its own process and shows what it found: a table, or a page for bench/results/. */
import Table from 'cli-table3';
import { BreakwaterError } from '../../base/errors.ts';
import { type Children, modulePath } from '../children/children.ts';
import type { EngineBenchPolicy, EngineBenchReport } from './engine-bench.ts';
import type { EngineAnswer } from './engine-process.ts';
import { type Environment, environmentLine } from './environment.ts';

export async function measureEngine(children: Children, entries: number): Promise<EngineBenchReport> {
  const child = children.startNode(modulePath('./engine-process', import.meta.url), [], {
    label: 'the engine bench',
    nodeFlags: ['--expose-gc'],
  });
  const answer = await new Promise<EngineAnswer>((resolve, reject) => {
    child.process.once('message', (message) => resolve(message as EngineAnswer));
    void child.exited.then(() => reject(child.failure('ended without a report')));
    child.process.send(entries);
  });
  await child.stop();
  if (answer.kind === 'failed') throw new BreakwaterError('BENCH_FAILED', answer.message);
  return answer.report;
}

const OPERATIONS = [
  ['getHit', 'GET, hit'],
  ['getMiss', 'GET, miss'],
  ['setNew', 'SET, new key'],
  ['setOverwrite', 'SET, same size over it'],
  ['setOverwriteOtherSize', 'SET, another size over it'],
  ['delete', 'delete'],
  ['setWhenFull', 'SET, memory full'],
  ['getWhenFull', 'GET, memory full'],
] as const satisfies readonly (readonly [keyof EngineBenchPolicy['nsPerOperation'], string])[];

function rows(report: EngineBenchReport): string[][] {
  const { policies } = report;
  const line = (what: string, pick: (policy: EngineBenchPolicy) => string): string[] => [what, ...policies.map(pick)];
  const bytes = (value: number | null): string => (value === null ? '' : `${value.toFixed(1)} B`);
  return [
    ...OPERATIONS.map(([name, label]) => line(label, (policy) => `${policy.nsPerOperation[name].toFixed(0)} ns`)),
    line('overhead an entry, accounted', (policy) => bytes(policy.overhead.accountedBytesPerEntry)),
    line('overhead an entry, growth of RSS', (policy) => bytes(policy.overhead.rssBytesPerEntry)),
    ...(['log', 'table', 'overflow', 'sketch', 'fixed'] as const).map((part) =>
      line(`  of it: ${part}`, (policy) => bytes(policy.overhead.byStructure[part])),
    ),
  ];
}

function notes(report: EngineBenchReport): string[] {
  const heap =
    report.heapGrowthBytes === null
      ? 'not measured'
      : `${report.heapGrowthBytes.toLocaleString('en-US')} bytes over ${report.heapGets.toLocaleString('en-US')} GETs`;
  return [
    `${report.entries.toLocaleString('en-US')} entries, keys of ${report.keyBytes} B, values of ${report.valueBytes} B, with TTL; CPU time, keys in random order.`,
    `The yardstick: one dependent random read of as much memory took ${report.randomReadNs.toFixed(0)} ns.`,
    `Growth of the JavaScript heap: ${heap}.`,
  ];
}

export function engineTable(report: EngineBenchReport): string {
  const table = new Table({
    head: ['', ...report.policies.map((policy) => policy.eviction)],
    style: { head: [], border: [] },
    colAligns: ['left', ...report.policies.map(() => 'right' as const)],
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
  });
  for (const row of rows(report)) table.push(row);
  return [...notes(report), table.toString()].join('\n');
}

export function engineMarkdown(report: EngineBenchReport, where: Environment): string {
  const line = (texts: readonly string[]): string => `| ${texts.join(' | ')} |`;
  return [
    '# bench engine',
    '',
    environmentLine(where),
    '',
    ...notes(report).map((text) => `- ${text}`),
    '',
    line(['', ...report.policies.map((policy) => policy.eviction)]),
    line(['---', ...report.policies.map(() => '---:')]),
    ...rows(report).map((row) => line(row.map((text) => text.trim()))),
    '',
  ].join('\n');
}
