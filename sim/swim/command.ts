/** `npm run sim -- --swim`: the figures of membership news for 10 to 1,000 members, as a page for bench/results/. Some minutes. */
import { writeFileSync } from 'node:fs';
import { crashTimes, falsehoods, joinMs, trafficAtRest } from './measure.ts';

const row = (...cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;
const rule = (count: number): string => row(...new Array<string>(count).fill('---:'));
const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;

/** @param quick a tenth of it, for a look */
export function swimReport(quick: boolean, tell: (line: string) => void): string {
  const sizes = quick ? [10, 50] : [10, 50, 100, 300, 1000];
  const crashSizes = quick ? [10] : [10, 100, 1000];
  const lines = [
    '# Membership news by SWIM with Lifeguard',
    '',
    `Simulated, ${new Date().toISOString().slice(0, 10)}: \`npm run sim -- --swim\`. The production machine (src/cluster/swim) and the bytes of production frames (src/wire) over a network of 0.5 to 5 ms, in virtual time:`,
    'the same figures on every machine. Probes once a second, three helpers, rumors every 200 ms while there are any. Nothing of it decides who owns what.',
    '',
    '## Growth with the number of members',
    '',
    'Sent by each member at rest, mean of ten minutes in which nothing happens; the whole state is exchanged with one other every 15 to 45 s times 1 + log2(N / 32). For comparison what one voter',
    'hears when everybody sends it a heartbeat every 200 ms, five frames a second from each.',
    '',
    row('members', 'messages/s', 'bytes/s', 'heartbeats/s at a voter', 'a newcomer is known to all after'),
    rule(5),
  ];
  const say = (line: string): void => {
    lines.push(line);
    tell(line);
  };
  for (const members of sizes) {
    const { messagesPerSecond, bytesPerSecond } = trafficAtRest(members, 1, quick ? 60 : 600);
    say(
      row(members, messagesPerSecond.toFixed(2), Math.round(bytesPerSecond), 5 * members, seconds(joinMs(members, 1))),
    );
  }
  lines.push(
    '',
    '## A crash',
    '',
    'From the crash until somebody suspects it, until the first takes it for dead, until the last does: means of five crashes, and the slowest of them. The time between the first two is the time that the suspected',
    'has to object, 4 s times log10(N) when others confirm.',
    '',
    row('members', 'loss', 'suspected', 'dead to the first', 'dead to all', 'slowest'),
    rule(6),
  );
  for (const members of crashSizes) {
    for (const loss of [0, 0.2]) {
      const { suspectedMs, firstMs, allMs, worstAllMs } = crashTimes(members, 2, { loss, crashes: quick ? 1 : 5 });
      say(row(members, `${100 * loss} %`, seconds(suspectedMs), seconds(firstMs), seconds(allMs), seconds(worstAllMs)));
    }
  }
  lines.push(
    '',
    '## What is said wrongly',
    '',
    'Two minutes of trouble, then one of peace. Well members that somebody took for dead at least once; pairs of such a member and one who believed it; members of which somebody believes it at the end. Stalls: of a hundred members 16 stand',
    'still for half to one and a half times the given time, run for 1 to 11 ms, and stand still again; that these are taken for dead is hardly wrong and counted apart. Plain: SWIM without Lifeguard and without patience after a stall.',
    '',
    row(
      'members',
      'trouble',
      'machine',
      'well members taken for dead',
      'beliefs',
      'believed at the end',
      'stalled members taken for dead',
    ),
    rule(7),
  );
  const troubles = [
    { members: 100, text: '20 % loss', trouble: { loss: 0.2 } },
    { members: 100, text: '30 % loss', trouble: { loss: 0.3 } },
    { members: 100, text: '16 stalled for 2 s', trouble: { stalled: 16, stallMs: 2_000 } },
    { members: 100, text: '16 stalled for 8 s', trouble: { stalled: 16, stallMs: 8_000 } },
    { members: 1000, text: '20 % loss', trouble: { loss: 0.2 } },
  ];
  for (const { members, text, trouble } of quick ? [] : troubles) {
    for (const lifeguard of [true, false]) {
      const { victims, beliefs, remaining, stalledThoughtDead } = falsehoods(members, 3, trouble, { lifeguard });
      say(row(members, text, lifeguard ? 'Lifeguard' : 'plain', victims, beliefs, remaining, stalledThoughtDead));
    }
  }
  return `${lines.join('\n')}\n`;
}

/** `--swim [--quick] [--output FILE]`. Returns the exit code. */
export function swimCommand(words: readonly string[]): number {
  let output: string | null = null;
  let quick = false;
  for (let at = 0; at < words.length; at += 1) {
    if (words[at] === '--quick') quick = true;
    else if (words[at] === '--output' && words[at + 1] !== undefined) {
      at += 1;
      output = words[at]!;
    } else {
      console.error(`unknown: ${words[at]}. Usage: npm run sim -- --swim [--quick] [--output FILE]`);
      return 2;
    }
  }
  const report = swimReport(quick, (line) => console.log(line));
  if (output !== null) writeFileSync(output, report);
  return 0;
}
