/**
 * The picture of a takeover in docs/cluster.md, out of the trace of test/sim/scenarios/takeover.txt: nothing in it is drawn by hand but the words beside the steps, and those stand where the trace has what they speak of.
 *
 * Time goes down. It is no scale: each moment at which something happens has a line of its own, and what lies between two lines may be one millisecond or two hundred; the left margin says when it was.
 */
import type { Arrow, Item, Span, Story } from './story.ts';

const FROM_MS = 795;
const UNTIL_MS = 3560;

const LANE: Readonly<Record<string, number>> = { client: 110, m0: 330, m1: 560, m2: 760 };
const ROLE: Readonly<Record<string, string>> = {
  client: 'a client',
  m0: 'm0, the owner',
  m1: 'm1, its copy',
  m2: 'm2, voter only',
};
const WIDTH = 1220;
const NOTES_X = 815;
const TOP = 84;
const ROW = 23;
/** Between lines that are far apart in time. */
const REST = 12;
const FAR_MS = 50;

/** By the numbers of the walk in docs/cluster.md: which item each stands beside (the first for which it holds), and its words. */
const STEPS: readonly (readonly [holds: (item: Item) => boolean, ...lines: string[]])[] = [
  [
    (item) => isArrow(item, 'heartbeat') && item.arrivedMs === null,
    '1  m0 is cut off. The voters heard it last at 801,',
    '    by a heartbeat sent at 800: it may serve until 1800 (F)',
  ],
  [
    (item) => isArrow(item, 'heard') && item.text.includes('silent m0'),
    '2  voters report its silence, and for how long',
  ],
  [
    (item) => item.kind === 'call' && item.to === 'm0' && item.atMs > 1800,
    '    without a majority m0 serves nothing as an owner',
    '    and acknowledges nothing',
  ],
  [(item) => isArrow(item, 'prepare') && item.to === 'm2', '3  1500 ms (T) after it was heard last: its copy asks'],
  [(item) => isArrow(item, 'promised'), '4  m2 has not heard m0 for T either: yes'],
  [(item) => isArrow(item, 'accept'), '5  a majority promised (m1 votes too); a majority accepts'],
  [(item) => item.kind === 'report' && item.text.startsWith('REIGNS'), '6  m1 reigns, and serves'],
  [(item) => isArrow(item, 'heard') && item.text.includes('news 0:(4'), '8  the record comes round with heartbeats'],
  [
    (item) => item.kind === 'report' && item.text.startsWith('reigns over range 0 no more'),
    '    the cut is healed: m0 learns that it was deposed,',
    '    and becomes a copy that begins from nothing',
  ],
  [(item) => isArrow(item, 'begin'), '7  m1 tells it to follow, and sends what it has'],
  [
    (item) => isArrow(item, 'prepare') && item.to === 'm0' && item.arrivedMs !== null,
    '    it has everything: it enters the in-sync set',
  ],
];

export function drawTakeover(story: Story): string {
  const items = story.items.filter((item) => isShown(item, story.items));
  const moments = new Set<number>([FROM_MS, UNTIL_MS]);
  for (const item of items) {
    moments.add(item.kind === 'arrow' ? item.sentMs : item.atMs);
    if (item.kind === 'arrow' && item.arrivedMs !== null) moments.add(item.arrivedMs);
  }
  for (const { fromMs, untilMs } of story.spans) {
    for (const ms of [fromMs, untilMs]) if (ms > FROM_MS && ms < UNTIL_MS) moments.add(ms);
  }
  const places = new Map<number, number>();
  let y = TOP;
  let before = FROM_MS;
  for (const ms of [...moments].sort((a, b) => a - b)) {
    y += ms === FROM_MS ? 0 : ROW + (ms - before >= FAR_MS ? REST : 0);
    places.set(ms, y);
    before = ms;
  }
  const at = (ms: number): number => places.get(Math.min(UNTIL_MS, Math.max(FROM_MS, ms)))!;
  const height = y + 40;
  const parts: string[] = [];
  for (const [ms, top] of places) {
    if (ms === FROM_MS || ms === UNTIL_MS) continue;
    parts.push(line(70, top, NOTES_X - 20, top, 'row'), text(60, top + 4, 'time', String(ms)));
  }
  for (const [name, x] of Object.entries(LANE)) {
    parts.push(line(x, TOP - 14, x, height - 22, 'lane'), text(x, TOP - 24, 'name', ROLE[name]!));
  }
  for (const span of story.spans) parts.push(bar(span, at));
  for (const item of items) parts.push(...drawn(item, at));
  for (const [holds, ...lines] of STEPS) {
    const item = items.find(holds);
    if (item === undefined) throw new Error(`the trace has nothing for the step: ${lines[0]}`);
    const top = at(item.kind === 'arrow' ? item.sentMs : item.atMs);
    lines.forEach((words, index) => void parts.push(text(NOTES_X, top + 4 + 15 * index, 'note', words)));
  }
  return `${HEAD(height)}${parts.join('\n')}\n</svg>\n`;
}

function isArrow(item: Item, word: string): item is Arrow {
  return item.kind === 'arrow' && says(item, word);
}

/** Is that its first word? */
function says({ text: words }: Arrow, word: string): boolean {
  return words.startsWith(word) && !/[a-z]/.test(words.charAt(word.length));
}

/** Heartbeats go all the time; shown are those of the owner until they are missed, and the answers that have news. */
function isShown(item: Item, all: readonly Item[]): boolean {
  const atMs = item.kind === 'arrow' ? item.sentMs : item.atMs;
  if (atMs < FROM_MS || atMs > UNTIL_MS) return false;
  if (item.kind === 'call') return true;
  if (item.kind === 'report') return /^(REIGNS|reigns over)/.test(item.text);
  const { from, to } = item;
  if (says(item, 'heartbeat')) return from === 'm0' && atMs < 2100;
  if (says(item, 'heard')) {
    if (item.arrivedMs === null) return false;
    if (to === 'm0') return atMs < 1000 || (item.text.includes('news') && atMs < 3300);
    if (from === 'm2' && to === 'm1' && item.text.includes('silent m0') && !item.text.includes('news')) {
      const reports = all.filter(
        (one): one is Arrow =>
          isArrow(one, 'heard') && one.from === from && one.to === to && one.text.includes('silent m0'),
      );
      return (
        item === reports[0] ||
        item === reports.filter(({ text: words }) => !words.includes('news')).findLast(beforeClaim)
      );
    }
    return from === 'm1' && to === 'm2' && item.text.includes('news 0:(4');
  }
  return !says(item, 'following') && !says(item, 'may');
}

function beforeClaim(item: Item): boolean {
  return item.kind === 'arrow' && item.sentMs < 2300;
}

/** Few words of many. */
function wordsOf({ text: words }: Arrow): string {
  const silent = /silent m0 (\d+) ms/.exec(words);
  if (words.startsWith('heard; news')) return `record: m1 owns, epoch ${/news 0:\((\d+)/.exec(words)![1]}`;
  if (silent !== null) return `heard; m0 silent ${silent[1]} ms`;
  if (words.startsWith('heartbeat')) return 'heartbeat';
  if (words.startsWith('prepare')) return `prepare, epoch ${/epoch (\d+)/.exec(words)![1]}`;
  if (words.startsWith('accept ')) return `accept [${/\[(.*)\]/.exec(words)![1]}]`;
  if (words.startsWith('part 0 #1 taken')) return 'taken';
  return words.split(' ')[0]!.replace(/[;,]$/, '');
}

function drawn(item: Item, at: (ms: number) => number): string[] {
  if (item.kind === 'report') {
    const top = at(item.atMs);
    const words = item.text.startsWith('REIGNS') ? 'reigns' : 'reigns no more';
    const half = words.length * 3.6 + 8;
    const x = LANE[item.by]!;
    return [
      `<rect class="report" x="${x - half}" y="${top - 9}" width="${2 * half}" height="18" rx="4"/>`,
      text(x, top + 4, 'said', words),
    ];
  }
  if (item.kind === 'call') {
    const top = at(item.atMs);
    const isRefused = /NOT ACK|TRYAGAIN|a miss$/.test(item.text);
    const x = LANE[item.to]!;
    const from = LANE['client']!;
    return [
      `<path class="call${isRefused ? ' refused' : ''}" d="M${from} ${top}H${x - 9}" marker-start="url(#${isRefused ? 'no' : 'yes'})"/>`,
      text(from + 12, top - 4, `words${isRefused ? ' refused' : ''}`, item.text),
    ];
  }
  const [x1, x2] = [LANE[item.from]!, LANE[item.to]!];
  const top = at(item.sentMs);
  const way = Math.sign(x2 - x1);
  const label = wordsOf(item);
  if (item.arrivedMs === null) {
    const end = x1 + way * 62;
    // To several at one moment: said once.
    const first = item.to === 'm1' || item.from === 'm1';
    return [
      `<path class="lost" d="M${x1 + way * 7} ${top}H${end}"/>`,
      `<path class="lost" d="M${end - 4} ${top - 4}l8 8m0 -8l-8 8"/>`,
      ...(first ? [text(x1 + way * 74, top + 4, `words lost ${way > 0 ? '' : 'left'}`, label)] : []),
    ];
  }
  const bottom = at(item.arrivedMs);
  // One that passes by a lane has its words at m2, where nothing else is.
  const share = Math.abs(x2 - x1) < 300 ? 0.5 : way > 0 ? 0.75 : 0.25;
  const x = x1 + (x2 - x1) * share;
  const y = top + (bottom - top) * share;
  return [
    `<path class="message" d="M${x1 + way * 6} ${top}L${x2 - way * 8} ${bottom}" marker-end="url(#tip)"/>`,
    text(x, y - 4, 'words middle', label),
  ];
}

function bar({ member, fromMs, untilMs }: Span, at: (ms: number) => number): string {
  if (untilMs <= FROM_MS || fromMs >= UNTIL_MS) return '';
  const top = at(fromMs);
  const label = text(
    LANE[member]! + (member === 'm0' ? -12 : 12),
    top + 16,
    `serves ${member === 'm0' ? '' : 'right'}`,
    'serves',
  );
  return `<rect class="serves" x="${LANE[member]! - 5}" y="${top}" width="10" height="${at(untilMs) - top}"/>${label}`;
}

function line(x1: number, y1: number, x2: number, y2: number, name: string): string {
  return `<path class="${name}" d="M${x1} ${y1}L${x2} ${y2}"/>`;
}

function text(x: number, y: number, name: string, words: string): string {
  const safe = words.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<text class="${name}" x="${round(x)}" y="${round(y)}" xml:space="preserve">${safe}</text>`;
}

function round(value: number): number {
  return Math.round(10 * value) / 10;
}

const HEAD = (
  height: number,
): string => `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="Helvetica, Arial, sans-serif">
<title>A takeover among three members, message by message</title>
<desc>npm run sim -- --picture test/sim/scenarios/takeover.txt docs/pictures/takeover.svg</desc>
<style>
text { font-size: 11.5px; fill: #222 }
.time { text-anchor: end; fill: #777; font-size: 10.5px }
.name { text-anchor: middle; font-weight: bold; font-size: 13px }
.note { font-size: 12.5px }
.row { stroke: #eee; fill: none }
.lane { stroke: #999; fill: none }
.serves { fill: #3a9d5d }
text.serves { text-anchor: end; fill: #2b7a47; font-size: 11px }
.message { stroke: #2b5c9e; fill: none; stroke-width: 1.3 }
.lost { stroke: #b0b0b0; fill: none; stroke-width: 1.3 }
.call { stroke: #2b7a47; fill: none; stroke-width: 1.5 }
.refused { stroke: #b3402a }
.words { fill: #2b5c9e; paint-order: stroke; stroke: #fff; stroke-width: 3px; stroke-linejoin: round }
.middle { text-anchor: middle }
.left { text-anchor: end }
text.lost { fill: #888 }
text.refused { fill: #b3402a; stroke: #fff }
.report { fill: #fff6d9; stroke: #c9a227 }
.said { text-anchor: middle; font-weight: bold }
text.right { text-anchor: start }
</style>
<defs>
<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#2b5c9e"/></marker>
<marker id="yes" viewBox="0 0 8 8" refX="1" refY="4" markerWidth="6" markerHeight="6" orient="auto"><path d="M8 0L0 4L8 8z" fill="#2b7a47"/></marker>
<marker id="no" viewBox="0 0 8 8" refX="1" refY="4" markerWidth="6" markerHeight="6" orient="auto"><path d="M8 0L0 4L8 8z" fill="#b3402a"/></marker>
</defs>
<rect width="100%" height="100%" fill="#fff"/>
<text class="note" x="20" y="26" xml:space="preserve">A takeover: three members, all of them voters, one range, heartbeats every 200 ms, every message 1 ms. Milliseconds on the left; the distance between two lines is no measure of time.</text>
`;
