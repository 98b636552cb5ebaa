/** The figures of `bench library` as a table, for a terminal or for bench/results/. */
import Table from 'cli-table3';
import { type Environment, environmentLine } from './environment.ts';
import type { LibraryRow } from './library-bench.ts';

const HEAD = ['call', 'mean', 'p50', 'p99', 'bar'] as const;

function cells(row: LibraryRow): string[] {
  const figure = (value: number | null): string =>
    value === null ? '' : `${value.toFixed(value < 100 ? 1 : 0)} ${row.unit}`;
  return [row.what, figure(row.mean), figure(row.p50), figure(row.p99), row.bar];
}

export function libraryTable(rows: readonly LibraryRow[]): string {
  const table = new Table({
    head: [...HEAD],
    style: { head: [], border: [] },
    colAligns: ['left', 'right', 'right', 'right', 'left'],
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
  });
  for (const row of rows) table.push(cells(row));
  return table.toString();
}

export function libraryMarkdown(rows: readonly LibraryRow[], where: Environment): string {
  const line = (texts: readonly string[]): string => `| ${texts.join(' | ')} |`;
  return [
    '# bench library',
    '',
    `${environmentLine(where)} · NODE_ENV=${process.env['NODE_ENV']}`,
    '',
    line(HEAD),
    '| --- | ---: | ---: | ---: | --- |',
    ...rows.map((row) => line(cells(row))),
    '',
  ].join('\n');
}
