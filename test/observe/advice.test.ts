/** Each piece of advice: a configuration that gets it, beside one that does not. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { SeededRandom } from '../../src/base/random.ts';
import { drainPromises, ManualScheduler } from '../../src/base/scheduler.ts';
import { SILENT } from '../../src/cache/advice/advisor.ts';
import { ADVICE_RULES, type OpenedFacts, QUEUE_RULES } from '../../src/cache/advice/rules.ts';
import { Breakwater, type BreakwaterParts } from '../../src/cache/breakwater.ts';
import { createBreakwater } from '../../src/cache/create.ts';
import type { SharedCacheOptions } from '../../src/cache/types.ts';
import type { StoreFeed } from '../../src/stores/feed.ts';
import type { CacheStore, StoreFacts } from '../../src/stores/store.ts';
import { embeddedTruth, SlowStore } from '../library/support.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const run = promisify(execFile);
const load = (ids: readonly string[]): readonly string[] => ids;
const mentioned = new Set<string>();

interface World {
  readonly place?: Partial<Pick<OpenedFacts, 'severalProcesses' | 'plaintextHost'>>;
  readonly parts?: Partial<BreakwaterParts>;
  readonly shared?: boolean;
  readonly feed?: boolean;
  readonly facts?: Partial<StoreFacts>;
}

function open({ place = {}, parts = {}, shared = false, feed = false, facts }: World): Breakwater {
  const scheduler = new ManualScheduler();
  let store: CacheStore = embeddedTruth(scheduler);
  if (shared || feed || facts !== undefined) {
    const slow = new SlowStore(store);
    slow.direct = true;
    store = slow;
    const deaf: Partial<StoreFeed> = { follow: () => undefined, listen: () => undefined };
    const told = {
      evictionPolicy: 'volatile-lru',
      memoryBytes: 1,
      replicas: 0,
      replicasAreStated: false,
      keysWithoutTtl: 0,
    };
    if (feed) Object.assign(store, { feed: deaf });
    if (facts !== undefined) Object.assign(store, { facts: () => Promise.resolve({ ...told, ...facts }) });
  }
  return new Breakwater({
    store,
    ports: { clock: scheduler.clock, scheduler, random: new SeededRandom(3) },
    defaults: {},
    readTimeoutMs: 250,
    writeTimeoutMs: 2_000,
    place: { severalProcesses: null, plaintextHost: null, ...place },
    ...parts,
  });
}

async function codes(world: World, cache?: SharedCacheOptions & { schema?: never }): Promise<string[]> {
  const bw = open(world);
  const told: string[] = [];
  bw.on('advice', ({ code }) => told.push(code));
  if (cache !== undefined) await bw.cache('row', { load, ...cache }).get('1');
  await drainPromises();
  const given = bw.advice().map(({ code }) => code);
  assert.deepEqual(told, given, 'who listens hears what is listed');
  await bw.close();
  return given;
}

/** `unwise` gets the code, `wise` does not. */
function advises(code: string, unwise: () => Promise<string[]>, wise: () => Promise<string[]>): void {
  mentioned.add(code);
  test(code, async () => {
    assert.ok((await unwise()).includes(code), 'the unwise one is told');
    assert.ok(!(await wise()).includes(code), 'the wise one is not');
  });
}

const of =
  (cache: SharedCacheOptions, world: World = {}) =>
  () =>
    codes(world, cache);
const opened = (world: World) => () => codes(world);
const timeouts = (readTimeoutMs: number, writeTimeoutMs: number): World => ({
  parts: { readTimeoutMs, writeTimeoutMs },
});
const server = (facts: Partial<StoreFacts>) => of({}, { facts });

describe('advice', () => {
  advises('ADVICE_WRITE_TIMEOUT_SHORT', opened(timeouts(250, 100)), opened(timeouts(250, 250)));
  advises(
    'ADVICE_EMBEDDED_IN_SEVERAL_PROCESSES',
    opened({ place: { severalProcesses: 'a cluster worker' } }),
    opened({ place: { severalProcesses: 'a cluster worker' }, shared: true }),
  );
  advises('ADVICE_PLAINTEXT_PASSWORD', opened({ place: { plaintextHost: '10.0.0.1' } }), opened({}));
  advises('ADVICE_TTL_LONG', of({ ttl: '8d' }), of({ ttl: '7d' }));
  advises('ADVICE_GRACE_SHORT', of({ ttl: '10m', grace: '1m' }), of({ ttl: '10m', grace: '10m' }));
  advises('ADVICE_NEGATIVE_TTL_LONG', of({ ttl: '1m', negativeTtl: '2m' }), of({ ttl: '1s' }));
  advises('ADVICE_JITTER_ZERO', of({ jitter: 0 }), of({ jitter: 0, early: 'xfetch' }));
  advises(
    'ADVICE_L1_WITHOUT_FEED',
    of({ l1: { ttl: '2m' } }, { shared: true }),
    of({ l1: { ttl: '5s' } }, { shared: true }),
  );
  advises(
    'ADVICE_STALENESS_OFF',
    of({ l1: { ttl: '5s' } }, { feed: true, parts: { stalenessMs: null } }),
    of({ l1: { ttl: '5s' } }, { feed: true, parts: { stalenessMs: 250 } }),
  );
  advises('ADVICE_CONCURRENCY_HIGH', of({ guard: { concurrency: 101 } }), of({ guard: { concurrency: 100 } }));
  advises('ADVICE_NO_SCHEMA', of({}, { shared: true }), of({}));
  advises(
    'ADVICE_REDIS_NOEVICTION',
    server({ evictionPolicy: 'noeviction' }),
    server({ evictionPolicy: 'noeviction', memoryBytes: 0 }),
  );
  advises('ADVICE_REDIS_EVICTS_TABLES', server({ evictionPolicy: 'allkeys-lru' }), server({}));
  advises('ADVICE_REDIS_VOLATILE_SHARED', server({ keysWithoutTtl: 1_000 }), server({ keysWithoutTtl: 17 }));
  advises('ADVICE_REDIS_NO_MAXMEMORY', server({ memoryBytes: 0 }), server({}));
  advises('ADVICE_REPLICAS_UNKNOWN', server({ replicas: 1 }), server({ replicas: 1, replicasAreStated: true }));

  for (const { code, found } of QUEUE_RULES) {
    mentioned.add(code);
    test(`${code}: said of a queue whose server does not keep it, and not of one that does`, () => {
      const facts = { appendOnly: true, appendFsync: 'always', evictionPolicy: null, maxMemoryBytes: null };
      assert.equal(found(facts), null);
      const bad = code === 'ADVICE_QUEUE_FSYNC' ? { appendFsync: 'everysec' } : { appendOnly: false };
      assert.match(found({ ...facts, ...bad }) ?? '', /^append(?:only|fsync) is /);
      assert.equal(found({ ...facts, appendOnly: null, appendFsync: null }) !== null, code === 'ADVICE_QUEUE_NOT_KEPT');
    });
  }
  mentioned.add('ADVICE_GUARDS_ADD_UP');
  test('ADVICE_GUARDS_ADD_UP: once, at the fourth cache with a guard of its own', async () => {
    const bw = open({});
    const shared = bw.source('pg');
    for (let i = 0; i < 6; i += 1) bw.cache(`shared-${i}`, { load, guard: shared });
    assert.deepEqual(bw.advice(), []);
    for (let i = 0; i < 6; i += 1) bw.cache(`own-${i}`, { load });
    assert.deepEqual(
      bw.advice().map(({ code, about }) => [code, about]),
      [['ADVICE_GUARDS_ADD_UP', 'cache "own-3"']],
    );
    await bw.close();
  });

  test('the defaults get none, and every code has a test above and a line in the docs', async () => {
    assert.deepEqual(await codes({}, {}), []);
    assert.deepEqual([...mentioned].sort(), ADVICE_RULES.map(({ code }) => code).sort());
    const docs = readFileSync(join(root, 'docs/advice.md'), 'utf8');
    for (const { code } of ADVICE_RULES) assert.ok(docs.includes(`| \`${code}\` |`), code);
  });

  test('the message says what, why and what to do; silencing leaves it out', async () => {
    const cache = { ttl: '10m', grace: '1m' } as const;
    const loud = open({});
    loud.cache('row', { load, ...cache });
    const [one] = loud.advice();
    assert.match(
      one!.message,
      /^cache "row": grace is 60 s, ttl 600 s: grace bridges an outage .*; make it as long as/,
    );
    const silenced = new Set(['ADVICE_GRACE_SHORT']);
    assert.deepEqual(await codes({ parts: { advisor: { ...SILENT, silenced } } }, cache), []);
    assert.throws(() => createBreakwater({ advice: { silence: ['ADVICE_NO'] } }), { code: 'CACHE_OPTION_INVALID' });
    await loud.close();
  });
});

describe('createBreakwater', () => {
  const warned = async (code: string, env: Record<string, string> = {}): Promise<string[]> => {
    const program = `import { createBreakwater } from './src/cache/index.ts';
      process.removeAllListeners('warning');
      process.on('warning', (warning) => console.log(warning.name, warning.code));
      ${code}`;
    const args = ['--import', 'tsx', '--input-type=module', '-e', program];
    const { stdout } = await run(process.execPath, args, { cwd: root, env: { ...process.env, ...env } });
    return stdout.trim().split('\n').filter(Boolean);
  };

  test('warnings are said once a process, hints not at all; nothing with advice: false', async () => {
    const declare = `bw.cache('row', { load: (ids) => ids, ttl: '30d', jitter: 0 }); await bw.close();`;
    const twice = `for (let i = 0; i < 2; i += 1) { const bw = createBreakwater(); ${declare} }`;
    const [loud, silent] = await Promise.all([
      warned(twice),
      warned(`const bw = createBreakwater({ advice: false }); ${declare}`),
    ]);
    assert.deepEqual(loud, ['BreakwaterAdvice ADVICE_TTL_LONG']);
    assert.deepEqual(silent, []);
  });

  test('it knows several processes by their environment, and a password that goes out in plain text', async () => {
    const [several, plain] = await Promise.all([
      warned('await createBreakwater().close();', { WEB_CONCURRENCY: '4' }),
      warned(`for (const at of ['10.0.0.1', '127.0.0.1:6379', 'localhost', '[::1]:1']) await createBreakwater({ store: 'redis://u:p@' + at }).close();
        await createBreakwater({ store: 'rediss://u:p@10.0.0.2' }).close();`),
    ]);
    assert.deepEqual(several, ['BreakwaterAdvice ADVICE_EMBEDDED_IN_SEVERAL_PROCESSES']);
    assert.deepEqual(plain, ['BreakwaterAdvice ADVICE_PLAINTEXT_PASSWORD']);
  });

  test('a real server is asked after the first read', requires('redis-server'), async () => {
    const redis = await RedisServer.start(['--maxmemory', '50mb', '--maxmemory-policy', 'noeviction']);
    const bw = createBreakwater({
      store: `redis://127.0.0.1:${redis.port}`,
      advice: false,
      readTimeout: '30s',
      writeTimeout: '30s',
    });
    try {
      const told = new Promise((resolve) => bw.on('advice', ({ code }) => code.includes('REDIS') && resolve(code)));
      await bw.cache('row', { load }).get('1');
      assert.equal(await told, 'ADVICE_REDIS_NOEVICTION');
      const facts = bw.advice().find(({ code }) => code === 'ADVICE_REDIS_NOEVICTION');
      assert.match(facts!.message, /^store redis: maxmemory-policy is noeviction/);
    } finally {
      await bw.close();
      await redis.close();
    }
  });
});
