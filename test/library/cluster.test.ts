/**
 * The library on a cluster of three nodes whose members leave, are cut off from the others and die, while two processes read, write and invalidate. Every answer is judged:
 *
 *   out of the cluster, or loaded   no older than the last invalidation that was acknowledged, to anybody, before the question
 *   out of an L1                    no older than the last that was acknowledged one bound before the question, or to this very process before it
 *
 * An invalidation that was not acknowledged is nobody's promise; it is retried from the outbox, and when all are through everybody sees the rows as they are.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { type Breakwater, createBreakwater } from '../../src/cache/index.ts';
import { eventually } from '../server/support.ts';
import { LiveCluster, type LiveMember } from '../support/live-cluster.ts';

const BOUND_MS = 500;
const KEYS = 24;
const PATIENCE_MS = 120_000;
const TIMEOUT = { timeout: 300_000 };
const clock = systemClock();
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

interface Row {
  readonly n: number;
}

/** What was acknowledged: from then on `key` is no older than `n`. */
interface Promised {
  readonly key: number;
  readonly n: number;
  readonly atMs: number;
  readonly by: Process;
}

class Process {
  readonly bw: Breakwater;
  readonly name: string;
  acknowledged = 0;
  refused = 0;
  l1 = 0;
  l2 = 0;
  readonly cache: ReturnType<typeof cacheOf>;

  constructor(name: string, url: `breakwater://${string}`, load: Load) {
    this.name = name;
    this.bw = createBreakwater({ store: url, staleness: BOUND_MS, readTimeout: '2s', writeTimeout: '4s' });
    this.cache = cacheOf(this.bw, load);
  }
}

type Load = (ids: readonly string[]) => Promise<Row[]>;
const cacheOf = (bw: Breakwater, load: Load) =>
  bw.cache<Row>('rows', { load, l1: {}, ttl: '10m', tags: (_row, id) => [tagOf(Number(id))] });
const tagOf = (key: number): string => `third-${key % 3}`;

class World {
  readonly cluster: LiveCluster;
  readonly rows = new Array<number>(KEYS).fill(0);
  readonly promised: Promised[] = [];
  readonly wrong: string[] = [];
  readonly processes: readonly Process[];
  readonly #random = new SeededRandom(20_261_121);
  #isRunning = false;
  #running: Promise<unknown> = Promise.resolve();

  constructor(cluster: LiveCluster) {
    this.cluster = cluster;
    // Reads the row, and takes its time: what changes meanwhile must not be undone by its fill.
    const load: Load = async (ids) => {
      const read = ids.map((id) => ({ n: this.rows[Number(id)]! }));
      await pause(this.#random.nextFloat() * 5);
      return read;
    };
    const [first] = cluster.members;
    this.processes = [
      new Process('all', cluster.url, load),
      new Process('one', `breakwater://127.0.0.1:${first!.port}`, load),
    ];
  }

  run(): void {
    this.#isRunning = true;
    this.#running = Promise.all(
      this.processes.flatMap((process) => [
        this.#while(() => this.#read(process)),
        this.#while(() => this.#readMany(process)),
        this.#while(() => this.#write(process)),
      ]),
    );
  }

  async stop(): Promise<void> {
    this.#isRunning = false;
    await this.#running;
  }

  /** Each process goes on: acknowledged invalidations, hits in the cluster and in its L1. */
  async progress(when: string): Promise<void> {
    const had = this.processes.map(({ acknowledged, l1, l2 }) => ({ acknowledged, l1, l2 }));
    await eventually(
      () =>
        this.processes.every(
          ({ acknowledged, l1, l2 }, i) =>
            acknowledged >= had[i]!.acknowledged + 10 && l1 >= had[i]!.l1 + 10 && l2 >= had[i]!.l2 + 3,
        ),
      () => `both go on ${when}: ${JSON.stringify(this.processes.map(({ bw, cache, ...counts }) => counts))}`,
      PATIENCE_MS,
    );
  }

  /** Nothing is pending, and everybody sees every row as it is. */
  async settled(): Promise<void> {
    await eventually(
      async () =>
        (await Promise.all(this.processes.map(({ bw }) => bw.stats()))).every(({ outbox }) => outbox?.length === 0),
      () => 'what was not acknowledged is through',
      PATIENCE_MS,
    );
    await pause(BOUND_MS + 50);
    for (const { cache, name } of this.processes) {
      const found = await Promise.all(this.rows.map(async (_, key) => (await cache.get(String(key)))?.n));
      assert.deepEqual(found, this.rows, `as ${name} sees it`);
    }
  }

  async #while(work: () => Promise<void>): Promise<void> {
    while (this.#isRunning) {
      await work();
      await pause(1);
    }
  }

  async #read(process: Process): Promise<void> {
    const key = this.#random.nextUint32() % KEYS;
    const askedMs = clock.now();
    try {
      const { value, from } = await process.cache.getDetailed(String(key));
      this.#judge(process, key, value?.n ?? -1, from, askedMs);
    } catch {
      // A key that is being loaded elsewhere, or nobody answers: no answer is no wrong one.
    }
  }

  /** Out of L1 alone: `getMany` does not say where each came from. */
  async #readMany(process: Process): Promise<void> {
    const keys = Array.from({ length: 8 }, () => this.#random.nextUint32() % KEYS);
    for (const key of keys) {
      const seen = process.cache.peek(String(key));
      if (seen !== undefined && seen !== null) this.#judge(process, key, seen.n, 'l1', clock.now());
    }
    await process.cache.getMany(keys.map(String)).catch(() => undefined);
  }

  async #write(process: Process): Promise<void> {
    const key = this.#random.nextUint32() % KEYS;
    const isTag = this.#random.nextFloat() < 0.2;
    const covered = isTag ? [...this.rows.keys()].filter((each) => each % 3 === key % 3) : [key];
    const made = covered.map((each) => {
      this.rows[each]! += 1;
      return { key: each, n: this.rows[each]! };
    });
    try {
      if (isTag) await process.bw.invalidate({ tags: [tagOf(key)] });
      else await process.cache.delete(String(key));
    } catch {
      process.refused += 1;
      return;
    }
    process.acknowledged += 1;
    const atMs = clock.now();
    for (const fact of made) this.promised.push({ ...fact, atMs, by: process });
  }

  #judge(process: Process, key: number, n: number, from: string, askedMs: number): void {
    if (from === 'l1') process.l1 += 1;
    if (from === 'l2') process.l2 += 1;
    for (const fact of this.promised) {
      if (fact.key !== key || fact.n <= n) continue;
      const isBound = from === 'l1' && fact.by !== process;
      if (fact.atMs + (isBound ? BOUND_MS : 0) >= askedMs) continue;
      this.wrong.push(
        `${process.name} read ${n} of ${key} from ${from}, ${fact.n} was acknowledged ${Math.round(askedMs - fact.atMs)} ms before`,
      );
    }
  }
}

let world: World;
before(async () => {
  world = new World(await LiveCluster.start(3));
}, TIMEOUT);
after(async () => {
  await world?.stop();
  await Promise.all((world?.processes ?? []).map(({ bw }) => bw.close()));
  await world?.cluster.close();
});

/** Runs both processes while `fault` happens, until each got on behind it. */
async function whileJudged(fault: (cluster: LiveCluster) => Promise<void>): Promise<void> {
  world.run();
  await world.progress('before');
  await fault(world.cluster);
  await world.progress('after');
  await world.stop();
  assert.deepEqual(world.wrong, []);
  await world.settled();
}

const others = (member: LiveMember): readonly LiveMember[] => world.cluster.alive.filter((one) => one !== member);

test('a member gives its ranges away and is there still', TIMEOUT, async () => {
  await whileJudged(async (cluster) => {
    const member = cluster.members[1]!;
    member.machine.leave(true);
    await cluster.ownedBy(others(member));
    member.machine.leave(false);
  });
});

test(
  'a member is cut off from the others, and clients reach it: it serves nothing that others have changed',
  TIMEOUT,
  async () => {
    await whileJudged(async (cluster) => {
      const member = cluster.ownerOf('rows:0')!;
      member.isCut = true;
      await cluster.ownedBy(others(member));
      await world.progress('while it is cut off');
      member.isCut = false;
    });
  },
);

test('an owner dies', TIMEOUT, async () => {
  await whileJudged(async (cluster) => {
    const member = cluster.ownerOf('rows:1')!;
    await member.kill();
    await cluster.ownedBy(cluster.alive);
  });
});
