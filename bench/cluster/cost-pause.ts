/**
 * Of `cost.ts`: how long requests wait while ranges change their owner, all members up: single ranges moved one after the other (`breakwater move`), then a member drained, under load.
 *
 * The load: lanes that each ask for something every few milliseconds, follow `-MOVED` and ask again after any other error, which is counted. A request's time is from its first sending to its answer, wherever that came from.
 * Beside it two clients ask for a key of the range that is being moved, without a pause, one reading, one overwriting: their longest requests are what clients of that range saw of the move.
 */
import type { RespClient } from '../../src/client/client.ts';
import { slotOf } from '../../src/hash/slot.ts';
import { ReplyError } from '../../src/resp/reply.ts';
import { clientOf, type Fleet, keyOf, pause, type Server, statusOf } from './fleets.ts';
import { quantile } from './wire.ts';

const LANES = 8;
const LANE_PAUSE_MS = 2;
const KEYS = 20_000;
const VALUE = 'z'.repeat(100);
const POLL_MS = 10;
const QUIET_MS = 5_000;
const LONGEST_MS = 60_000;

/** What clients know and were told, all together. */
class Load {
  /** Errors that clients were told, -MOVED apart. */
  errors = 0;
  /** Times of all requests since it was emptied last, ms. */
  times: number[] = [];
  isOver = false;
  readonly hosts: string[];

  constructor(owners: readonly string[]) {
    this.hosts = [...owners];
  }
}

/** One client: a connection to each member, so that nobody waits behind another's write. */
class Asker {
  readonly #load: Load;
  readonly #clients: ReadonlyMap<string, RespClient>;

  constructor(load: Load, servers: readonly Server[]) {
    this.#load = load;
    this.#clients = new Map(servers.map(({ machine, port }) => [machine.host, clientOf(machine, port)]));
  }

  /** Milliseconds until it was answered. */
  async ask(key: string, ...args: readonly string[]): Promise<number> {
    const load = this.#load;
    const slot = slotOf(Buffer.from(key), 0, key.length);
    const startMs = performance.now();
    for (;;) {
      try {
        await this.#clients.get(load.hosts[slot]!)!.command(args, { timeoutMs: 10_000 });
        return performance.now() - startMs;
      } catch (error) {
        const host = error instanceof ReplyError ? /^MOVED \d+ (\S+):\d+$/.exec(error.message)?.[1] : undefined;
        if (host !== undefined) load.hosts[slot] = host;
        else {
          load.errors += 1;
          await pause(1);
        }
      }
    }
  }

  async lane(first: number): Promise<void> {
    const load = this.#load;
    for (let n = first; !load.isOver; n += LANES) {
      const key = `load:${(n * 7919) % KEYS}`;
      const args = n % 10 === 0 ? ['SET', key, VALUE] : n % 10 === 5 ? ['DEL', key] : ['GET', key];
      load.times.push(await this.ask(key, ...args));
      await pause(LANE_PAUSE_MS);
    }
  }

  close(): Promise<unknown> {
    return Promise.all([...this.#clients.values()].map((client) => client.close({ drain: false })));
  }
}

const row = (what: string, times: readonly number[]): string =>
  times.length === 0
    ? `| ${what} | 0 | | | | |`
    : `| ${what} | ${times.length} | ${[0.5, 0.99, 0.999, 1].map((share) => quantile(times, share).toFixed(1)).join(' | ')} |`;

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + LONGEST_MS;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`after ${LONGEST_MS / 1_000} s still: ${what}`);
    await pause(POLL_MS);
  }
}

export async function pauses(fleet: Fleet, moves: number): Promise<string[]> {
  const { servers } = fleet;
  const first = (await statusOf(servers[0]!))!;
  const owners: string[] = [];
  for (const { host, slots } of first.members) {
    for (const run of slots) {
      const [from, to = from] = run.split('-').map(Number) as [number, number?];
      owners.fill(host, from, to + 1);
      for (let slot = from; slot <= to; slot += 1) owners[slot] = host;
    }
  }
  const load = new Load(owners);
  const askers = Array.from({ length: LANES }, () => new Asker(load, servers));
  const [reader, writer] = [new Asker(load, servers), new Asker(load, servers)];
  await Promise.all(
    askers.map(async (asker, lane) => {
      for (let n = lane; n < KEYS; n += LANES) await asker.ask(`load:${n}`, 'SET', `load:${n}`, VALUE);
    }),
  );
  load.errors = 0;
  const lanes = askers.map((asker, lane) => asker.lane(lane));
  await pause(1_000);
  load.times = [];
  await pause(QUIET_MS);
  const quiet = load.times;

  load.times = [];
  const probed = { reads: [] as number[], writes: [] as number[] };
  const ownerless: number[] = [];
  const perRange = 16_384 / first.ranges;
  for (let move = 0; move < moves; move += 1) {
    // Another range each time, and another member for it.
    const range = (move * 37) % first.ranges;
    const key = keyOf(range * perRange);
    await writer.ask(key, 'SET', key, VALUE);
    const status = await Promise.all(servers.map(statusOf));
    const slot = range * perRange;
    const owns = (slots: readonly string[]): boolean =>
      slots.some((run) => {
        const [from, to = from] = run.split('-').map(Number) as [number, number?];
        return slot >= from && slot <= to;
      });
    const { members } = status[0]!;
    const from = members.findIndex(({ slots }) => owns(slots));
    const to = members[(from + 1 + (move % (members.length - 1))) % members.length]!;
    const owner = servers.find(({ machine }) => machine.host === members[from]!.host)!;
    const before = (await statusOf(owner))!.handOvers;
    let isDone = false;
    const longest = async (asker: Asker, ...args: readonly string[]): Promise<number> => {
      let ms = 0;
      while (!isDone) ms = Math.max(ms, await asker.ask(key, ...args));
      return ms;
    };
    const probes = [longest(reader, 'GET', key), longest(writer, 'SET', key, VALUE)] as const;
    await owner.client.command(['BW.MEMBER', 'MOVE', String(slot), to.id], { text: true });
    let after = before;
    await until(`range ${range} is on its way to ${to.host}`, async () => {
      after = (await statusOf(owner))?.handOvers ?? before;
      return after.count > before.count;
    });
    // What has arrived at the new owner is answered.
    await pause(100);
    isDone = true;
    const [read, write] = await Promise.all(probes);
    probed.reads.push(read);
    probed.writes.push(write);
    ownerless.push((after.pausedMs - before.pausedMs) / (after.count - before.count));
  }
  const moving = load.times;

  load.times = [];
  const drained = servers.at(-1)!;
  const before = (await statusOf(drained))!;
  await drained.client.command(['BW.MEMBER', 'DRAIN'], { text: true });
  await until('the drained member owns ranges', async () => {
    const status = await statusOf(drained);
    return status?.members.find(({ isSelf }) => isSelf)?.owned === 0;
  });
  const after = (await statusOf(drained))!;
  const draining = load.times;
  await drained.client.command(['BW.MEMBER', 'RETURN'], { text: true });
  load.isOver = true;
  await Promise.all(lanes);
  for (const asker of [...askers, reader, writer]) await asker.close();
  const given = after.handOvers.count - before.handOvers.count;
  const meanMs = (after.handOvers.pausedMs - before.handOvers.pausedMs) / given;
  return [
    '## The pause of a hand-over',
    '',
    `Six members, ${first.ranges} ranges, ${KEYS} keys with values of ${VALUE.length} bytes; ${LANES} clients that ask every ${LANE_PAUSE_MS} ms each (8 GETs, a SET, a DEL of ten), a connection to each member each, all over the cluster. ${moves} ranges moved one after the other, then a member drained of its ranges. Milliseconds.`,
    '',
    '| | count | p50 | p99 | p99.9 | longest |',
    '| --- | ---: | ---: | ---: | ---: | ---: |',
    row('request, nothing moves', quiet),
    row('request, while single ranges move (all ranges asked for)', moving),
    row('longest read of a client that asks for a moved range without a pause, by move', probed.reads),
    row('longest overwrite of one that does, by move', probed.writes),
    row('range without an owner (frozen until the news that somebody reigns), by move', ownerless),
    row('request, while a member is drained', draining),
    '',
    `Drained: ${given} ranges given away, ${meanMs.toFixed(1)} ms without an owner each on average, ${after.handOvers.longestMs.toFixed(1)} the longest of that member's. Errors that clients were told all the while, -MOVED apart: ${load.errors}.`,
    '',
    `Bar: a range is without an owner for at most 10 ms. p50 ${quantile(ownerless, 0.5).toFixed(1)}, p99 ${quantile(ownerless, 0.99).toFixed(1)}, longest ${Math.max(...ownerless).toFixed(1)}.`,
  ];
}
