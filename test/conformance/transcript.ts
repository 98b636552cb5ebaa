/**
 * Transcripts: text files of commands, one a line, run against redis-server and against our node, whose raw replies must be equal.
 *
 *   # a remark
 *   SET k "\x00\xff"          arguments as redis-cli reads them
 *   ~1500 PTTL k              integers in the reply may differ by up to 1500
 *   !reason: HELLO 2          a difference on purpose; the reason is told, and the replies must in fact differ
 *   %sorted KEYS *            the elements of the reply may come in any order
 */

export type Comparison =
  | { readonly kind: 'equal' }
  | { readonly kind: 'near'; readonly tolerance: number }
  | { readonly kind: 'different'; readonly reason: string }
  | { readonly kind: 'sorted' };

export interface Line {
  readonly text: string;
  readonly number: number;
  readonly compare: Comparison;
  readonly command: readonly Uint8Array[];
}

export function parseTranscript(text: string): Line[] {
  const lines: Line[] = [];
  text.split('\n').forEach((raw, index) => {
    let rest = raw.trim();
    if (rest === '' || rest.startsWith('#')) return;
    let compare: Comparison = { kind: 'equal' };
    const near = /^~(\d+) (.*)$/.exec(rest);
    const different = /^!([^:]*): (.*)$/.exec(rest);
    const sorted = /^%sorted (.*)$/.exec(rest);
    if (near) {
      compare = { kind: 'near', tolerance: Number(near[1]) };
      rest = near[2]!;
    } else if (different) {
      compare = { kind: 'different', reason: different[1]! };
      rest = different[2]!;
    } else if (sorted) {
      compare = { kind: 'sorted' };
      rest = sorted[1]!;
    }
    lines.push({ text: rest, number: index + 1, compare, command: splitArguments(rest) });
  });
  return lines;
}

/** Words and "quoted \xff" words; `@n*text` is text repeated n times. */
export function splitArguments(line: string): Buffer[] {
  const found: Buffer[] = [];
  for (const match of line.matchAll(/"((?:[^"\\]|\\.)*)"|@(\d+)\*(\S+)|(\S+)/g)) {
    if (match[1] !== undefined) found.push(Buffer.from(unquote(match[1]), 'latin1'));
    else if (match[2] !== undefined) found.push(Buffer.from(match[3]!.repeat(Number(match[2])), 'latin1'));
    else found.push(Buffer.from(match[4]!, 'latin1'));
  }
  return found;
}

function unquote(text: string): string {
  return text.replace(/\\(x[0-9a-f]{2}|.)/gi, (_, code: string) => {
    if (/^x..$/i.test(code)) return String.fromCharCode(Number.parseInt(code.slice(1), 16));
    return { n: '\n', r: '\r', t: '\t' }[code] ?? code;
  });
}

export function encodeCommand(args: readonly Uint8Array[]): Uint8Array {
  const parts: Uint8Array[] = [Buffer.from(`*${args.length}\r\n`)];
  for (const arg of args) parts.push(Buffer.from(`$${arg.length}\r\n`), arg, Buffer.from('\r\n'));
  return Buffer.concat(parts);
}

/** null when the replies agree as the comparison asks, else what is wrong. */
export function disagreement(compare: Comparison, redis: Uint8Array, ours: Uint8Array): string | null {
  const a = Buffer.from(redis).toString('latin1');
  const b = Buffer.from(ours).toString('latin1');
  const shown = `redis ${JSON.stringify(a.slice(0, 600))}\nours  ${JSON.stringify(b.slice(0, 600))}`;
  switch (compare.kind) {
    case 'equal':
      return a === b ? null : shown;
    case 'different':
      return a !== b ? null : `said to differ (${compare.reason}) and does not: ${shown}`;
    case 'sorted':
      return sortedElements(a) === sortedElements(b) ? null : shown;
    case 'near':
      return near(a, b, compare.tolerance) ? null : shown;
  }
}

function near(a: string, b: string, tolerance: number): boolean {
  const integers = (text: string): number[] => [...text.matchAll(/:(-?\d+)\r\n/g)].map((match) => Number(match[1]));
  if (a.replace(/:-?\d+\r\n/g, ':\r\n') !== b.replace(/:-?\d+\r\n/g, ':\r\n')) return false;
  const theirs = integers(b);
  return integers(a).every((value, index) => Math.abs(value - theirs[index]!) <= tolerance);
}

/** Bulk strings of a flat array, sorted. */
function sortedElements(text: string): string {
  return text
    .split(/(?=[$*:+~])/)
    .sort()
    .join('');
}
