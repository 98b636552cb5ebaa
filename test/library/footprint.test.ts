/** What importing the library costs and where it refuses to run. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const library = pathToFileURL(join(root, 'src/cache/index.ts')).href;
const run = promisify(execFile);

const folder = mkdtempSync(join(tmpdir(), 'breakwater-library-'));
after(() => rmSync(folder, { recursive: true }));
let programs = 0;

/** Runs a program with the library's URL in `library`; resolves with what it printed. */
async function program(code: string): Promise<string> {
  programs += 1;
  const file = join(folder, `program-${programs}.mjs`);
  writeFileSync(file, `const library = ${JSON.stringify(library)};\n${code}`);
  const { stdout } = await run(process.execPath, ['--import', 'tsx', file], { cwd: root, timeout: 300_000 });
  return stdout.trim();
}

test('importing and using the library loads no package at all', async () => {
  // Recorded by a loader hook of Node's own, from the inside: what was really asked for, transitively.
  const hook = `
    import { writeSync } from 'node:fs';
    export async function resolve(specifier, context, next) {
      const found = await next(specifier, context);
      writeSync(1, found.url + '\\n');
      return found;
    }`;
  const out = await program(`
    import { register } from 'node:module';
    register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(hook)}));
    const { createBreakwater } = await import(library);
    const bw = createBreakwater();
    await bw.cache('x', { load: async (ids) => ids }).get('1');
    await bw.close();
    const far = createBreakwater({ store: 'breakwater://127.0.0.1:1' });
    await far.close();`);
  const loaded = out.split('\n').filter((line) => line.startsWith('file:') || line.startsWith('node:'));
  assert.ok(
    loaded.some((url) => url.endsWith('/src/cache/flights.ts')),
    `the hook saw the library:\n${out}`,
  );
  assert.deepEqual(
    loaded.filter((url) => url.includes('/node_modules/')),
    [],
  );
  assert.deepEqual(
    loaded.filter((url) => /\/src\/(?:server|node|commands|cli|cluster|dashboard)\//.test(url)),
    [],
  );
});

test('embedded is refused in a worker thread and in a cluster worker, unless allowed', async () => {
  const file = join(folder, 'worker.mjs');
  writeFileSync(
    file,
    `import { parentPort } from 'node:worker_threads';
    import { register } from ${JSON.stringify(import.meta.resolve('tsx/esm/api'))};
    register(); // --import does not reach into worker threads on Node.js 20
    const { createBreakwater } = await import(${JSON.stringify(library)});
    const codeOf = (options) => {
      try {
        createBreakwater(options).close();
        return 'opened';
      } catch (error) {
        return error.code;
      }
    };
    const codes = codeOf({}) + ' ' + codeOf({ allowInWorkers: true }) + ' ' + codeOf({ store: 'breakwater://127.0.0.1:1' });
    if (parentPort) parentPort.postMessage(codes);
    else process.send(codes, () => process.exit());`,
  );
  const thread = program(`
    import { Worker } from 'node:worker_threads';
    new Worker(${JSON.stringify(file)}).on('message', (codes) => console.log(codes));`);
  const worker = program(`
    import cluster from 'node:cluster';
    cluster.setupPrimary({ exec: ${JSON.stringify(file)} });
    cluster.fork().on('message', (codes) => console.log(codes));`);
  assert.equal(await thread, 'CACHE_EMBEDDED_IN_WORKER opened opened');
  assert.equal(await worker, 'CACHE_EMBEDDED_IN_WORKER opened opened');
});

test('a program that forgets to close the embedded store still ends', async () => {
  const out = await program(`
    const { createBreakwater } = await import(library);
    const cache = createBreakwater().cache('x', { load: async (ids) => ids });
    console.log(await cache.get('1'));`);
  assert.equal(out, '1');
});
