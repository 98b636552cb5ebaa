/** A process that follows changes and is there to be killed: what it is told to invalidate it tells its parent, and waits for its word. */
import { randomUUID } from 'node:crypto';
import { systemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { systemScheduler } from '../../src/base/scheduler.ts';
import { postgresChanges } from '../../src/sources/postgres.ts';
import { PRODUCT } from './changes-support.ts';

const { connection, name, table, via } = JSON.parse(process.argv[2]!) as {
  connection: Record<string, unknown>;
  name: string;
  table: string;
  via: 'replication' | 'triggers';
};
const waiting = new Map<string, (answer: string | null) => void>();
process.on('message', ({ id, answer }: { id: string; answer: string | null }) => waiting.get(id)?.(answer));
const ask = (what: object): Promise<string | null> =>
  new Promise((resolve) => {
    const id = randomUUID();
    waiting.set(id, resolve);
    process.send!({ id, ...what });
  });

const run = postgresChanges({ connection, name, via, tables: { [table]: PRODUCT } }).open({
  clock: systemClock(),
  scheduler: systemScheduler(),
  random: new SeededRandom(3),
  invalidate: async ({ keys = [], namespaces = [] }) => {
    await ask({ what: 'invalidate', keys, namespaces });
    return 'acknowledged';
  },
  hasSettled: () => true,
  recall: () => ask({ what: 'recall' }),
  remember: async (_, text) => {
    await ask({ what: 'remember', text });
  },
  tell: () => {},
});
await run.ready;
process.send!({ what: 'ready' });
