/**
 * Changes made behind the cache's back, end to end: Postgres, a node, two processes that follow the changes, and a reader whose L1 hears of them only through the node.
 *
 *     npx tsx bench/changes/run.ts [--seconds 20] [--rate 1000] [--cuts 50] [--crashes 100] [--fsync]
 *
 * 1. *Delay*: from the moment that the UPDATE is **sent** until the reader's L1 no longer has the older row. Sent and not committed: what is measured is never too small.
 * 2. *Faults*: writers go on while consumers are killed (SIGKILL), their connections to Postgres cut, Postgres is killed or restarted. After each fault writers pause, and the reader must come to give
 *    for every row what the database has; how long that takes from the writers' pause on is in the table. A row that it still gives wrongly after 60 s is *missed*.
 * 3. *Crash*: a process commits within `write` and is killed (SIGKILL) before its invalidation.
 */

import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Pool } from 'pg';
import { type Child, withChildren } from '../../src/cli/children/children.ts';
import { freePorts } from '../../src/cli/children/ports.ts';
import { importPg, Postgres } from '../../src/cli/demo/postgres.ts';
import { FaultProxy } from '../../test/support/fault-proxy.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '20' },
    rate: { type: 'string', default: '1000' },
    cuts: { type: 'string', default: '50' },
    crashes: { type: 'string', default: '100' },
    fsync: { type: 'boolean', default: false },
  },
});
const ROWS = 2_000;
const MISSED_MS = 60_000;
const now = (): number => performance.timeOrigin + performance.now();
/** Others' work is in every figure: so it is said. */
const load = (): string => `load average ${loadavg()[0]!.toFixed(1)}`;
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const at = (url: string): string => fileURLToPath(new URL(url, import.meta.url));

process.exitCode = await withChildren(async (children) => {
  const postgres = await Postgres.start(children, () => {}, {
    wal_level: 'logical',
    synchronous_commit: 'on',
    listen_addresses: '127.0.0.1',
    max_wal_senders: '8',
    max_replication_slots: '8',
    ...(values.fsync && { fsync: 'on', full_page_writes: 'on' }),
  });
  const pg = await importPg();
  const pool: Pool = new pg.Pool({ ...postgres.connection, max: 8 });
  pool.on('error', () => {});
  await pool.query('CREATE TABLE product (id bigint PRIMARY KEY, n int NOT NULL)');
  await pool.query('INSERT INTO product SELECT i, 0 FROM generate_series(1, $1::int) i', [ROWS]);

  const [port, http] = await freePorts(2);
  const node = children.startNode(
    at('../../src/cli/main.ts'),
    ['serve', '--port', `${port}`, '--http-port', `${http}`],
    { label: 'node' },
  );
  await node.waitForOutput(new RegExp(`${port}`), 60_000);
  const proxy = await FaultProxy.start({ host: '127.0.0.1', port: postgres.connection.port });
  const replication = { ...postgres.connection, host: '127.0.0.1', port: proxy.port };
  const start = (role: string): Child =>
    children.startNode(
      at('./process.ts'),
      [
        role,
        `breakwater://127.0.0.1:${port}`,
        JSON.stringify(postgres.connection),
        JSON.stringify(replication),
        String(ROWS),
      ],
      { label: role },
    );
  const answer = <T>(child: Child, name: string, ms = 120_000): Promise<T> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(child.failure(`said no ${name}`)), ms);
      const listen = (message: { name: string }): void => {
        if (message.name !== name) return;
        clearTimeout(timer);
        child.process.off('message', listen as never);
        resolve(message as T);
      };
      child.process.on('message', listen as never);
    });
  const states = new Map<Child, string>();
  const newConsumer = async (): Promise<Child> => {
    const child = start('consumer');
    child.process.on('message', ((message: { name: string; stats?: { state: string } }) => {
      if (message.name === 'stats') states.set(child, message.stats!.state);
    }) as never);
    await answer(child, 'ready');
    return child;
  };
  const consumers = [await newConsumer(), await newConsumer()];
  const reader = start('reader');
  await answer(reader, 'ready');
  reader.process.send({ name: 'begin' });
  await answer(reader, 'begun');

  // -- 1. delay
  const sent: [id: string, n: number, sentMs: number][] = [];
  const update = async (id: number): Promise<void> => {
    const sentMs = now();
    const { rows } = await pool.query({
      name: 'update',
      text: 'UPDATE product SET n = n + 1 WHERE id = $1 RETURNING n',
      values: [id],
    });
    sent.push([String(id), rows[0].n as number, sentMs]);
  };
  const write = async (rate: number, seconds: number): Promise<void> => {
    const beganMs = now();
    const under = new Set<Promise<unknown>>();
    for (let i = 0; i < rate * seconds; i += 1) {
      while (now() < beganMs + (i * 1000) / rate) await sleep(1);
      const one = update(1 + Math.floor(Math.random() * ROWS))
        .catch(() => undefined)
        .finally(() => under.delete(one));
      under.add(one);
    }
    await Promise.all(under);
  };
  const [rate, seconds] = [Number(values.rate), Number(values.seconds)];
  await write(rate, 3);
  await sleep(1_000);
  reader.process.send({ name: 'take' });
  await answer(reader, 'seen');
  sent.length = 0;
  const beganMs = now();
  await write(rate, seconds);
  const tookMs = now() - beganMs;
  await sleep(2_000);
  reader.process.send({ name: 'take' });
  const { seen } = await answer<{ seen: [string, number, number][] }>(reader, 'seen');
  const byId = new Map<string, [string, number, number][]>();
  for (const one of seen) byId.set(one[0], [...(byId.get(one[0]) ?? []), one]);
  const delays: number[] = [];
  let unseen = 0;
  for (const [id, n, sentMs] of sent) {
    // The first time that the older row was gone: what was loaded then is this row or a later one.
    const found = byId.get(id)?.find(([, value]) => value >= n);
    if (found === undefined) unseen += 1;
    else delays.push(Math.max(0, found[2] - sentMs));
  }
  delays.sort((a, b) => a - b);
  const q = (p: number): string =>
    (delays[Math.min(delays.length - 1, Math.floor(p * delays.length))] ?? Number.NaN).toFixed(1);
  console.log(
    `\n## Delay\n\n${sent.length} row changes in ${(tookMs / 1000).toFixed(1)} s (${Math.round((sent.length * 1000) / tookMs)}/s), from sending the UPDATE to the reader's L1; fsync ${values.fsync ? 'on' : 'off'}, ${load()}:\n`,
  );
  console.log(
    `| p50 | p90 | p99 | p99.9 | max | not seen |\n|---|---|---|---|---|---|\n| ${q(0.5)} ms | ${q(0.9)} ms | ${q(0.99)} ms | ${q(0.999)} ms | ${q(1)} ms | ${unseen} |`,
  );

  // -- 2. faults
  const isRight = async (): Promise<number> => {
    const { rows } = await pool.query('SELECT id::text, n FROM product');
    reader.process.send({ name: 'compare' });
    const { given } = await answer<{ given: [string, number][] | null }>(reader, 'given');
    if (given === null) return ROWS;
    const by = new Map(given);
    return rows.filter(({ id, n }: { id: string; n: number }) => by.get(id) !== n).length;
  };
  const recoveries = new Map<string, number[]>();
  let missed = 0;
  for (let cut = 0; cut < Number(values.cuts); cut += 1) {
    const kinds = [
      'consumer that reads: SIGKILL',
      'consumer that stands by: SIGKILL',
      'connections cut',
      'Postgres: SIGKILL',
      'Postgres: restart',
    ] as const;
    const kind = kinds[cut % kinds.length]!;
    let replaced: Promise<void> = Promise.resolve();
    const writing = write(200, 1.5);
    await sleep(300 + Math.random() * 700);
    if (kind.startsWith('consumer')) {
      const wanted = kind.includes('reads') ? 'active' : 'standby';
      let index = -1;
      while (index < 0) {
        index = consumers.findIndex((child) => states.get(child) === wanted);
        if (index < 0) await sleep(50);
      }
      consumers[index]!.process.kill('SIGKILL');
      await consumers[index]!.exited;
      replaced = newConsumer().then((child) => {
        consumers[index] = child;
      });
    } else if (kind === 'connections cut') proxy.reset();
    else {
      await postgres.halt(kind.endsWith('SIGKILL') ? 'SIGKILL' : 'SIGINT');
      await sleep(Math.random() * 300);
      await postgres.resume();
    }
    await writing;
    const fromMs = now();
    let wrong = ROWS;
    while (wrong > 0 && now() - fromMs < MISSED_MS) {
      wrong = await isRight().catch(() => ROWS);
      if (wrong > 0) await sleep(20);
    }
    missed += wrong;
    recoveries.set(kind, [...(recoveries.get(kind) ?? []), now() - fromMs]);
    // Not within the time: the next fault needs two consumers, the reader does not.
    await replaced;
  }
  console.log(
    `\n## Faults\n\n${values.cuts} faults under 200 writes/s; rows missed: ${missed}; ${load()}\n\n| fault | times | right after the writers' pause: median | longest |\n|---|---|---|---|`,
  );
  for (const [kind, times] of recoveries) {
    times.sort((a, b) => a - b);
    console.log(
      `| ${kind} | ${times.length} | ${Math.round(times[times.length >> 1]!)} ms | ${Math.round(times.at(-1)!)} ms |`,
    );
  }

  // -- 3. crash
  const gone: number[] = [];
  let stale = 0;
  const crashes = Number(values.crashes);
  const waiting: Child[] = [];
  const readyWriter = async (): Promise<Child> => {
    const child = start('writer');
    await answer(child, 'ready');
    return child;
  };
  for (let i = 0; i < crashes; i += 1) {
    if (waiting.length === 0) waiting.push(...(await Promise.all([readyWriter(), readyWriter()])));
    const child = waiting.pop()!;
    const id = String(1 + (i % ROWS));
    const value = async (): Promise<number | null> => {
      reader.process.send({ name: 'value', id });
      return (await answer<{ value: number | null }>(reader, 'value')).value;
    };
    const before = await value();
    const sentMs = now();
    child.process.send({ id });
    await child.exited;
    const { rows } = await pool.query('SELECT n FROM product WHERE id = $1', [id]);
    if (rows[0].n === before) throw new Error('the writer did not commit');
    while ((await value()) !== rows[0].n && now() - sentMs < MISSED_MS);
    if ((await value()) !== rows[0].n) stale += 1;
    gone.push(now() - sentMs);
  }
  gone.sort((a, b) => a - b);
  console.log(
    `\n## Crash between commit and invalidation\n\n${crashes} times SIGKILL right after COMMIT, from the start of the write (process death included) until the reader gives the new row: median ${Math.round(gone[gone.length >> 1] ?? 0)} ms, longest ${Math.round(gone.at(-1) ?? 0)} ms; stale for good: ${stale}; ${load()}`,
  );
  await pool.end();
  await proxy.close();
  await postgres.close();
  return unseen + missed + stale === 0 ? 0 : 1;
});
