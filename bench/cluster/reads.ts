/**
 * What readers of the library see in the two seconds after a member is lost: of its ranges alone, with reads from copies and without.
 *
 *     npm run build && sudo node --import tsx bench/cluster/reads.ts [--rounds 10]
 *
 * Six servers on machines of the lab. Whoever owns most is killed (its machine refuses connections), loses its cable (nothing comes back), or is stopped (SIGSTOP: connections stand, and nothing comes back). From that
 * moment on each library asks for a key of the victim every 10 ms, whether the one before was answered or not. *Answered*: with a hit, or with a load of the source; not with an error. No library has an L1.
 */
import { parseArgs } from 'node:util';
import { type Breakwater, createBreakwater } from '../../src/cache/index.ts';
import { withChildren } from '../../src/cli/children/children.ts';
import { breakwaterFleet, type Fleet, pause } from './fleets.ts';
import { enterLab, machines } from './lab.ts';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '10' } } });
const KEYS = 24;
const WINDOW_MS = 2000;
const STEP_MS = 10;
const LOAD_MS = 5;
const FAULTS = ['killed', 'cable pulled', 'stopped'] as const;
const say = (line: string): void => void process.stdout.write(`${line}\n`);

interface Seen {
  readonly from: string;
  readonly tookMs: number;
}

interface Reader {
  readonly name: string;
  readonly bw: Breakwater;
  readonly seen: Map<string, Seen[]>;
  get(id: string): Promise<{ readonly from: string }>;
}

function readerOf(fleet: Fleet, name: string, query: string, maxStale: string | null): Reader {
  const hosts = fleet.servers.map(({ machine, port }) => `${machine.host}:${port}`).join(',');
  const bw = createBreakwater({ store: `breakwater://${hosts}${query}` });
  const cache = bw.cache<{ id: string }>('key', {
    load: async (ids) => {
      await pause(LOAD_MS);
      return ids.map((id) => ({ id }));
    },
    ttl: '1h',
    guard: { concurrency: 64 },
  });
  const get = (id: string) => cache.getDetailed(id, maxStale === null ? {} : { maxStale: maxStale as '10s' });
  return { name, bw, get, seen: new Map(FAULTS.map((fault) => [fault, []])) };
}

async function round(fleet: Fleet, readers: readonly Reader[], fault: (typeof FAULTS)[number]): Promise<void> {
  await fleet.whole();
  const { server, keys } = await fleet.victim(KEYS);
  const ids = keys.map((key) => key.slice('key:'.length));
  // Who has followed the last round knows who copies what by now, and the copies have every key.
  for (let turn = 0; turn < 4; turn += 1) {
    for (const { get } of readers) for (const id of ids) await get(id);
    await pause(500);
  }
  if (fault === 'cable pulled') await server.machine.pull();
  else server.process.process.kill(fault === 'killed' ? 'SIGKILL' : 'SIGSTOP');
  const startMs = performance.now();
  const under: Promise<void>[] = [];
  for (let turn = 0; performance.now() - startMs < WINDOW_MS; turn += 1) {
    for (const { get, seen } of readers) {
      const askedMs = performance.now();
      const note = (from: string): void => void seen.get(fault)!.push({ from, tookMs: performance.now() - askedMs });
      under.push(
        get(ids[turn % ids.length]!).then(
          ({ from }) => note(from),
          () => note('error'),
        ),
      );
    }
    await pause(Math.max(0, startMs + (turn + 1) * STEP_MS - performance.now()));
  }
  await Promise.all(under);
  if (fault === 'cable pulled') await server.machine.plug();
  else if (fault === 'stopped') server.process.process.kill('SIGCONT');
  else await fleet.restart(server);
}

function rowOf(fault: string, name: string, seen: readonly Seen[]): string {
  const took = seen.map(({ tookMs }) => tookMs).sort((a, b) => a - b);
  const at = (share: number): string => took[Math.min(took.length - 1, Math.floor(took.length * share))]!.toFixed(0);
  const share = (is: (from: string) => boolean): string =>
    `${((100 * seen.filter(({ from }) => is(from)).length) / seen.length).toFixed(2)} %`;
  const answered = share((from) => from !== 'error');
  const hits = share((from) => from === 'l2' || from === 'stale');
  const loads = share((from) => from === 'loader');
  return `| ${fault} | ${name} | ${seen.length} | ${answered} | ${hits} | ${loads} | ${at(0.5)} | ${at(0.99)} | ${at(1)} |`;
}

const inside = enterLab();
process.exitCode =
  inside ??
  (await withChildren(async (children) => {
    const fleet = await breakwaterFleet(children, await machines(children, 6));
    await fleet.whole();
    const readers = [
      readerOf(fleet, 'owners only', '', null),
      readerOf(fleet, '`reads=nearest`, `maxStale: 10s`', '?reads=nearest', '10s'),
    ];
    for (const fault of FAULTS) {
      for (let turn = 0; turn < Number(values.rounds); turn += 1) await round(fleet, readers, fault);
    }
    await fleet.whole();
    say(
      '| fault | reads | asked | answered | by a hit | by a load | median ms | 99 % ms | slowest ms |\n|---|---|---:|---:|---:|---:|---:|---:|---:|',
    );
    for (const fault of FAULTS) for (const { name, seen } of readers) say(rowOf(fault, name, seen.get(fault)!));
    for (const { name, bw } of readers) say(`\n${name}: ${JSON.stringify((await bw.stats()).store.numbers)}`);
    await Promise.all(readers.map(({ bw }) => bw.close()));
    await fleet.close();
    return 0;
  }));
