/** What is said of configurations that are wrong: golden lines, because they are read by people in a hurry. And that nothing secret is among them. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { BreakwaterError } from '../../src/base/errors.ts';
import { checkGateway } from '../../src/gateway/check.ts';
import { interpolate } from '../../src/gateway/config/environment.ts';
import { GatewayConfigError } from '../../src/gateway/config/problems.ts';
import { type GatewayConfig, readConfig } from '../../src/gateway/config/read.ts';

const GOLDEN = join(dirname(fileURLToPath(import.meta.url)), 'broken-configs.txt');
const ENVIRONMENT = { SECRET: 'sesame' };

interface Broken {
  readonly title: string;
  readonly yaml: string;
  readonly said: string;
}

const [preamble = '', ...blocks] = readFileSync(GOLDEN, 'utf8').split('\n=== ');
const cases: Broken[] = blocks.map((block) => {
  const [head = '', said = ''] = block.split('--- said\n');
  const end = head.indexOf('\n');
  return { title: head.slice(0, end), yaml: head.slice(end + 1), said: said.trimEnd() };
});

/** What a user is told: by reading the file, or by the library when it is given the options. */
async function saidOf(yaml: string): Promise<string> {
  try {
    await checkGateway(readConfig('b.yaml', yaml, ENVIRONMENT), true);
    return 'nothing';
  } catch (error) {
    if (!(error instanceof GatewayConfigError)) throw error;
    return error.lines.join('\n');
  }
}

describe('broken configurations', () => {
  if (process.env['UPDATE_GOLDEN'] === '1') {
    test('are written anew', async () => {
      const written: string[] = [];
      for (const { title, yaml } of cases) written.push(`\n=== ${title}\n${yaml}--- said\n${await saidOf(yaml)}\n`);
      writeFileSync(GOLDEN, preamble + written.join(''));
    });
    return;
  }

  test('there are many', () => assert.ok(cases.length >= 60, `${cases.length}`));

  for (const { title, yaml, said } of cases) {
    test(title, async () => {
      const now = await saidOf(yaml);
      assert.equal(now, said);
      assert.match(now, /^b\.yaml:\d+:\d+: /);
      assert.doesNotMatch(now, /hush|sesame|hunter2|0123456789abcdef/, 'a secret is shown');
    });
  }
});

const MINIMAL = `
sources:
  main: { postgres: { url: "\${DATABASE_URL}" } }
namespaces:
  product: { source: main, table: shop.product, key: id, columns: [id, org], tags: ["org:{org}"] }
`;

function read(yaml: string, env: Record<string, string> = {}): GatewayConfig {
  return readConfig('b.yaml', yaml, { DATABASE_URL: 'postgres://u:p@h/d', ...env });
}

describe('configurations that are right', () => {
  test('the least that is needed, and its defaults', () => {
    const config = read(MINIMAL);
    assert.deepEqual(config.listen, {
      host: '127.0.0.1',
      port: 8380,
      hosts: [],
      tls: null,
      maxClients: 10_000,
      maxValueBytes: 8 * 1024 ** 2,
      clientMemoryBytes: 256 * 1024 ** 2,
      stallTimeoutMs: 30_000,
    });
    assert.equal(config.access, 'open');
    assert.equal(config.sources.get('main')?.postgres?.url, 'postgres://u:p@h/d');
    assert.deepEqual(config.warnings, []);
  });

  test('variables, their defaults, aliases, numbers and booleans as text', () => {
    const config = read(
      `x-long: &long 1h\nlisten: { port: "\${PORT:-0}", maxValue: "\${MAX}" }\ndefaults: { ttl: *long, grace: *long, jitter: "0.25", staleWhileReload: "false" }\n${MINIMAL}`,
      { MAX: '1mb' },
    );
    assert.deepEqual([config.listen.port, config.listen.maxValueBytes], [0, 1024 ** 2]);
    assert.deepEqual(config.defaults, { ttl: 3_600_000, grace: 3_600_000, jitter: 0.25, staleWhileReload: false });
  });

  test('what a variable holds never becomes structure', () => {
    const config = read(MINIMAL, { DATABASE_URL: 'postgres://u:"}]}@h/d' });
    assert.equal(config.sources.get('main')?.postgres?.url, 'postgres://u:"}]}@h/d');
  });

  test('what works and deserves a look is warned about', () => {
    assert.match(read(`listen: { host: 0.0.0.0 }\naccess: open\n${MINIMAL}`).warnings.join(), /everyone/);
    const tokens = 'access: { tokens: { a: { token: 0123456789abcdef, rights: [read] } } }';
    assert.match(read(`listen: { host: 10.0.0.1 }\n${tokens}\n${MINIMAL}`).warnings.join(), /without tls/);
    const more = MINIMAL.replace('namespaces:', '  spare: { http: { base: "http://api" } }\nnamespaces:');
    assert.match(read(more).warnings.join(), /"spare"/);
  });

  test('pg that is not installed is told of with what to do', async () => {
    const missing = async (): Promise<never> => {
      throw Object.assign(new Error("Cannot find package 'pg'"), { code: 'ERR_MODULE_NOT_FOUND' });
    };
    await assert.rejects(checkGateway(read(MINIMAL), true, missing), (error) => {
      assert.ok(error instanceof BreakwaterError);
      assert.equal(error.code, 'GATEWAY_PG_MISSING');
      assert.match(error.message, /npm install pg/);
      return true;
    });
    const api =
      'sources: { api: { http: { base: "http://api" } } }\nnamespaces: { p: { source: api, path: "/p/{id}" } }';
    assert.deepEqual(await checkGateway(read(api), true, missing), [], 'nobody needs it here');
  });
});

describe('whatever the file holds', () => {
  const leaf = fc.oneof(
    fc.string({ maxLength: 12 }),
    fc.integer(),
    fc.boolean(),
    fc.constantFrom(null, '5m', '${SECRET}', '${X', 'main', 'product', 'none', '*', '8mb', 'open', 'embedded'),
  );
  const name = fc.constantFrom(
    ...['listen', 'port', 'access', 'tokens', 'sources', 'main', 'postgres', 'url', 'namespaces', 'product', 'source'],
    ...[
      'table',
      'key',
      'columns',
      'tags',
      'ttl',
      'store',
      'ring',
      'guard',
      'breaker',
      'l1',
      'defaults',
      '__proto__',
      'x-y',
    ],
  );
  const tree = fc.letrec((tie) => ({
    node: fc.oneof(
      { maxDepth: 5 },
      leaf,
      fc.array(tie('node'), { maxLength: 3 }),
      fc.array(fc.tuple(name, tie('node')), { maxLength: 5 }).map((pairs) => Object.fromEntries(pairs)),
    ),
  })).node;

  test('it is read or refused with positions within it, never anything else', () => {
    fc.assert(
      fc.property(tree, (value) => {
        const text = JSON.stringify(value, null, 1) ?? '';
        try {
          readConfig('b.yaml', text, ENVIRONMENT);
        } catch (error) {
          if (!(error instanceof GatewayConfigError)) throw error;
          const lines = text.split('\n').length;
          for (const { line, column } of error.problems) assert.ok(line >= 1 && line <= lines + 1 && column >= 1);
          assert.doesNotMatch(error.lines.join('\n'), /sesame/);
        }
      }),
      { numRuns: 500 },
    );
  });

  test('any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
        try {
          readConfig('b.yaml', text, {});
        } catch (error) {
          if (!(error instanceof GatewayConfigError)) throw error;
        }
      }),
      { numRuns: 500 },
    );
  });
});

test('variables in text', () => {
  const env = { A: 'one', EMPTY: '' };
  const text = (source: string): string => interpolate(source, env).text;
  assert.equal(text('a ${A} b ${A}'), 'a one b one');
  assert.equal(text('${B:-two} ${EMPTY:-three} ${B:-}'), 'two three ');
  assert.equal(text('$${A} $A $'), '${A} $A $');
  assert.deepEqual(interpolate('${B} ${EMPTY}', env).missing, ['B', 'EMPTY']);
  assert.ok(interpolate('${1}', env).isBroken && interpolate('${', env).isBroken);
  assert.ok(!interpolate('$${', env).isBroken && !interpolate('$${', env).isFromEnvironment);
});
