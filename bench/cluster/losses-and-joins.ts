/**
 * What is not seen when one member is lost: a third of six members at once, and a seventh that joins.
 *
 *     npm run build && sudo node --import tsx bench/cluster/losses-and-joins.ts [--thirds 20] [--joins 5]
 *
 * 1. *A third lost*: the cables of two of six machines are pulled at once. For keys in up to 24 runs of the slots of each, others are asked every 10 ms to SET it, until one has; the slowest key counts. With one copy of each range,
 *    ranges that lost both their members begin empty. A member that has lost what it owned three times in ten minutes is given nothing for ten: ask for joins in a run of their own.
 * 2. *Join*: a seventh member with an empty memory is told of the six. How many of the 16,384 slots have another primary when it owns its share; the bar is 1.2/(N+1) of them, 1/(N+1) is what no placement can be below. Meanwhile a
 *    client overwrites and reads keys of all slots, and its errors and the old values it was told are counted. Then it leaves, and is forgotten.
 */
import { parseArgs } from 'node:util';
import { withChildren } from '../../src/cli/children/children.ts';
import { askOne, type BreakwaterFleet, breakwaterFleet, keyOf, pause, type Server } from './fleets.ts';
import { enterLab, type Machine, machines } from './lab.ts';

const { values } = parseArgs({
  options: { thirds: { type: 'string', default: '20' }, joins: { type: 'string', default: '5' } },
});
const SLOTS = 16_384;
const KEYS = 24;
const STEP_MS = 10;
const LONGEST_MS = 60_000;
const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** By slot, the host of its primary; '' where there is none. */
async function primaries(fleet: BreakwaterFleet): Promise<readonly string[]> {
  const owner = Array.from({ length: SLOTS }, () => '');
  for (const { host, slots } of await fleet.members()) {
    for (const run of slots) {
      const [first, last = first] = run.split('-').map(Number) as [number, number?];
      owner.fill(host, first, last! + 1);
    }
  }
  return owner;
}

async function thirds(fleet: BreakwaterFleet, count: number): Promise<number[]> {
  const slowest: number[] = [];
  for (let round = 0; round < count; round += 1) {
    await fleet.whole();
    const owners = await primaries(fleet);
    // Another pair each time, voters and others.
    const victims = [fleet.servers[round % 6]!, fleet.servers[(round + 1 + (round % 4)) % 6]!];
    const others = fleet.servers.filter((one) => !victims.includes(one));
    const keys: string[] = [];
    for (const { machine } of victims) {
      const slots = owners.flatMap((host, slot) => (host === machine.host ? [slot] : []));
      const step = Math.max(1, Math.floor(slots.length / KEYS));
      for (let at = 0; at < slots.length; at += step) keys.push(keyOf(slots[at]!));
    }
    for (const key of keys) await askOne(victims, 0, ['SET', key, 'before']);
    const startMs = performance.now();
    await Promise.all(victims.map(({ machine }) => machine.pull()));
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
    await Promise.all(victims.map(({ machine }) => machine.plug()));
  }
  await fleet.whole();
  return slowest.sort((a, b) => a - b);
}

interface Joined {
  readonly moved: number;
  readonly owned: number;
  readonly seconds: number;
  readonly asked: number;
  readonly errors: number;
  readonly wrong: number;
}

async function join(fleet: BreakwaterFleet, place: Machine): Promise<Joined> {
  await fleet.whole();
  await fleet.home();
  const before = await primaries(fleet);
  const startMs = performance.now();
  let [asked, errors, wrong] = [0, 0, 0];
  let isOver = false;
  const all: Server[] = [...fleet.servers];
  const traffic = Promise.all(
    Array.from({ length: 4 }, async (_, worker) => {
      for (let n = worker; !isOver; n += 4) {
        const key = keyOf((n * 37) % SLOTS);
        asked += 2;
        if ((await askOne(all, n, ['SET', key, String(n)])) === null) errors += 1;
        else {
          const read = await askOne(all, n + 1, ['GET', key]);
          if (read === null) errors += 1;
          else if (read.reply !== null && read.reply !== String(n)) wrong += 1;
        }
        await pause(5);
      }
    }),
  );
  const { server, leave } = await fleet.join(place);
  all.push(server);
  const share = SLOTS / (fleet.servers.length + 1);
  let after = await primaries(fleet);
  let owned = 0;
  for (let same = 0; same < 20; ) {
    await pause(250);
    const now = await primaries(fleet);
    same = now.every((host, slot) => host === after[slot]) && owned > share / 2 ? same + 1 : 0;
    after = now;
    owned = after.filter((host) => host === place.host).length;
    if (performance.now() - startMs > 2 * LONGEST_MS) throw new Error(`it owns ${owned} of ${share} slots`);
  }
  const seconds = (performance.now() - startMs) / 1000;
  isOver = true;
  await traffic;
  await leave();
  return { moved: after.filter((host, slot) => host !== before[slot]).length, owned, seconds, asked, errors, wrong };
}

const inside = enterLab();
process.exitCode =
  inside ??
  (await withChildren(async (children) => {
    const places = await machines(children, 6 + Number(values.joins));
    const fleet = await breakwaterFleet(children, places);
    if (Number(values.thirds) > 0) {
      const times = await thirds(fleet, Number(values.thirds));
      const at = (share: number): string =>
        `${(times[Math.min(times.length - 1, Math.floor(times.length * share))]! / 1000).toFixed(2)} s`;
      say('| two of six machines lost at once | times | fastest | median | slowest |\n|---|---:|---:|---:|---:|');
      say(`| until the slowest key can be written | ${times.length} | ${at(0)} | ${at(0.5)} | ${at(1)} |\n`);
    }
    if (Number(values.joins) > 0) {
      say(`| a seventh member joins | primaries moved | bar, 1.2/7 | it owns | until nothing moves | asked | errors | old values |
|---:|---:|---:|---:|---:|---:|---:|---:|`);
      const percent = (slots: number): string => `${((100 * slots) / SLOTS).toFixed(1)} %`;
      for (let round = 1; round <= Number(values.joins); round += 1) {
        const { moved, owned, seconds, asked, errors, wrong } = await join(fleet, places[5 + round]!);
        say(
          `| ${round} | ${percent(moved)} | ${percent((1.2 * SLOTS) / 7)} | ${percent(owned)} | ${seconds.toFixed(0)} s | ${asked} | ${errors} | ${wrong} |`,
        );
      }
    }
    await fleet.close();
    return 0;
  }));
