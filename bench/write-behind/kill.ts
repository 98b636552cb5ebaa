/**
 * kill -9 at random moments of two processes that write the same rows behind, of the store between them, and of Postgres, in turn; then everything is started again and
 * drained, and what was acknowledged is compared with what the database did.
 *
 *     npm run --silent ... node --import tsx bench/write-behind/kill.ts [rounds] [--no-node | --redis]
 *
 * The store is a node, and each process has its queue on disk; or none, and there is one process; or a Redis with `appendonly yes` and `appendfsync always`, which has the
 * queues of both in streams, and what a process leaves the other one writes.
 *
 * An audit trigger writes down every change of a row, with the version that the change carried. So:
 *
 *   lost        the last acknowledged write of a row (by version) is neither what the row says nor followed by a later one
 *   twice       two changes of one row in the audit with the same version
 *   reordered   a change in the audit of a lower version than one before it; or two acknowledged writes of a row, one acknowledged before the other began (by the
 *               machine's monotonic clock, over both processes), whose versions are not in that order
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { systemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { systemScheduler } from '../../src/base/scheduler.ts';
import { createBreakwater } from '../../src/cache/index.ts';
import { Children } from '../../src/cli/children/children.ts';
import { freePorts } from '../../src/cli/children/ports.ts';
import { importPg } from '../../src/cli/demo/postgres.ts';
import { postgres } from '../../src/sources/postgres.ts';
import { ValkeyStore } from '../../src/stores/valkey.ts';
import { KillablePostgres } from './database.ts';

export type StoreKind = 'node' | 'none' | 'redis';

export interface KillResult {
  readonly rounds: number;
  readonly acknowledged: number;
  readonly rowsWritten: number;
  readonly lost: string[];
  readonly twice: string[];
  readonly reordered: string[];
  readonly killed: Readonly<Record<string, number>>;
}

const ROWS = 40;
const WRITERS = 8;

const SCHEMA = `
CREATE TABLE item (id text PRIMARY KEY, n bigint NOT NULL, writer text NOT NULL);
CREATE TABLE audit (at bigserial PRIMARY KEY, id text NOT NULL, op text NOT NULL, version bigint NOT NULL);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO audit (id, op, version) SELECT key, TG_OP, version FROM breakwater_order
    WHERE target = 'item' AND key = coalesce(NEW.id, OLD.id);
  RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION note();`;

interface Writer {
  readonly process: ChildProcess;
  readonly ended: Promise<void>;
}

export async function killRounds(
  rounds: number,
  { store: kind, report = () => {} }: { readonly store: StoreKind; readonly report?: (line: string) => void },
): Promise<KillResult> {
  const children = new Children();
  const writers = new Set<ChildProcess>();
  try {
    const database = await KillablePostgres.start(children);
    const pg = await importPg();
    const pool = new pg.Pool({ ...database.connection, max: 4, connectionTimeoutMillis: 5_000 });
    pool.on('error', () => {});
    await pool.query(SCHEMA);
    const root = children.directory('breakwater-kill-queues-');
    const [port = 0, http = 0] = kind === 'none' ? [] : await freePorts(2);
    const startStore = async () => {
      if (kind === 'redis') {
        const data = ['--dir', root, '--save', '', '--appendonly', 'yes', '--appendfsync', 'always'];
        const args = ['--port', String(port), '--bind', '127.0.0.1', ...data];
        const redis = children.start('redis-server', args, { label: 'redis' });
        await redis.waitForOutput(/Ready to accept connections/, 60_000);
        return redis;
      }
      const main = join(import.meta.dirname, '../../src/cli/main.ts');
      const args = ['serve', '--port', String(port), '--http-port', String(http), '--memory', '32mb'];
      const node = children.startNode(main, args, { label: 'node', nodeFlags: ['--import', 'tsx'] });
      await node.waitForOutput(/ready|listening|RESP/i, 60_000);
      return node;
    };
    let server = kind === 'none' ? null : await startStore();
    const scheme = kind === 'redis' ? 'redis' : 'breakwater';
    const store = kind === 'none' ? 'embedded' : `${scheme}://127.0.0.1:${port}`;
    const names = kind === 'none' ? ['a'] : ['a', 'b'];
    const placeOf = (name: string): string => (kind === 'redis' ? '-' : join(root, name));
    /** Of each row, the acknowledged writes in the order in which their process said so. */
    const acknowledged = new Map<string, Acknowledged[]>();
    const reordered: string[] = [];
    let count = 0;
    let started = 0;
    const firstOf = (): number => {
      started += 1;
      return started * 10_000_000;
    };
    const startWriter = async (name: string): Promise<Writer> => {
      const directory = placeOf(name);
      if (directory !== '-') mkdirSync(directory, { recursive: true });
      const child = spawn(
        process.execPath,
        [
          ...['--import', 'tsx', join(import.meta.dirname, 'child.ts'), store, directory],
          ...[JSON.stringify(database.connection), String(WRITERS), String(ROWS), String(firstOf())],
        ],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      writers.add(child);
      let rest = '';
      const isUp = new Promise<void>((resolve, reject) => {
        child.stdout.setEncoding('utf8').on('data', (piece: string) => {
          const lines = (rest + piece).split('\n');
          rest = lines.pop()!;
          for (const line of lines) {
            const [id = '', value = '', version = '', began = '0', ended = '0'] = line.split(' ');
            if (id === 'ready' || id === 'queue') continue;
            const list = acknowledged.get(id) ?? [];
            list.push({ value, version: Number(version), beganNs: BigInt(began), endedNs: BigInt(ended) });
            acknowledged.set(id, list);
            count += 1;
            resolve();
          }
        });
        child.once('exit', (code) => reject(new Error(`a writer ended with ${code} before it had written`)));
      });
      const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
      await isUp;
      return { process: child, ended };
    };
    const running = new Map<string, Writer>();
    const stop = async (name: string): Promise<void> => {
      const writer = running.get(name)!;
      writer.process.kill('SIGKILL');
      await writer.ended;
      writers.delete(writer.process);
    };
    for (const name of names) running.set(name, await startWriter(name));
    const victims = kind === 'none' ? ['application', 'postgres'] : ['application', kind, 'postgres'];
    const killed: Record<string, number> = Object.fromEntries(victims.map((victim) => [victim, 0]));
    for (let round = 0; round < rounds; round += 1) {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 250));
      const victim = victims[round % victims.length]!;
      killed[victim]! += 1;
      if (victim === 'application') {
        const name = names[Math.floor(Math.random() * names.length)]!;
        await stop(name);
        running.set(name, await startWriter(name));
      } else if (victim === kind) {
        server!.process.kill('SIGKILL');
        await server!.exited;
        server = await startStore();
      } else await database.kill();
      if ((round + 1) % 10 === 0) report(`${round + 1} kills, ${count} acknowledged writes`);
    }
    for (const name of names) await stop(name);
    // What is left in the queues is written by whoever opens them next.
    const source = postgres<{ id: string; n: number; writer: string }>({
      pool,
      table: 'item',
      key: 'id',
      columns: ['id', 'n', 'writer'],
    });
    for (const name of names) {
      const behind =
        kind === 'redis' ? ({ queue: 'streams', takeover: '1s' } as const) : { directory: join(root, name) };
      const bw = createBreakwater({ store: store as 'embedded', behind, advice: false });
      bw.cache('item', { source, policy: 'behind', l1: false, guard: { breaker: false } });
      await bw.drain({ timeout: '60s' });
      // What the dead have left is taken over when they have been silent for long enough.
      if (kind === 'redis') await untilTaken(store);
      await bw.drain({ timeout: '60s' });
      await bw.close();
      if (kind === 'redis') break;
    }
    const audit = (await pool.query('SELECT id, op, version FROM audit ORDER BY at')).rows as Change[];
    const rows = (await pool.query('SELECT id, n FROM item')).rows as { id: string; n: string }[];
    const order = (await pool.query("SELECT key, version FROM breakwater_order WHERE target = 'item' AND key <> ''"))
      .rows as {
      key: string;
      version: string;
    }[];
    await pool.end();
    const lost: string[] = [];
    const twice: string[] = [];
    const now = new Map(rows.map(({ id, n }) => [id, n]));
    const versions = new Map(order.map(({ key, version }) => [key, Number(version)]));
    for (const [id, list] of acknowledged) {
      const last = list.reduce((a, b) => (b.version > a.version ? b : a));
      const version = versions.get(id) ?? 0;
      if (version < last.version)
        lost.push(`${id}: version ${last.version} was acknowledged, the database has ${version}`);
      else if (version === last.version && (now.get(id) ?? 'gone') !== last.value) {
        lost.push(`${id}: ${last.value} was acknowledged as ${last.version}, the row says ${now.get(id) ?? 'gone'}`);
      }
      reordered.push(...outOfOrder(id, list));
      const seen = new Set<number>();
      for (const one of list) {
        if (seen.has(one.version)) reordered.push(`${id}: version ${one.version} was given twice`);
        seen.add(one.version);
      }
    }
    const before = new Map<string, number>();
    for (const { id, op, version } of audit) {
      const known = before.get(id) ?? 0;
      if (Number(version) === known) twice.push(`${id}: ${op} of version ${version}`);
      if (Number(version) < known) reordered.push(`${id}: ${op} of version ${version} after ${known}`);
      before.set(id, Number(version));
    }
    return { rounds, acknowledged: count, rowsWritten: audit.length, lost, twice, reordered, killed };
  } finally {
    for (const child of writers) child.kill('SIGKILL');
    await children.close();
  }
}

/** Resolves when there are no records in any stream but that of who looks. */
async function untilTaken(url: string): Promise<void> {
  const deadline = Date.now() + 120_000;
  const random = new SeededRandom(1);
  const store = new ValkeyStore({ url, clock: systemClock(), scheduler: systemScheduler(), random });
  try {
    for (;;) {
      const views = await store.queues.look('item', { timeoutMs: 10_000 });
      if (views.length === 1 && views[0]!.records === 0) return;
      if (Date.now() > deadline) throw new Error(`streams are left after two minutes: ${JSON.stringify(views)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  } finally {
    await store.close();
  }
}

interface Acknowledged {
  readonly value: string;
  readonly version: number;
  readonly beganNs: bigint;
  readonly endedNs: bigint;
}

/** Writes that began after another was acknowledged, and have a smaller version than it. */
function outOfOrder(id: string, list: readonly Acknowledged[]): string[] {
  const found: string[] = [];
  const byEnd = [...list].sort((a, b) => (a.endedNs < b.endedNs ? -1 : 1));
  const byBegin = [...list].sort((a, b) => (a.beganNs < b.beganNs ? -1 : 1));
  let ended = 0;
  let largest = 0;
  for (const write of byBegin) {
    while (ended < byEnd.length && byEnd[ended]!.endedNs < write.beganNs) {
      largest = Math.max(largest, byEnd[ended]!.version);
      ended += 1;
    }
    if (write.version < largest) found.push(`${id}: ${write.version} was given after ${largest} was acknowledged`);
  }
  return found;
}

interface Change {
  readonly id: string;
  readonly op: string;
  readonly version: string;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const rounds = Number(process.argv[2] ?? '100');
  const beganMs = Date.now();
  const result = await killRounds(rounds, {
    store: process.argv.includes('--no-node') ? 'none' : process.argv.includes('--redis') ? 'redis' : 'node',
    report: (line) => process.stderr.write(`${line}\n`),
  });
  const { lost, twice, reordered } = result;
  const seconds = Math.round((Date.now() - beganMs) / 1000);
  process.stdout.write(
    `${JSON.stringify({ ...result, lost: lost.length, twice: twice.length, reordered: reordered.length, seconds })}\n`,
  );
  for (const line of [...lost, ...twice, ...reordered]) process.stdout.write(`${line}\n`);
  process.exitCode = lost.length + twice.length + reordered.length > 0 ? 1 : 0;
}
