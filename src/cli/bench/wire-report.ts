/** The figures of `bench wire` for people (a table), for the repository (markdown) and for programs (JSON). */
import Table from 'cli-table3';
import type { Environment } from './environment.ts';
import { environmentLine } from './environment.ts';
import type { WirePlan, WireRow } from './wire.ts';

const HEAD = [
  'memory',
  'load',
  'server',
  'ops/s',
  'p50 us',
  'p99 us',
  'CPU us/op',
  'user + system',
  'hit ratio',
  'CPU to redis',
] as const;

function cells(row: WireRow): string[] {
  const figure = (value: number | null, digits: number): string => (value === null ? 'n/a' : value.toFixed(digits));
  return [
    row.state,
    `${row.operation.toUpperCase()} ${row.valueBytes} B, pipeline ${row.pipeline}`,
    row.target,
    Math.round(row.operationsPerSecond).toLocaleString('en-US'),
    row.p50Us.toLocaleString('en-US'),
    row.p99Us.toLocaleString('en-US'),
    figure(row.cpuUs, 2),
    row.cpuUserUs === null ? 'n/a' : `${figure(row.cpuUserUs, 2)} + ${figure(row.cpuSystemUs, 2)}`,
    row.hitRatio === null ? '' : `${(row.hitRatio * 100).toFixed(1)} %`,
    row.target === 'redis' ? '1.00' : row.cpuToRedis === null ? 'n/a' : row.cpuToRedis.toFixed(2),
  ];
}

/** The table for a terminal. */
export function wireTable(rows: readonly WireRow[]): string {
  const table = new Table({
    head: [...HEAD],
    style: { head: [], border: [] },
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
    colAligns: ['left', 'left', 'left', 'right', 'right', 'right', 'right', 'right', 'right', 'right'],
  });
  for (const row of rows) table.push(cells(row));
  return table.toString();
}

/** What was run, in sentences. */
export function wirePreamble(plan: WirePlan): string[] {
  const lines = [
    `${plan.connections} connections, closed loop, keys of 20 B uniform over the key space, ${plan.rounds} rounds of ${plan.seconds} s a cell, servers in turn, medians.`,
    "CPU us/op is the server process's user + system time (all threads, /proc/PID/stat) over the operations it answered; p50 and p99 are of a whole batch of the pipeline; CPU to redis is the median of the ratios round by round.",
  ];
  for (const state of plan.states) {
    for (const target of plan.targets) {
      lines.push(`${state}: ${target.name} ${target.version}, \`${target.settings(state, plan.memoryMb)}\``);
    }
  }
  return lines;
}

/** Sentences about what in the figures must not be trusted. */
export function wireWarnings(rows: readonly WireRow[]): string[] {
  const warnings: string[] = [];
  const failed = rows.filter((row) => row.errors > 0);
  for (const row of failed) {
    warnings.push(
      `${row.target}, ${row.operation} ${row.valueBytes} B, ${row.state}: ${row.errors} errors, the first "${row.firstError}"`,
    );
  }
  const limited = rows.filter((row) => row.generatorBusy > 0.95).length;
  if (limited > 0) {
    warnings.push(
      `in ${limited} of ${rows.length} cells the load generator's own core was full: there ops/s is its limit, and CPU us/op is what to compare`,
    );
  }
  return warnings;
}

/** A page for `bench/results/`. */
export function wireMarkdown(
  plan: WirePlan,
  rows: readonly WireRow[],
  where: Environment,
  missing: readonly string[],
): string {
  const line = (texts: readonly string[]): string => `| ${texts.join(' | ')} |`;
  const notes = [...missing, ...wireWarnings(rows)];
  return [
    '# bench wire',
    '',
    environmentLine(where),
    '',
    ...wirePreamble(plan).map((text) => `- ${text}`),
    '',
    line(HEAD),
    line(HEAD.map((_, index) => (index < 3 ? '---' : '---:'))),
    ...rows.map((row) => line(cells(row))),
    '',
    ...(notes.length > 0 ? ['Notes', '', ...notes.map((text) => `- ${text}`), ''] : []),
  ].join('\n');
}
