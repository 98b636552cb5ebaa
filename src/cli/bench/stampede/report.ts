/** The figures of `bench stampede` as a table, for a terminal or for bench/results/. */
import Table from 'cli-table3';
import { type Environment, environmentLine } from '../environment.ts';
import type { StampedePlan, StampedeRow } from './run.ts';

const HEAD = ['', 'loads', 'ms from the first load’s end to the last caller', 'callers that failed', 'bar'] as const;
const BAR_MS = 150;

export function stampedePreamble({ processes, callers, loadMs, rounds }: StampedePlan): string[] {
  return [
    `${processes} processes, ${callers.toLocaleString('en-US')} callers in each, one cold key, a loader of ${loadMs} ms; ${rounds} rounds after one that is not counted: median (worst).`,
    `The bar for this library: 1 load, everybody served within ${BAR_MS} ms of its end, in every round.`,
  ];
}

function cells({ subject, loads, servedMs, failures }: StampedeRow): string[] {
  const both = (figures: readonly number[], digits: number): string => {
    const text = (value: number): string =>
      value.toLocaleString('en-US', { maximumFractionDigits: digits, minimumFractionDigits: digits });
    return `${text(figures[Math.floor(figures.length / 2)]!)} (${text(figures.at(-1)!)})`;
  };
  const holds = loads.at(-1) === 1 && servedMs.at(-1)! <= BAR_MS && failures === 0;
  return [subject, both(loads, 0), both(servedMs, 1), String(failures), holds ? 'kept' : 'missed'];
}

export function stampedeTable(rows: readonly StampedeRow[]): string {
  const table = new Table({ head: [...HEAD], style: { head: [], border: [] } });
  for (const row of rows) table.push(cells(row));
  return table.toString();
}

export function stampedeMarkdown(plan: StampedePlan, rows: readonly StampedeRow[], where: Environment): string {
  const line = (texts: readonly string[]): string => `| ${texts.join(' | ')} |`;
  return [
    '# Stampede',
    '',
    ...stampedePreamble(plan),
    '',
    environmentLine(where),
    '',
    line(HEAD),
    '| --- | ---: | ---: | ---: | --- |',
    ...rows.map((row) => line(cells(row))),
    '',
    ...rows.map(({ subject, configuration }) => `- ${subject}: ${configuration}`),
    '',
  ].join('\n');
}
