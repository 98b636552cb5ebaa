/** The demo's table: the same service without and with the cache. */
import Table from 'cli-table3';
import type { DemoResult, RunResult } from './run.ts';

interface Line {
  readonly what: string;
  readonly without: string;
  readonly with: string;
  /** What changed, in words or as a factor. */
  readonly change: string;
}

const whole = (value: number): string => Math.round(value).toLocaleString('en-US');
const percent = (value: number): string => `${(value * 100).toFixed(1)} %`;
const ms = (value: number): string => `${value.toFixed(value < 10 ? 2 : 1)} ms`;

/** How many times fewer database queries a second with the cache than without; infinite when there were none at all. */
export function queryReduction(result: DemoResult): number {
  return result.without.databaseQueriesPerSecond / result.with.databaseQueriesPerSecond;
}

function factor(value: number, word: string): string {
  if (value === Number.POSITIVE_INFINITY) return 'none left';
  return `${value.toFixed(value < 10 ? 1 : 0)} x ${word}`;
}

function lines(result: DemoResult): Line[] {
  const { without, with: cached } = result;
  const per1000 = (run: RunResult): number => (run.databaseQueries / Math.max(1, run.requests)) * 1000;
  const compare = (before: number, after: number, better: string, worse: string): string =>
    before >= after ? factor(before / after, better) : factor(after / before, worse);
  return [
    {
      what: 'requests/s',
      without: whole(without.requestsPerSecond),
      with: whole(cached.requestsPerSecond),
      change: compare(cached.requestsPerSecond, without.requestsPerSecond, 'more', 'fewer'),
    },
    {
      what: 'p50',
      without: ms(without.p50Ms),
      with: ms(cached.p50Ms),
      change: compare(without.p50Ms, cached.p50Ms, 'faster', 'slower'),
    },
    {
      what: 'p99',
      without: ms(without.p99Ms),
      with: ms(cached.p99Ms),
      change: compare(without.p99Ms, cached.p99Ms, 'faster', 'slower'),
    },
    {
      what: 'database queries/s',
      without: whole(without.databaseQueriesPerSecond),
      with: whole(cached.databaseQueriesPerSecond),
      change: compare(without.databaseQueriesPerSecond, cached.databaseQueriesPerSecond, 'fewer', 'more'),
    },
    {
      what: 'database queries per 1,000 requests',
      without: whole(per1000(without)),
      with: per1000(cached).toFixed(1),
      change: compare(per1000(without), per1000(cached), 'fewer', 'more'),
    },
    {
      what: 'database queries in all',
      without: whole(without.databaseQueries),
      with: whole(cached.databaseQueries),
      change: '',
    },
    { what: 'requests in all', without: whole(without.requests), with: whole(cached.requests), change: '' },
    ...(['l1', 'l2', 'loader', 'stale'] as const).flatMap((tier) =>
      tier === 'stale' && cached.tiers[tier] === undefined
        ? []
        : [{ what: TIER_NAMES[tier], without: '', with: percent(cached.tiers[tier] ?? 0), change: '' }],
    ),
    { what: 'wrong answers', without: whole(without.wrong), with: whole(cached.wrong), change: '' },
  ];
}

const TIER_NAMES = {
  l1: "answered by the service's own memory (L1)",
  l2: 'answered by the Breakwater node (L2)',
  loader: 'loaded from the database',
  stale: 'answered with a stale value',
} as const;

const HEAD = ['', 'without cache', 'with cache', ''] as const;

/** What is compared, in sentences. */
function preamble(result: DemoResult): string[] {
  const texts = [`${result.stream}; Postgres ${result.postgres}, ${whole(result.rows)} rows.`];
  if (result.warm) {
    texts.push(
      `Before the run with the cache, ${whole(result.warm.requests)} earlier requests of the same stream filled it, in batches: ${whole(result.warm.databaseQueries)} database queries, ${result.warm.seconds.toFixed(1)} s.`,
    );
  } else texts.push('The cache was empty when its run began.');
  return texts;
}

export function demoTable(result: DemoResult): string {
  const table = new Table({
    head: [...HEAD],
    style: { head: [], border: [] },
    colAligns: ['left', 'right', 'right', 'right'],
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
  });
  for (const line of lines(result)) table.push([line.what, line.without, line.with, line.change]);
  return [...preamble(result), table.toString()].join('\n');
}

/** The same as markdown, for bench/results/. */
export function demoMarkdown(title: string, result: DemoResult): string {
  const row = (texts: readonly string[]): string => `| ${texts.join(' | ')} |`;
  return [
    `## ${title}`,
    '',
    ...preamble(result).map((text) => `- ${text}`),
    '',
    row(HEAD),
    '| --- | ---: | ---: | ---: |',
    ...lines(result).map((line) => row([line.what, line.without, line.with, line.change])),
    '',
  ].join('\n');
}
