// A reporter for node's runner: what failed, and in which file, as lines of JSON. scripts/test.mjs reads them back, to say at the end of a long output what went wrong.
import { relative } from 'node:path';
import { inspect } from 'node:util';

export default async function* failures(source) {
  for await (const { type, data } of source) {
    if (type !== 'test:fail' || data.todo || data.skip) continue;
    const { error } = data.details;
    // A suite fails because of a test within it, which has its own line.
    if (error?.failureType === 'subtestsFailed') continue;
    const file = relative(process.cwd(), data.file ?? data.name);
    yield `${JSON.stringify({ file, name: data.name, line: data.line ?? 0, error: inspect(error?.cause ?? error, { depth: 4 }) })}\n`;
  }
}
