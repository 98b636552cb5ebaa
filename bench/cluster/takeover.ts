/**
 * What users see when a member of a cluster is lost, beside Redis Cluster on the same machines, in the same run; six servers each.
 *
 *     npm run build && sudo node --import tsx bench/cluster/takeover.ts [--losses 50] [--crashes 50] [--isolations 100] [--redis-losses 10] [--redis-default 2] [--redis-isolations 20]
 *
 * 1. *Machine lost*: the cable of whoever owns most is pulled. For one key in each of 24 runs of its slots, another member is asked every 10 ms to SET it, until one has. The slowest key counts.
 * 2. *Crash*: SIGKILL of it, the machine stays and refuses connections; of a cluster of ours with the crash fast path on. Before each round no range has changed its owner or its copies for 2 s: an owner whose set has just
 *    changed waits for read leases (docs/decisions/0021), and each round would else begin while the one before is still being mended.
 * 3. *Isolation*: the cable of an owner is pulled, and a client on that same machine, which still reaches it, DELs a key at some moment in the next 3 s. When others serve the key, the cable is plugged
 *    in again, and when the cluster is whole everybody is asked for the key. Wrong: the DEL was acknowledged, and the old value is there.
 */
import { parseArgs } from 'node:util';
import { withChildren } from '../../src/cli/children/children.ts';
import { askOne, breakwaterFleet, type Fleet, pause, redisFleet } from './fleets.ts';
import { enterLab, machines } from './lab.ts';

const number = (fallback: string) => ({ type: 'string', default: fallback }) as const;
const { values } = parseArgs({
  options: {
    losses: number('50'),
    crashes: number('50'),
    isolations: number('100'),
    'redis-losses': number('10'),
    'redis-default': number('2'),
    'redis-isolations': number('20'),
  },
});
const KEYS = 24;
const STEP_MS = 10;
const LONGEST_MS = 60_000;
const say = (line: string): void => void process.stdout.write(`${line}\n`);

async function rounds(fleet: Fleet, count: number, fault: 'lost' | 'killed'): Promise<number[]> {
  const slowest: number[] = [];
  for (let round = 0; round < count; round += 1) {
    await fleet.whole();
    if (fault === 'killed') await fleet.quiet();
    const { server, keys } = await fleet.victim(KEYS);
    const others = fleet.servers.filter((one) => one !== server);
    for (const key of keys) await askOne([server], 0, ['SET', key, 'before']);
    const startMs = performance.now();
    if (fault === 'lost') await server.machine.pull();
    else server.process.process.kill('SIGKILL');
    const times = await Promise.all(
      keys.map(async (key, index) => {
        for (let turn = index; performance.now() - startMs < LONGEST_MS; turn += 1) {
          if ((await askOne(others, turn, ['SET', key, 'after'])) !== null) return performance.now() - startMs;
          await pause(STEP_MS);
        }
        return Number.POSITIVE_INFINITY;
      }),
    );
    slowest.push(Math.max(...times));
    if (fault === 'lost') await server.machine.plug();
    else await fleet.restart(server);
  }
  await fleet.whole();
  return slowest.sort((a, b) => a - b);
}

interface Isolation {
  acknowledged: number;
  refused: number;
  wrong: number;
}

async function isolations(fleet: Fleet, count: number): Promise<Isolation> {
  const found: Isolation = { acknowledged: 0, refused: 0, wrong: 0 };
  for (let round = 0; round < count; round += 1) {
    await fleet.whole();
    const { server, keys } = await fleet.victim(1);
    const key = keys[0]!;
    const others = fleet.servers.filter((one) => one !== server);
    while ((await askOne(fleet.servers, 0, ['SET', key, 'old'])) === null) await pause(STEP_MS);
    // Its copies have it: the fill need not wait for them.
    await pause(100);
    await server.machine.pull();
    await pause((3_000 * round) / count);
    const reply = await server.machine
      .output('redis-cli', ['-h', server.machine.host, '-p', String(server.port), 'DEL', key])
      .catch((error) => String(error));
    const isAcknowledged = /^\(?(integer\) )?1$/m.test(reply.trim());
    if (isAcknowledged) found.acknowledged += 1;
    else found.refused += 1;
    for (let turn = 0; (await askOne(others, turn, ['GET', key])) === null; turn += 1) await pause(STEP_MS);
    await server.machine.plug();
    await fleet.whole();
    for (let asked = 0; isAcknowledged && asked < fleet.servers.length; asked += 1) {
      const answer = await askOne(fleet.servers, asked, ['GET', key]);
      if (answer?.reply === 'old') {
        found.wrong += 1;
        break;
      }
    }
  }
  return found;
}

const figures = (times: readonly number[]): string => {
  const at = (share: number): string =>
    `${(times[Math.min(times.length - 1, Math.floor(times.length * share))]! / 1000).toFixed(2)} s`;
  return times.length === 0 ? '- | - | -' : `${at(0)} | ${at(0.5)} | ${at(1)}`;
};

const inside = enterLab();
process.exitCode =
  inside ??
  (await withChildren(async (children) => {
    const places = await machines(children, 6);
    say('| servers | fault | times | fastest | median | slowest |\n|---|---|---:|---:|---:|---:|');
    const row = async (fleet: Fleet, count: number, fault: 'lost' | 'killed'): Promise<void> => {
      if (count === 0) return;
      const what = fault === 'lost' ? 'machine lost' : 'process killed';
      say(`| ${fleet.name} | ${what} | ${count} | ${figures(await rounds(fleet, count, fault))} |`);
    };
    const isolated: string[] = [];
    const isolate = async (fleet: Fleet, count: number): Promise<void> => {
      if (count === 0) return;
      const { acknowledged, refused, wrong } = await isolations(fleet, count);
      isolated.push(`| ${fleet.name} | ${count} | ${acknowledged} | ${refused} | ${wrong} |`);
    };
    const ours = await breakwaterFleet(children, places);
    await row(ours, Number(values.losses), 'lost');
    await isolate(ours, Number(values.isolations));
    await ours.close();
    if (Number(values.crashes) > 0) {
      const quick = await breakwaterFleet(children, places, ['--crash-fast-path', 'on']);
      await row(quick, Number(values.crashes), 'killed');
      await quick.close();
    }
    const tuned = await redisFleet(children, places, 1_000);
    await row(tuned, Number(values['redis-losses']), 'lost');
    await row(tuned, Number(values['redis-losses']), 'killed');
    await isolate(tuned, Number(values['redis-isolations']));
    await tuned.close();
    if (Number(values['redis-default']) > 0) {
      const standard = await redisFleet(children, places, 15_000);
      await row(standard, Number(values['redis-default']), 'lost');
      await standard.close();
    }
    say(
      '\n| servers | owner isolated, DEL through it | acknowledged | refused | acknowledged, and the old value read afterwards |\n|---|---:|---:|---:|---:|',
    );
    for (const line of isolated) say(line);
    return 0;
  }));
