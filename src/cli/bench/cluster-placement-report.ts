/** The figures of `bench placement --cluster` as a table, for a terminal or for bench/results/. */
import Table from 'cli-table3';
import type { ClusterPlacementRow } from './cluster-placement.ts';
import { type Environment, environmentLine } from './environment.ts';

const HEAD = [
  'members',
  'ranges',
  'owns most',
  'owns fewest',
  'holds most',
  'join moves',
  'join copies',
  'leave needless',
  'adopted',
  'regained',
  'zones missed',
  'from nothing',
  'a join',
  'a leave',
] as const;

export const CLUSTER_PLACEMENT_PREAMBLE: readonly string[] = [
  'Ranges over members in three zones, two copies of each. owns, holds: over the mean. join moves: owners changed, times (N+1)/ranges (1 = ideal; the worst',
  'of five joins). join copies: the same of ranges newly held. leave needless: owners changed that stayed (worst of five). adopted: what the leaver owned',
  'that went to one of its copies. regained: what it owns again after coming back. Times: computing alone.',
];

const times = (ratio: number): string => `${ratio.toFixed(2)} x`;
const percent = (share: number): string => `${(share * 100).toFixed(0)} %`;
const duration = (ms: number): string => `${ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms`;

function cells(row: ClusterPlacementRow): string[] {
  return [
    String(row.members),
    String(row.ranges),
    times(row.fullest),
    times(row.emptiest),
    times(row.fullestHeld),
    row.joinMoved.toFixed(3),
    row.joinStaged.toFixed(2),
    String(row.leaveNeedless),
    percent(row.leaveAdopted),
    percent(row.regained),
    percent(row.zonesMissed),
    duration(row.fromNothingMs),
    duration(row.joinMs),
    duration(row.leaveMs),
  ];
}

export function clusterPlacementTable(rows: readonly ClusterPlacementRow[]): string {
  const table = new Table({
    head: [...HEAD],
    style: { head: [], border: [] },
    colAligns: HEAD.map(() => 'right' as const),
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
  });
  for (const row of rows) table.push(cells(row));
  return table.toString();
}

export function clusterPlacementMarkdown(rows: readonly ClusterPlacementRow[], where: Environment): string {
  const line = (texts: readonly string[]): string => `| ${texts.join(' | ')} |`;
  return [
    '# bench placement --cluster',
    '',
    environmentLine(where),
    '',
    CLUSTER_PLACEMENT_PREAMBLE.join(' '),
    '',
    line(HEAD),
    line(HEAD.map(() => '---:')),
    ...rows.map((row) => line(cells(row))),
    '',
  ].join('\n');
}
