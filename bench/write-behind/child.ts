/**
 * A process that writes behind for ever and says what was acknowledged; to be killed. Says on its output: `ready`, and for each acknowledged write
 * `id n version began ended`.
 * Arguments: store URL, directory ('-': in streams of the store), Postgres connection as JSON, writers, rows, the first n.
 */
import { writeSync } from 'node:fs';
import { createBreakwater } from '../../src/cache/index.ts';
import { importPg } from '../../src/cli/demo/postgres.ts';
import { postgres } from '../../src/sources/postgres.ts';

const [, , store, directory, connection, writers, rows, first] = process.argv;
const pg = await importPg();
const pool = new pg.Pool({ ...JSON.parse(connection!), max: 4, connectionTimeoutMillis: 2_000 });
pool.on('error', () => {});
const bw = createBreakwater({
  store: store as 'embedded',
  behind: {
    ...(directory === '-' ? { queue: 'streams', takeover: '1s' } : { directory: directory! }),
    ...{ flushInterval: '20ms', maxBatch: 50, flushTimeout: '2s', writeTimeout: '10s' },
  },
  advice: false,
});
const source = postgres<{ id: string; n: number; writer: string }>({
  pool,
  table: 'item',
  key: 'id',
  columns: ['id', 'n', 'writer'],
});
const items = bw.cache('item', { source, policy: 'behind', l1: false, guard: { breaker: false } });
let lines: string[] = [];
const flush = (): void => {
  if (lines.length === 0) return;
  const out = `${lines.join('\n')}\n`;
  lines = [];
  writeSync(1, out);
};
let n = Number(first);
const say = (line: string): void => {
  lines.push(line);
  // At once: what was acknowledged and not said when the process is killed is not checked.
  if (lines.length === 1) queueMicrotask(flush);
};
say(`ready ${process.pid}`);
for (let i = 0; i < Number(writers); i += 1) {
  void (async () => {
    for (;;) {
      n += 1;
      const mine = n;
      const id = String(1 + Math.floor(Math.random() * Number(rows)));
      const value = mine % 11 === 0 ? null : { id, n: mine, writer: String(process.pid) };
      try {
        // The machine's clock of this boot, the same for all its processes: it only judges, it orders nothing.
        const beganNs = process.hrtime.bigint();
        const { result } = await items.write(id, value);
        const endedNs = process.hrtime.bigint();
        say(`${id} ${value === null ? 'gone' : mine} ${result.version} ${beganNs} ${endedNs}`);
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  })();
}
setInterval(() => say(`queue ${JSON.stringify(items.stats().queue)}`), 500);
