/** The results of `npm run sim -- --scale` as a table of Markdown: what `--scale-plot` prints. */
import type { ScaleResult, Traffic } from './measure.ts';

const row = (...cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;
const kilobytes = (bytes: number | undefined): string => (bytes === undefined ? '' : (bytes / 1000).toFixed(1));
const seconds = (ms: number | null | undefined): string =>
  ms === null || ms === undefined ? '' : (ms / 1000).toFixed(2);
const times = (value: number): string => value.toFixed(2);
const frames = (traffic: Traffic | null): string => (traffic === null ? '' : String(Math.round(traffic.sent)));

const COLUMNS: readonly (readonly [title: string, cell: (result: ScaleResult) => string | number])[] = [
  ['members', ({ members }) => members],
  ['ranges', ({ ranges }) => ranges],
  ['owns most', ({ shares }) => times(shares.ownedMost)],
  ['bytes', ({ shares }) => times(shares.ownedBytesMost)],
  ['holds most', ({ shares }) => times(shares.heldMost)],
  ['voter: frames/s', ({ rest }) => frames(rest.voter)],
  ['KB/s out', ({ rest }) => kilobytes(rest.voter.sentBytes)],
  ['KB/s in', ({ rest }) => kilobytes(rest.voter.receivedBytes)],
  ['ms of CPU a s', ({ cpu }) => (cpu.voter.core + cpu.voter.wire).toFixed(1)],
  ['other: frames/s', ({ rest }) => frames(rest.other)],
  ['KB/s out', ({ rest }) => kilobytes(rest.other?.sentBytes)],
  ['KB/s in', ({ rest }) => kilobytes(rest.other?.receivedBytes)],
  ['ms of CPU a s', ({ cpu }) => (cpu.other === null ? '' : (cpu.other.core + cpu.other.wire).toFixed(1))],
  ['join: home after s', ({ join }) => seconds(join?.homeMs)],
  ['moved', ({ join }) => join?.moved ?? ''],
  ['of its share', ({ join, members, ranges }) => (join === null ? '' : times((join.moved * members) / ranges))],
  ['crash: served after s', ({ crash }) => seconds(crash.servedMs)],
  ['agreed', ({ crash }) => seconds(crash.agreedMs)],
  ['a third: served after s', ({ third }) => seconds(third.servedMs)],
  ['agreed', ({ third }) => seconds(third.agreedMs)],
  ['ranges', ({ third }) => third.ranges],
  ['of them empty', ({ third }) => third.empty],
  ['voter KB/s out, a third dead', ({ third }) => kilobytes(third.voterBytesAfter)],
];

export function scaleTable(results: readonly ScaleResult[]): string {
  const lines = [row(...COLUMNS.map(([title]) => title)), row(...COLUMNS.map(() => '---:'))];
  for (const result of results) lines.push(row(...COLUMNS.map(([, cell]) => cell(result))));
  return lines.join('\n');
}
