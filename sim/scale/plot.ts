/**
 * What grows with the number of members, as a picture of four panels, out of the results of `npm run sim -- --scale`: frames and bytes of a member, the time in which a loss is over, and what the voters send while many are dead.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { ScaleResult } from './measure.ts';
import { scaleTable } from './table.ts';

interface Line {
  readonly name: string;
  readonly color: string;
  readonly value: (result: ScaleResult) => number | null;
}

interface Panel {
  readonly title: string;
  readonly unit: string;
  readonly isLog: boolean;
  readonly lines: readonly Line[];
}

const [BLUE, ORANGE, GREEN, RED] = ['#2b5c9e', '#d07a1f', '#2b7a47', '#b3402a'] as const;

const PANELS: readonly Panel[] = [
  {
    title: 'Frames that a member sends at rest',
    unit: 'a second',
    isLog: true,
    lines: [
      { name: 'a voter', color: BLUE, value: ({ rest }) => rest.voter.sent },
      { name: 'another', color: ORANGE, value: ({ rest }) => rest.other?.sent ?? null },
    ],
  },
  {
    title: 'Bytes that a member sends',
    unit: 'a second',
    isLog: true,
    lines: [
      { name: 'a voter, a third dead', color: RED, value: ({ third }) => third.voterBytesAfter },
      { name: 'a voter, at rest', color: BLUE, value: ({ rest }) => rest.voter.sentBytes },
      { name: 'another, at rest', color: ORANGE, value: ({ rest }) => rest.other?.sentBytes ?? null },
    ],
  },
  {
    title: 'Until a loss is over',
    unit: 'seconds',
    isLog: false,
    lines: [
      { name: 'a third: everybody knows', color: RED, value: ({ third }) => seconds(third.agreedMs) },
      { name: 'a crash: everybody knows', color: BLUE, value: ({ crash }) => seconds(crash.agreedMs) },
      { name: 'a crash: served again', color: GREEN, value: ({ crash }) => seconds(crash.servedMs) },
    ],
  },
  {
    title: 'The fullest member over the mean',
    unit: 'times',
    isLog: false,
    lines: [
      { name: 'bytes owned', color: RED, value: ({ shares }) => shares.ownedBytesMost },
      { name: 'ranges owned', color: BLUE, value: ({ shares }) => shares.ownedMost },
      { name: 'ranges held', color: GREEN, value: ({ shares }) => shares.heldMost },
    ],
  },
];

const [WIDE, HIGH, LEFT, TOP, RIGHT, BELOW] = [520, 300, 62, 44, 22, 44];

export function drawScale(results: readonly ScaleResult[]): string {
  const panels = PANELS.map((panel, index) => {
    const [x, y] = [(index % 2) * WIDE, Math.floor(index / 2) * HIGH];
    return `<g transform="translate(${x} ${y})">\n${drawPanel(panel, results)}\n</g>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${2 * WIDE} ${2 * HIGH}" width="${2 * WIDE}" height="${2 * HIGH}" font-family="Helvetica, Arial, sans-serif" font-size="12">
<title>A cluster's growth with the number of its members</title>
<rect width="100%" height="100%" fill="#fff"/>
${panels.join('\n')}
</svg>
`;
}

function drawPanel({ title, unit, isLog, lines }: Panel, results: readonly ScaleResult[]): string {
  const [right, bottom] = [WIDE - RIGHT, HIGH - BELOW];
  const sizes = results.map(({ members }) => members);
  const across = scaleOf(Math.log10(sizes[0]!), Math.log10(sizes.at(-1)!), LEFT + 8, right - 8);
  const values = lines.flatMap(({ value }) => results.map(value)).filter((one) => one !== null);
  const most = Math.max(...values);
  const marks = isLog ? powers(Math.min(...values), most) : evenly(most);
  const low = isLog ? Math.log10(marks[0]!) : 0;
  const high = isLog ? Math.log10(marks.at(-1)!) : marks.at(-1)!;
  const up = scaleOf(low, high, bottom, TOP);
  const yOf = (value: number): number => up(isLog ? Math.log10(value) : value);
  const parts = [words(LEFT, 24, `${title}, ${unit}`, 'font-weight="bold" font-size="13"')];
  for (const mark of marks) {
    parts.push(`<path d="M${LEFT} ${yOf(mark)}H${right}" stroke="#e4e4e4"/>`);
    parts.push(words(LEFT - 6, yOf(mark) + 4, short(mark), 'text-anchor="end" fill="#666"'));
  }
  for (const size of sizes) {
    parts.push(words(across(Math.log10(size)), bottom + 17, String(size), 'text-anchor="middle" fill="#666"'));
  }
  parts.push(words((LEFT + right) / 2, bottom + 34, 'members', 'text-anchor="middle" fill="#666"'));
  lines.forEach(({ name, color, value }, index) => {
    const points = results
      .map((result) => [across(Math.log10(result.members)), value(result)] as const)
      .filter((point): point is readonly [number, number] => point[1] !== null)
      .map(([x, each]) => [x, yOf(each)] as const);
    const path = points.map(([x, y], at) => `${at === 0 ? 'M' : 'L'}${x} ${y}`).join('');
    parts.push(`<path d="${path}" fill="none" stroke="${color}" stroke-width="2"/>`);
    for (const [x, y] of points) parts.push(`<circle cx="${x}" cy="${y}" r="3" fill="${color}"/>`);
    // Where lines that grow leave room; the others begin at 0, and have it below.
    const y = isLog ? TOP + 16 + 17 * index : bottom - 12 - 17 * (lines.length - 1 - index);
    parts.push(
      `<path d="M${LEFT + 16} ${y - 4}h18" stroke="${color}" stroke-width="3"/>`,
      words(LEFT + 40, y, name, ''),
    );
  });
  return parts.join('\n');
}

function scaleOf(from: number, to: number, start: number, end: number): (value: number) => number {
  return (value) => Math.round(10 * (start + ((value - from) / (to - from)) * (end - start))) / 10;
}

function powers(least: number, most: number): number[] {
  const marks: number[] = [];
  for (let mark = 10 ** Math.floor(Math.log10(least)); ; mark *= 10) {
    marks.push(mark);
    if (mark >= most) return marks;
  }
}

function evenly(most: number): number[] {
  const step = most > 1.5 ? 0.5 : 0.25;
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, index) => index * step);
}

function short(value: number): string {
  return value >= 1e6 ? `${value / 1e6} M` : value >= 1e3 ? `${value / 1e3} k` : String(value);
}

function words(x: number, y: number, said: string, more: string): string {
  return `<text x="${x}" y="${y}" ${more}>${said}</text>`;
}

function seconds(ms: number | null): number | null {
  return ms === null ? null : ms / 1000;
}

/** `npm run sim -- --scale-plot RESULTS.json FILE.svg`: the picture, and the table on standard output. Returns the exit code. */
export function scalePlotCommand(names: readonly string[]): number {
  const [from, to] = names;
  if (from === undefined || to === undefined || names.length > 2) {
    console.error('Usage: npm run sim -- --scale-plot RESULTS.json FILE.svg');
    return 2;
  }
  const { results } = JSON.parse(readFileSync(from, 'utf8')) as { readonly results: readonly ScaleResult[] };
  writeFileSync(to, drawScale(results));
  console.log(scaleTable(results));
  return 0;
}
