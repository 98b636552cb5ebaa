/** The figures of `bench placement` as a table, for a terminal or for bench/results/. */
import Table from 'cli-table3';
import { formatCount } from '../output.ts';
import type { PlacementReport, PlacementRow } from './placement.ts';

const HEAD = [
  'scheme',
  'moved on join',
  'moved on leave',
  'of these needless',
  'spread',
  'fullest',
  'heaviest heir',
] as const;

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
const times = (ratio: number): string => `${ratio.toFixed(2)} x`;

function cells(row: PlacementRow): string[] {
  return [
    row.scheme,
    percent(row.movedOnJoin),
    percent(row.movedOnLeave),
    percent(row.needless),
    percent(row.spread),
    times(row.fullest),
    times(row.heaviestHeir),
  ];
}

function idealCells(report: PlacementReport): string[] {
  const { idealJoin, idealLeave, chanceSpread } = report;
  return ['(ideal)', percent(idealJoin), percent(idealLeave), '0.0 %', percent(chanceSpread), '1.00 x', '1.00 x'];
}

/** What was counted, in a few lines above the table. */
export function placementPreamble(report: PlacementReport): string[] {
  const { servers, keys, fleets } = report;
  return [
    `${formatCount(keys)} keys on ${servers} servers; then one joins, or one leaves. Means over ${fleets} fleets.`,
    'spread: standard deviation of keys per server over the mean. heaviest heir: what the survivor that inherits most of the',
    'leaving server gets, over an even part. ideal spread: what pure chance gives.',
  ];
}

export function placementTable(report: PlacementReport): string {
  const table = new Table({
    head: [...HEAD],
    style: { head: [], border: [] },
    colAligns: ['left', 'right', 'right', 'right', 'right', 'right', 'right'],
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
  });
  for (const row of report.rows) table.push(cells(row));
  table.push(idealCells(report));
  return table.toString();
}

export function placementMarkdown(report: PlacementReport): string {
  const line = (texts: readonly string[]): string => `| ${texts.join(' | ')} |`;
  return [
    '# bench placement',
    '',
    placementPreamble(report).join(' '),
    '',
    line(HEAD),
    '| --- | ---: | ---: | ---: | ---: | ---: | ---: |',
    ...report.rows.map((row) => line(cells(row))),
    line(idealCells(report)),
    '',
  ].join('\n');
}
