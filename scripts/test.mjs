// Runs the tests: every *.test.ts under src/ and test/ with node's own runner. Node.js 20 expands no globs, so the list
// is made here. `npm test -- engine wire` runs the files whose path contains one of the words.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Of a file and of each test in it: what waits for ever fails, and names itself. The slowest file takes about a minute on a quiet machine. A file whose
 * tests have ended and that does not is ended sooner (test-end.mjs).
 */
const TIMEOUT_MS = 600_000;

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const words = process.argv.slice(2).filter((word) => !word.startsWith('-'));
const flags = process.argv.slice(2).filter((word) => word.startsWith('-'));
const files = ['src', 'test']
  .flatMap((folder) => readdirSync(join(root, folder), { recursive: true, withFileTypes: true }))
  .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
  .map((entry) => relative(root, join(entry.parentPath, entry.name)))
  .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
  .sort();

if (files.length === 0) {
  console.error(`no test file matches: ${words.join(' ')}`);
  process.exit(1);
}

/**
 * Folders whose tests have no time, sockets or processes in them: a failure there is a fault, whatever the machine did meanwhile. All other files drive real
 * servers, clients and processes against the clock. One of those that fails is run once more, by itself; when it passes then, it is named as unstable and the run goes on as
 * passed: a machine that stood still for seconds is no reason to throw a change away, and the name is there for whoever mends the test.
 */
const DETERMINISTIC = ['base', 'cluster', 'commands', 'engine', 'freshness', 'hash', 'node', 'resp', 'wire'].map(
  (folder) => `src/${folder}/`,
);
DETERMINISTIC.push('test/model/', 'test/sim/', 'test/tidy/');
/** More files than this at once are no accident. */
const MOST_AGAIN = 3;

const scratch = mkdtempSync(join(tmpdir(), 'breakwater-test-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));
let child = null;
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child?.kill(signal));

/** Resolves to the exit status, and to what failed as `{ file, name, line, error }`. */
async function run(some, flags, concurrency) {
  const list = join(scratch, `${randomUUID()}.jsonl`);
  const shown = flags.some((flag) => flag.startsWith('--test-reporter'))
    ? []
    : reporter(process.stdout.isTTY ? 'spec' : 'tap', 'stdout');
  const own = reporter(new URL('test-failures.mjs', import.meta.url).href, list);
  child = spawn(
    process.execPath,
    [
      '--import',
      'tsx',
      '--import',
      new URL('test-end.mjs', import.meta.url).href,
      '--test',
      `--test-concurrency=${concurrency}`,
      `--test-timeout=${TIMEOUT_MS}`,
      ...flags,
      ...shown,
      ...(shown.length > 0 ? own : []),
      ...some,
    ],
    { cwd: root, stdio: 'inherit' },
  );
  const [code, signal] = await once(child, 'exit');
  let text = '';
  try {
    text = readFileSync(list, 'utf8');
  } catch {
    // Flags of the caller's own reporters, or a runner that died before it wrote: the status says that it failed.
  }
  const failed = text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line)]));
  return { status: signal !== null ? 1 : (code ?? 1), signal, failed };
}

function reporter(name, destination) {
  return [`--test-reporter=${name}`, `--test-reporter-destination=${destination}`];
}

function tell(title, failed) {
  console.log(`\n== ${title}`);
  for (const { file, name, line, error } of failed)
    console.log(`${file}:${line} ${name}\n${error.replace(/^/gm, '    ')}`);
}

const first = await run(files, flags, availableParallelism());
if (first.status === 0 || first.signal !== null || first.failed.length === 0) process.exit(first.status);
tell('failed', first.failed);
const again = [...new Set(first.failed.map(({ file }) => file))];
const isFault = again.some((file) => !files.includes(file) || DETERMINISTIC.some((folder) => file.startsWith(folder)));
if (isFault || again.length > MOST_AGAIN) process.exit(first.status);
console.log(`\n== once more, alone: ${again.join(' ')}`);
const second = await run(again, flags, 1);
if (second.status === 0)
  tell('unstable: failed above, passed alone. Not a reason to refuse a change, but a test to mend', first.failed);
else tell('failed twice', second.failed);
process.exit(second.status);
