/** The table of the scenes in which rows change: a column for each, so that what was broken stands beside what was not. */
import Table from 'cli-table3';
import { BOUND_MS, type Phase } from './live.ts';
import type { DemoResult } from './run.ts';

type Live = NonNullable<DemoResult['live']>;

const whole = (value: number): string => Math.round(value).toLocaleString('en-US');
const ms = (value: number): string => `${value < 10 ? value.toFixed(1) : whole(value)} ms`;

const ROWS: readonly (readonly [what: string, of: (phase: Phase) => string])[] = [
  ['reads/s', ({ readsPerSecond }) => whole(readsPerSecond)],
  ['p99', ({ p99Ms }) => ms(p99Ms)],
  ['reads answered with an error', ({ reads, failedReads }) => `${whole(failedReads)} of ${whole(reads)}`],
  [
    'database queries/s',
    ({ databaseQueriesPerSecond }) =>
      databaseQueriesPerSecond === null ? 'not known' : whole(databaseQueriesPerSecond),
  ],
  ['rows changed through the service', ({ written }) => whole(written)],
  ['  changed, invalidation in the outbox', ({ queued }) => whole(queued)],
  ['  refused with an error', ({ refused }) => whole(refused)],
  ['rows changed in SQL, behind its back', ({ inSql }) => whole(inSql)],
  ['invalidations by the service', ({ writeRows }) => whole(writeRows)],
  ['invalidations by the change stream', ({ streamRows }) => whole(streamRows)],
  ['longest staleness of an answer', ({ longestStalenessMs }) => ms(longestStalenessMs)],
  ['wrong hits', ({ wrong }) => whole(wrong)],
];

function words(): string[] {
  return [
    'Three processes of the service share one node; each keeps live objects of its own (L1). Users read from all three while rows change, through the service and straight in SQL.',
    `Every answer is judged. Staleness is the time since the commit of a change that it lacks. It is a wrong hit when the change's invalidation had been acknowledged before the read began, in another process more than ${BOUND_MS} ms before, which is the bound that L1s are promised to keep.`,
  ];
}

export function liveTable({ calm, broken }: Live): string {
  const phases = [calm, ...broken];
  const table = new Table({
    head: ['', ...phases.map(({ name }) => wrapped(name))],
    style: { head: [], border: [] },
    colAligns: ['left', ...phases.map(() => 'right' as const)],
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
  });
  for (const [what, of] of ROWS) table.push([what, ...phases.map(of)]);
  return ['', ...words(), table.toString(), ...firstErrors(phases)].join('\n');
}

export function liveMarkdown({ calm, broken }: Live): string {
  const phases = [calm, ...broken];
  const row = (texts: readonly string[]): string => `| ${texts.join(' | ')} |`;
  return [
    ...words().map((text) => `- ${text}`),
    '',
    row(['', ...phases.map(({ name }) => name)]),
    `| --- |${' ---: |'.repeat(phases.length)}`,
    ...ROWS.map(([what, of]) => row([what.trim(), ...phases.map(of)])),
    '',
  ].join('\n');
}

function firstErrors(phases: readonly Phase[]): string[] {
  const failed = phases.filter(({ failedReads }) => failedReads > 0);
  if (failed.length === 0) return [];
  return [
    'Errors are of rows that had to be loaded while the database could not be asked: those that had just changed, and those that nobody had read yet. The first of each:',
    ...failed.map(({ name, firstFailed }) => `  ${name}: ${firstFailed.slice(0, 160)}`),
  ];
}

/** In lines of some fifteen letters: four columns and their words fit a terminal of 110. */
function wrapped(text: string): string {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && `${last} ${word}`.length <= 15) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines.join('\n');
}
