/**
 * A tag over a million entries, on a real node: what it costs to invalidate it, whether clients feel the dead being reclaimed, and
 * whether memory comes back:
 *
 *     npm run build && node --import tsx bench/engine/tag-million.ts [entries]
 *
 * Generations of entries, alike but for how they die: the first by its TTL, to grow what stays grown; the second by its tag; the third by its TTL. The round trip of an
 * invalidation has a PING beside it, and its server time is measured without a network, in the node machine of this process. Reclaiming is watched through a second
 * connection that pings all the while.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SeededRandom } from '../../src/base/random.ts';
import { freePorts } from '../../src/cli/children/ports.ts';
import { RespClient } from '../../src/client/client.ts';
import { Node } from '../../src/node/node.ts';
import { ReplyMap } from '../../src/resp/reply.ts';
import { RequestWriter } from '../../src/resp/request-writer.ts';
import { ReplyWriter } from '../../src/resp/writer.ts';

const entries = Number(process.argv[2] ?? 1_000_000);
const BATCH = 1_000;
const TTL_MS = 20_000;
const VALUE = 'v'.repeat(100);
/** Every entry carries all of them, so each of them covers all entries. */
const TAGS = ['tag:a', 'tag:b', 'tag:c'];

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** Milliseconds that the node machine takes for one invalidation over all entries, without a socket; medians of as many as there are tags are no medians: all of them. */
function serverTimes(): number[] {
  const machine = new Node({
    memoryBytes: 512 * 1024 ** 2,
    eviction: 'tinylfu',
    random: new SeededRandom(1),
    startMs: 0,
    version: 'bench',
  });
  const session = machine.openSession(0, { address: 'bench', kind: 'internal' });
  const out = new ReplyWriter();
  const requests = new RequestWriter();
  const ask = (command: readonly (string | number)[]): void => {
    out.reset();
    requests.reset();
    requests.command(command);
    machine.onRequest(session, requests.bytes, 0, requests.length, 0, out);
  };
  for (let i = 0; i < entries; i += 1) ask(['BW.SET', `row:${i}`, VALUE, 'TAGS', TAGS.length, ...TAGS]);
  for (let i = 0; i < 200; i += 1) ask(['BW.INVALIDATE', 'TAGS', 1, `other:${i}`]);
  return TAGS.map((tag) => {
    const beganMs = performance.now();
    ask(['BW.INVALIDATE', 'TAGS', 1, tag]);
    return performance.now() - beganMs;
  });
}

const [port = 0, httpPort = 0] = await freePorts(2);
const node = spawn(
  process.execPath,
  ['dist/cli/main.js', 'serve', '--port', `${port}`, '--http-port', `${httpPort}`, '--memory', '512mb'],
  { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] },
);
await new Promise<void>((resolve) => {
  node.stdout?.on('data', (text: Buffer) => {
    if (text.includes('ready')) resolve();
  });
});
const client = new RespClient({ port, commandTimeoutMs: 30_000 });
const watcher = new RespClient({ port, commandTimeoutMs: 30_000 });

const text = (reply: unknown): string =>
  reply instanceof Uint8Array ? new TextDecoder().decode(reply) : String(reply);

async function numbers(): Promise<Map<string, number>> {
  const reply = await client.command(['BW.STATS']);
  const flat = reply instanceof ReplyMap ? reply.flat.map(text) : [];
  return new Map(Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i]!, Number(flat[2 * i + 1])]));
}

const used = async (): Promise<number> => (await numbers()).get('used-bytes') ?? Number.NaN;

function rssMb(child: ChildProcess): number {
  const line = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'));
  return Math.round(Number(line?.[1] ?? Number.NaN) / 1024);
}

async function fill(prefix: string, end: readonly (string | number)[]): Promise<void> {
  for (let from = 0; from < entries; from += BATCH) {
    const commands = Array.from({ length: Math.min(BATCH, entries - from) }, (_, i) => [
      'BW.SET',
      `${prefix}:${from + i}`,
      VALUE,
      ...end,
    ]);
    await client.pipeline(commands);
  }
}

async function timed(command: readonly string[]): Promise<number> {
  const beganMs = performance.now();
  await client.command([...command]);
  return performance.now() - beganMs;
}

async function medianPing(): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < 200; i += 1) times.push(await timed(['PING']));
  return times.sort((a, b) => a - b)[100]!;
}

/** Pings on a connection of its own until told to end; sorted round trips. */
function watch(): () => Promise<number[]> {
  let isOver = false;
  const times: number[] = [];
  const pings = (async () => {
    while (!isOver) {
      const beganMs = performance.now();
      await watcher.command(['PING']);
      times.push(performance.now() - beganMs);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  return async () => {
    isOver = true;
    await pings;
    return times.sort((a, b) => a - b);
  };
}

/** Until the node holds no entry. */
async function untilEmpty(): Promise<number> {
  const beganMs = performance.now();
  while (((await numbers()).get('entries') ?? 0) > 0) {
    if (performance.now() - beganMs > 120_000) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return performance.now() - beganMs;
}

const quantile = (sorted: readonly number[], q: number): string =>
  (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN).toFixed(2);
const mb = (bytes: number): string => (bytes / 1024 ** 2).toFixed(1);
const rows: string[] = [];
const machineTimes = serverTimes();
const row = (what: string, value: string): void => {
  rows.push(`| ${what} | ${value} |`);
};

// Grown once, so that "back to where it was" compares like with like: the table keeps its size.
await fill('warm', ['PX', '10000', 'TAGS', TAGS.length, ...TAGS]);
await untilEmpty();
const emptyBytes = await used();
row('used, empty, after one generation came and went', `${mb(emptyBytes)} MB, process ${rssMb(node)} MB`);

await fill('row', ['TAGS', TAGS.length, ...TAGS]);
const fullBytes = await used();
row(
  `used with ${entries.toLocaleString('en')} entries of 100 bytes and three tags`,
  `${mb(fullBytes)} MB, process ${rssMb(node)} MB`,
);
// The command's own code is warm then, as on a node that has run for a minute.
for (let i = 0; i < 200; i += 1) await client.command(['BW.INVALIDATE', 'TAGS', 1, `other:${i}`]);
const ping = await medianPing();
row('PING, median round trip', `${(ping * 1000).toFixed(0)} µs`);
const stop = watch();
for (const tag of TAGS) {
  const ms = await timed(['BW.INVALIDATE', 'TAGS', '1', tag]);
  row(`invalidate \`${tag}\` over all of them, round trip`, `${(ms * 1000).toFixed(0)} µs`);
}
const probe = await client.command(['GET', 'row:0']);
row(
  'server time of the same three, in the node machine alone',
  `${machineTimes.map((ms) => (ms * 1000).toFixed(0)).join(', ')} µs`,
);
row('an entry right after', probe === null ? 'a miss' : 'STILL SERVED');
const reclaimMs = await untilEmpty();
const during = await stop();
row('all of them reclaimed after', `${(reclaimMs / 1000).toFixed(1)} s`);
row(
  'PING meanwhile, p50 / p99 / worst',
  `${quantile(during, 0.5)} / ${quantile(during, 0.99)} / ${quantile(during, 1)} ms`,
);
row('used then', `${mb(await used())} MB, process ${rssMb(node)} MB`);

await fill('row', ['PX', `${TTL_MS}`, 'TAGS', TAGS.length, ...TAGS]);
row('used with a second generation, TTL 20 s', `${mb(await used())} MB`);
const stopAgain = watch();
const expiredMs = await untilEmpty();
const expiring = await stopAgain();
row('all of them expired and reclaimed after', `${(expiredMs / 1000).toFixed(1)} s`);
row(
  'PING meanwhile, p50 / p99 / worst',
  `${quantile(expiring, 0.5)} / ${quantile(expiring, 0.99)} / ${quantile(expiring, 1)} ms`,
);
const last = await used();
row(
  'used then',
  `${mb(last)} MB, process ${rssMb(node)} MB (${(((last - emptyBytes) / emptyBytes) * 100).toFixed(1)} % from where it was)`,
);

console.log(`| | |\n| --- | --- |\n${rows.join('\n')}`);
await Promise.all([client.close({ drain: false }), watcher.close({ drain: false })]);
node.kill('SIGKILL');
