/**
 * What a script of the cluster (`sim/cluster/scenario.ts`) left in its trace, as things that can be drawn: messages from whom to whom, what clients were told, what members reported, and who served when.
 */
import { Scenario } from '../cluster/scenario.ts';

export interface Arrow {
  readonly kind: 'arrow';
  readonly from: string;
  readonly to: string;
  readonly sentMs: number;
  /** null: it was lost. */
  readonly arrivedMs: number | null;
  /** The first word says what it is. */
  readonly text: string;
}

/** A client's request, and what it was told. */
export interface Call {
  readonly kind: 'call';
  readonly to: string;
  readonly atMs: number;
  readonly text: string;
}

export interface Report {
  readonly kind: 'report';
  readonly by: string;
  readonly atMs: number;
  readonly text: string;
}

export type Item = Arrow | Call | Report;

/** A member answered for the range from then until then. */
export interface Span {
  readonly member: string;
  readonly fromMs: number;
  readonly untilMs: number;
}

export interface Story {
  readonly members: readonly string[];
  readonly items: readonly Item[];
  readonly spans: readonly Span[];
  readonly endMs: number;
}

/** In a script every message takes so long. */
const LINK_MS = 1;

/** Plays the script, a millisecond at a time, and looks who serves range 0 at each. */
export function storyOf(script: string): Story {
  const scenario = new Scenario();
  const open = new Map<string, number>();
  const spans: Span[] = [];
  const look = (): void => {
    const { nowMs } = scenario;
    const servers = scenario.servers(0);
    for (const member of servers) if (!open.has(member)) open.set(member, nowMs);
    for (const [member, fromMs] of open) {
      if (servers.includes(member)) continue;
      spans.push({ member, fromMs, untilMs: nowMs });
      open.delete(member);
    }
  };
  for (const line of script.split('\n')) {
    if (!line.startsWith('> ')) continue;
    const [verb, amount] = line.slice(2).trim().split(/\s+/);
    if (verb !== 'run') scenario.do(line.slice(2));
    else {
      for (let ms = 0; ms < Number(amount); ms += 1) {
        scenario.do('run 1');
        look();
      }
    }
  }
  const endMs = scenario.nowMs;
  for (const [member, fromMs] of open) spans.push({ member, fromMs, untilMs: endMs });
  const items = scenario.lines.map(itemOf).filter((item) => item !== null);
  return { members: scenario.members, items, spans, endMs };
}

function itemOf(line: string): Item | null {
  const message = /^ *([\d.]+) {6}(m\d+) -([>x]) (m\d+) {2}(.*)$/.exec(line);
  if (message !== null) {
    const [, at, from, way, to, text] = message;
    // To itself a voter speaks without a network.
    if (from === to) return null;
    const atMs = Number(at);
    const isLost = way === 'x';
    return {
      kind: 'arrow',
      from: from!,
      to: to!,
      sentMs: isLost ? atMs : atMs - LINK_MS,
      arrivedMs: isLost ? null : atMs,
      text: text!,
    };
  }
  const call = /^ *([\d.]+) {2}client: (\S+) (m\d+) (.*)$/.exec(line);
  if (call !== null) return { kind: 'call', to: call[3]!, atMs: Number(call[1]), text: `${call[2]} ${call[4]}` };
  const report = /^ *([\d.]+) {2}(m\d+): (.*)$/.exec(line);
  if (report !== null) return { kind: 'report', by: report[2]!, atMs: Number(report[1]), text: report[3]! };
  return null;
}
