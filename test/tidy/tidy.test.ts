import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { arrowViolations, cycles, impurities } from './rules.ts';
import { blank, parseSource, readSources } from './source.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

describe('the tree', () => {
  const files = readSources(root);

  test('imports follow the arrows', () => assert.deepEqual(arrowViolations(files), []));
  test('has no import cycle', () => assert.deepEqual(cycles(files), []));
  test('pure folders are pure', () => assert.deepEqual(impurities(files), []));

  test('every relative import names a file that exists', () => {
    const missing = files.flatMap((file) =>
      file.imports
        .filter((target) => target.startsWith('src/') && !existsSync(join(root, target)))
        .map((target) => `${file.path} -> ${target}`),
    );
    assert.deepEqual(missing, []);
  });

  test('the install stays under 45 packages', () => {
    const lock: unknown = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
    assert.ok(typeof lock === 'object' && lock !== null && 'packages' in lock);
    const packages = Object.entries(lock.packages as Record<string, { dev?: boolean; optional?: boolean }>);
    const runtime = packages.filter(([path, entry]) => path !== '' && entry.dev !== true);
    assert.ok(runtime.length < 45, `${runtime.length} packages: ${runtime.map(([path]) => path).join(', ')}`);
  });

  test('no test is singled out or skipped by hand', () => {
    const names = execFileSync('git', ['ls-files', '*.test.ts'], { cwd: root, encoding: 'utf8' }).trim().split('\n');
    const bad = names.filter(
      (name) =>
        existsSync(join(root, name)) &&
        /\b(?:test|it|describe)\.(?:only|skip|todo)\b/.test(blank(readFileSync(join(root, name), 'utf8'), true)),
    );
    assert.deepEqual(bad, []);
  });
});

describe('the rules see a broken tree', () => {
  test('an arrow against the table', () => {
    const file = parseSource('src/engine/store.ts', "import type { Node } from '../node/node.ts';\n");
    assert.match(arrowViolations([file]).join(), /"engine" may not import "node"/);
  });

  test('cache reaching into the server, and stores into the engine outside the embedded one', () => {
    const cache = parseSource('src/cache/cache.ts', "export { startServer } from '../server/serve.ts';");
    const store = parseSource('src/stores/ring.ts', "const engine = await import('../engine/store.ts');");
    const embedded = parseSource('src/stores/embedded.ts', "import { Store } from '../engine/store.ts';");
    assert.equal(arrowViolations([cache]).length, 1);
    assert.equal(arrowViolations([store]).length, 1);
    assert.equal(arrowViolations([embedded]).length, 0);
  });

  test('a folder nobody has thought about, and a reach outside src/', () => {
    assert.match(arrowViolations([parseSource('src/utils/misc.ts', '')]).join(), /no row in the table/);
    const reach = parseSource('src/base/x.ts', "import { y } from '../../test/y.ts';");
    assert.match(arrowViolations([reach]).join(), /outside src/);
  });

  test('a cycle of three files', () => {
    const files = [
      parseSource('src/base/a.ts', "import './b.ts';"),
      parseSource('src/base/b.ts', "import { c } from './c.ts';"),
      parseSource('src/base/c.ts', "export * from './a.ts';"),
    ];
    assert.deepEqual(cycles(files), ['src/base/a.ts -> src/base/b.ts -> src/base/c.ts -> src/base/a.ts']);
  });

  test('time, chance, promises and node: modules in a pure folder', () => {
    const bad = [
      'const t = Date.now();',
      'const r = Math.random();',
      'setTimeout(f, 1);',
      'async function f() {}',
      'new Promise(() => {});',
      'console.log(1);',
      'process.exit(1);',
      'Buffer.alloc(1);',
      'const s = `${performance.now()}`;',
      "import { join } from 'node:path';",
      "import { z } from 'zod';",
    ];
    for (const line of bad) {
      for (const folder of ['engine', 'freshness', 'resp', 'wire', 'commands', 'cluster', 'node']) {
        assert.notDeepEqual(impurities([parseSource(`src/${folder}/x.ts`, line)]), [], `${folder}: ${line}`);
      }
    }
  });

  test('but not words in comments, strings and regular expressions', () => {
    const fine = [
      '// Date.now() would be wrong here, Math.random too',
      '/* a Promise\n of process.exit */',
      "const text = 'await Date.now()';",
      'const text = `no Buffer here`;',
      'const pattern = /Date|Promise/;',
      'const half = total / 2; // console',
      'const update = now;',
    ];
    for (const line of fine) assert.deepEqual(impurities([parseSource('src/engine/x.ts', line)]), [], line);
    assert.deepEqual(impurities([parseSource('src/server/x.ts', 'Date.now();')]), []);
  });
});
