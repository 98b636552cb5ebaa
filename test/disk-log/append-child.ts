/**
 * A process that appends for ever, and says on its output what was acknowledged; to be killed. Arguments: directory, writers.
 */
import { writeSync } from 'node:fs';
import { DiskLog } from '../../src/disk-log/log.ts';

const [, , directory, writers] = process.argv;
const log = await DiskLog.open(directory!, { segmentBytes: 64 * 1024 });
let lines: string[] = [];
setInterval(() => {
  if (lines.length === 0) return;
  const out = `${lines.join('\n')}\n`;
  lines = [];
  writeSync(1, out);
}, 2);
let number = 0;
for (let i = 0; i < Number(writers); i += 1) {
  void (async () => {
    for (;;) {
      number += 1;
      const text = `${process.pid}-${number}`;
      const position = await log.append(new TextEncoder().encode(text.padEnd(50 + (number % 200))));
      lines.push(`${position} ${text}`);
    }
  })();
}
