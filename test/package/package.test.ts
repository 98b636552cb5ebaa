/**
 * What `npm install breakwater` would bring, used from a project of its own: every entry of `exports` is imported by its name, its types resolve, the
 * command runs, and nothing but the declared dependencies is within reach.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  readonly name: string;
  readonly version: string;
  readonly exports: Readonly<Record<string, unknown>>;
};
const entries = Object.entries(manifest.exports)
  .filter(([, target]) => typeof target === 'object')
  .map(([subpath]) => (subpath === '.' ? 'breakwater' : `breakwater/${subpath.slice(2)}`));

const project = mkdtempSync(join(tmpdir(), 'breakwater-package-'));
const installed = join(project, 'node_modules/breakwater');

before(async () => {
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', project], { cwd: root });
  // The build that `prepack` runs may print before the list.
  const [{ filename }] = JSON.parse(stdout.slice(stdout.indexOf('[\n'))) as [{ filename: string }];
  mkdirSync(installed, { recursive: true });
  await run('tar', ['-xzf', join(project, filename), '-C', installed, '--strip-components=1']);
  await linkDependencies();
});
after(() => rmSync(project, { recursive: true }));

/** The packages that an installation without development dependencies would have, where Node.js looks for them. */
async function linkDependencies(): Promise<void> {
  const { stdout } = await run('npm', ['ls', '--all', '--omit=dev', '--parseable'], { cwd: root });
  const at = `${join(root, 'node_modules')}/`;
  for (const path of stdout.trim().split('\n')) {
    if (!path.startsWith(at)) continue;
    const name = path.slice(at.length);
    // A package of our own name that was once tried out there is not what is tested.
    if (name.includes('node_modules') || name === manifest.name) continue;
    const link = join(project, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(path, link);
  }
}

test('every entry can be imported by its name', async () => {
  writeFileSync(join(project, 'package.json'), '{"type":"module"}');
  const script = entries.map((entry) => `console.log(Object.keys(await import('${entry}')).length > 0);`).join('\n');
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { cwd: project });
  assert.equal(stdout, 'true\n'.repeat(entries.length));
});

test('a program of its own: a value is loaded, cached and invalidated', async () => {
  const script = `
    import { createBreakwater } from 'breakwater';
    let loads = 0;
    const bw = createBreakwater();
    const rows = bw.cache('row', { load: async (ids) => { loads += 1; return ids.map((id) => ({ id })); } });
    await rows.get('1'); await rows.get('1'); await rows.delete('1'); await rows.get('1');
    console.log(loads);
    await bw.close();`;
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { cwd: project });
  assert.equal(stdout, '2\n');
});

test('CommonJS: require gives the same module, where the runtime can, or says what to do', async () => {
  const script = `
    const told = [];
    try { told.push(typeof require('breakwater').createBreakwater); } catch (error) { told.push(error.code); }
    import('breakwater').then(({ createBreakwater }) => console.log(told[0], typeof createBreakwater));`;
  const flags = process.allowedNodeEnvironmentFlags.has('--experimental-require-module');
  const { stdout } = await run(process.execPath, ['--input-type=commonjs', '-e', script], { cwd: project });
  assert.equal(stdout, `${flags ? 'function' : 'ERR_REQUIRE_ESM'} function\n`);
});

test('types resolve as NodeNext resolves them, without skipLibCheck', async () => {
  const imports = entries.map((entry, index) => `import * as e${index} from '${entry}';\nexport { e${index} };`);
  const file = `${imports.join('\n')}
import { createBreakwater, type Cache } from 'breakwater';
const bw = createBreakwater({ store: 'embedded' });
export const cache: Cache<string, { n: number }> = bw.cache<{ n: number }>('x', { load: async (ids) => ids.map(() => ({ n: 1 })) });
// @ts-expect-error a declared cache has types: text is no number
export const wrong: string | null = await cache.get('1').then((row) => row?.n ?? null);

interface User { readonly id: string; readonly org?: string; readonly born: Date; name(): string }
declare const database: { users(ids: readonly string[], options: { signal: AbortSignal }): Promise<User[]> };
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <T extends true>(): T | undefined => undefined;
type Answer = { readonly id: string; readonly org?: string; readonly born: string };
// Nothing is said of the types: all follow from the loader.
const users = bw.cache('user', {
  load: (ids, { signal }) => database.users(ids, { signal }),
  tags: (user) => [\`org:\${user.org}\`],
});
same<Same<Awaited<ReturnType<typeof users.get>>, Answer | null>>();
same<Same<Awaited<ReturnType<typeof users.getMany>>, Map<string, Answer | null>>>();
const written = await users.write('1', async () => 7);
same<Same<typeof written.result, number>>();
declare const maybe: AbortSignal | undefined;
await users.get('1', { signal: maybe, after: written.token });
const packed = bw.cache('packed', { codec: 'msgpack', load: (ids, { signal }) => database.users(ids, { signal }) });
export const born: Date | undefined = (await packed.get('1'))?.born;
const some = bw.cache('some', { load: async (ids) => new Map(ids.map((id) => [id, { n: 1 }])), ids: /^\\d+$/ });
export const n: number | undefined = (await some.get('1'))?.n;
`;
  writeFileSync(join(project, 'index.ts'), file);
  symlinkSync(join(root, 'node_modules/@types'), join(project, 'node_modules/@types'));
  const tsc = join(root, 'node_modules/@typescript/native/bin/tsc');
  const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2023', '--types', 'node', 'index.ts'];
  for (const more of [[], ['--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess', '--isolatedModules']]) {
    const { stdout } = await run(process.execPath, [tsc, ...options, ...more], { cwd: project }).catch(
      (error) => error,
    );
    assert.equal(stdout, '');
  }
});

test('the command runs', async () => {
  const { stdout } = await run(process.execPath, [join(installed, 'dist/cli/main.js'), '--version'], { cwd: project });
  assert.ok(stdout.includes(manifest.version), stdout);
});
