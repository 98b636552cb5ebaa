/**
 * The table of `breakwater bench correctness`. A row is a library, a column a scenario. A cell says the worst first:
 *
 *   3 wrong, 2 stuck     3 wrong hits; 2 keys stay old until their TTL
 *   3 wrong (12 ms)      3 wrong hits, at most 12 ms after the acknowledgement; all right again soon
 *   3 wrong, all within its bound (12 ms)    as it declares: what another process invalidated is seen within that time
 *   0                    no wrong hit
 *   -                    it has no word for what the scenario needs
 */
import Table from 'cli-table3';
import type { CorrectnessCell } from './run.ts';
import type { Scenario } from './scenarios.ts';
import type { Subject } from './subject.ts';

export function cellText(cell: CorrectnessCell | undefined): string {
  if (cell === undefined) return '';
  if (cell.failure !== null) return 'broke';
  if (cell.tally === null) return '-';
  const { wrongHits, leftStale, worstStaleMs, note, failedReads } = cell.tally;
  const parts: string[] = [];
  if (leftStale > 0) parts.push(`${wrongText(cell.tally, ' wrong')}, ${leftStale} stuck`);
  else if (wrongHits > 0) parts.push(`${wrongText(cell.tally, ' wrong')} (${Math.ceil(worstStaleMs)} ms)`);
  else parts.push('0');
  if (failedReads > 0) parts.push(`${failedReads} failed`);
  if (note !== '') parts.push(note);
  return parts.join('; ');
}

/** Wrong hits, and how many of them are within what the library declares. */
function wrongText({ wrongHits, beyondBound }: NonNullable<CorrectnessCell['tally']>, word = ''): string {
  if (beyondBound === wrongHits) return `${wrongHits}${word}`;
  return `${wrongHits}${word}, ${beyondBound === 0 ? 'all within its bound' : `${beyondBound} beyond its bound`}`;
}

const TIMED = /loader|killed|stopped|mix/;

/** One row a library, one column a scenario; scenarios whose cells are sentences are turned into lines below the table. */
export function correctnessTable(
  cells: readonly CorrectnessCell[],
  subjects: readonly Subject[],
  scenarios: readonly Scenario[],
): string {
  const columns = scenarios.filter(({ name }) => !TIMED.test(name));
  const table = new Table({
    head: ['', ...columns.map(({ title }) => title)],
    style: { head: [], border: [] },
    wordWrap: true,
  });
  for (const subject of subjects) {
    table.push([subject.name, ...columns.map((scenario) => cellText(cellOf(cells, subject, scenario)))]);
  }
  const blocks = columns.length > 0 ? [table.toString()] : [];
  for (const scenario of scenarios.filter(({ name }) => TIMED.test(name))) {
    blocks.push(sideTable(cells, subjects, scenario));
  }
  return blocks.join('\n');
}

/** A scenario whose point is also what it costs: loads, waiting. */
function sideTable(cells: readonly CorrectnessCell[], subjects: readonly Subject[], scenario: Scenario): string {
  const table = new Table({
    head: [scenario.title, 'wrong hits', 'reads', 'stuck keys', 'worst ms', 'loads', ''],
    style: { head: [], border: [] },
  });
  for (const subject of subjects) {
    const cell = cellOf(cells, subject, scenario);
    const tally = cell?.tally;
    if (!tally) table.push([subject.name, cell?.failure ?? '-', '', '', '', '', '']);
    else table.push([subject.name, ...numbersOf(tally)]);
  }
  return table.toString();
}

function numbersOf(tally: NonNullable<CorrectnessCell['tally']>): string[] {
  const worst = tally.worstStaleMs === Number.POSITIVE_INFINITY ? 'until TTL' : String(Math.ceil(tally.worstStaleMs));
  const extras = [
    tally.note,
    tally.failedReads > 0 ? `${tally.failedReads} reads failed` : '',
    tally.unacknowledged > 0 ? `${tally.unacknowledged} not acknowledged` : '',
  ];
  return [
    wrongText(tally),
    String(tally.reads),
    String(tally.leftStale),
    worst,
    String(tally.loads),
    extras.filter((text) => text !== '').join('; '),
  ];
}

export function correctnessNotes(cells: readonly CorrectnessCell[], subjects: readonly Subject[]): string[] {
  const lines = subjects.map((subject) => `${subject.name} ${subject.version}: ${subject.configuration}`);
  for (const cell of cells) {
    if (cell.failure !== null) lines.push(`${cell.subject} broke in ${cell.scenario}: ${cell.failure}`);
    else if (cell.tally !== null && cell.tally.note !== '' && !TIMED.test(cell.scenario)) {
      lines.push(`${cell.subject}, ${cell.scenario}: ${cell.tally.note}`);
    }
  }
  return lines;
}

/** The page for bench/results/. */
export function correctnessMarkdown(
  cells: readonly CorrectnessCell[],
  subjects: readonly Subject[],
  scenarios: readonly Scenario[],
  preamble: readonly string[],
): string {
  const row = (texts: readonly string[]): string => `| ${texts.map((text) => text.replaceAll('|', '/')).join(' | ')} |`;
  const lines = ['# Correctness', '', ...preamble, ''];
  for (const scenario of scenarios) {
    lines.push(`## ${scenario.title}`, '');
    lines.push(row(['', 'wrong hits', 'reads', 'keys left stale until TTL', 'worst staleness ms', 'loads', '']));
    lines.push(row(['---', '---', '---', '---', '---', '---', '---']));
    for (const subject of subjects) {
      const cell = cellOf(cells, subject, scenario);
      if (cell?.tally) lines.push(row([subject.name, ...numbersOf(cell.tally)]));
      else lines.push(row([subject.name, cell?.failure ?? '-', '', '', '', '', '']));
    }
    lines.push('');
  }
  lines.push('## How each was set up', '');
  for (const { name, version, configuration } of subjects) lines.push(`- ${name} ${version}: ${configuration}`);
  return `${lines.join('\n')}\n`;
}

function cellOf(cells: readonly CorrectnessCell[], subject: Subject, scenario: Scenario): CorrectnessCell | undefined {
  return cells.find((cell) => cell.subject === subject.name && cell.scenario === scenario.name);
}
