/** `npm run sim -- --scale 3,6,12`: clusters of so many members, measured one after the other; as lines, and as JSON for `--scale-plot`. */
import { writeFileSync } from 'node:fs';
import { isRangeCount } from '../../src/cluster/ranges.ts';
import { measureScale, type ScaleResult } from './measure.ts';

const USAGE = 'Usage: npm run sim -- --scale N[,N...] [--seed S] [--ranges R] [--output FILE.json]';

/** Returns the exit code. */
export function scaleCommand(words: readonly string[]): number {
  const sizes = (words[0] ?? '').split(',').map(Number);
  if (!sizes.every((size) => Number.isInteger(size) && size >= 3 && size <= 2000)) {
    console.error(`cannot read the numbers of members: each from 3 to 2000, received ${words[0]}. ${USAGE}`);
    return 2;
  }
  let seed = 1;
  let ranges: number | undefined;
  let output: string | null = null;
  for (let at = 1; at < words.length; at += 2) {
    const value = words[at + 1];
    if (words[at] === '--seed' && Number.isInteger(Number(value))) seed = Number(value);
    else if (words[at] === '--ranges' && isRangeCount(Number(value))) ranges = Number(value);
    else if (words[at] === '--output' && value !== undefined) output = value;
    else {
      console.error(`cannot read ${words[at]} ${value ?? ''}. ${USAGE}`);
      return 2;
    }
  }
  const results: ScaleResult[] = [];
  for (const members of sizes) {
    const startMs = performance.now();
    console.log(`${members} members`);
    const result = measureScale(members, seed, (line) => console.log(`  ${line}`), ranges);
    results.push(result);
    const page = { date: new Date().toISOString().slice(0, 10), node: process.version, results };
    if (output === null) console.log(JSON.stringify(result, null, 1));
    else writeFileSync(output, `${JSON.stringify(page, null, 1)}\n`);
    console.log(
      `  ${(result.simulatedMs / 1000).toFixed(1)} s simulated in ${((performance.now() - startMs) / 1000).toFixed(1)} s`,
    );
  }
  return 0;
}
