/**
 * Random schedules of the production library: gets, deletes, sets and invalidations by key, tag and namespace, over a store whose calls
 * arrive and are answered in any order, and a loader that reads a row at once and answers whenever. One seed is one schedule.
 *
 * What is checked is the promise itself: a get that *began* after an invalidation was *acknowledged* never gives what was there
 * before it. Rows are numbered; a write makes the number one higher and then tells the cache; when that is acknowledged, the number is
 * the least that any later get of the row may show.
 *
 * With an outbox calls are lost as well, before they arrive or on their way back. What a process was told is not acknowledged *and queued* counts for
 * its own gets like what was acknowledged; for the others when the outbox is empty.
 *
 * Writers of one row take turns, as transactions on it do: a `set` of an old row after another's newer one is a race of the writers,
 * which only versions can decide.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BreakwaterError } from '../../src/base/errors.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { drainPromises, ManualScheduler } from '../../src/base/scheduler.ts';
import { UnacknowledgedError } from '../../src/cache/acknowledged.ts';
import type { Breakwater } from '../../src/cache/breakwater.ts';
import type { Cache } from '../../src/cache/cache.ts';
import { OutboxStore } from '../../src/stores/outbox.ts';
import { embeddedTruth, openLibrary, type Row, SlowStore, Source } from './support.ts';

const IDS = ['1', '2', '3'] as const;
const STEPS = 90;
const RUNS = Number(process.env['BREAKWATER_SCHEDULES'] ?? 250);
const FIRST_SEED = Number(process.env['BREAKWATER_SEED'] ?? 1);

interface Instance {
  readonly bw: Breakwater;
  readonly cache: Cache<string, Row>;
  readonly store: SlowStore;
  readonly outbox: OutboxStore | null;
  /** As {@link Schedule.least}, for this process alone. */
  readonly least: Map<string, number>;
}

interface Setup {
  readonly instances: number;
  /** L1 on: the store says that nobody else writes to it. */
  readonly l1: boolean;
  /** TTLs shorter than a schedule, served stale and reloaded early; some callers have wishes. */
  readonly ageing?: boolean;
  /** Reads, leases and fills fail for a while, now here and now there: loads without a lease, next to writes that are acknowledged. */
  readonly outages?: boolean;
  /** Writes and invalidations are lost, and retried by an outbox with room for so many. */
  readonly outbox?: number;
}

const AWAY = { what: ['read', 'lease', 'fill'], error: new BreakwaterError('STORE_UNAVAILABLE', 'away') } as const;

class Schedule {
  readonly random: SeededRandom;
  readonly scheduler = new ManualScheduler();
  readonly source = new Source();
  readonly instances: Instance[] = [];
  /** The least number that a get beginning now may show. */
  readonly least = new Map<string, number>();
  readonly writing = new Set<string>();
  readonly log: string[] = [];
  readonly pending = new Set<Promise<void>>();
  gets = 0;
  readonly setup: Setup;

  constructor(seed: number, setup: Setup) {
    this.setup = setup;
    this.random = new SeededRandom(seed);
    this.source.automatic = false;
    const truth = embeddedTruth(this.scheduler, seed);
    for (let i = 0; i < setup.instances; i += 1) {
      const store = new SlowStore(truth, setup.l1);
      const outbox =
        setup.outbox === undefined
          ? null
          : new OutboxStore(store, {
              maxEntries: setup.outbox,
              directory: null,
              timeoutMs: 1_000,
              clock: this.scheduler.clock,
              scheduler: this.scheduler,
              random: new SeededRandom(seed + 100),
            });
      const { bw } = openLibrary({
        scheduler: this.scheduler,
        store: outbox ?? store,
        seed: seed + i,
        defaults: {
          leaseWait: '40ms',
          loadTimeout: '1m',
          guard: { concurrency: 100 },
          ...(setup.ageing === true && {
            ttl: '30ms',
            grace: '200ms',
            early: 20,
            staleWhileReload: seed % 3 !== 0,
          }),
        },
      });
      // Half the rows of one tag, all in one namespace.
      const cache = bw.cache<Row>('row', { load: this.source.load, tags: (row) => [row.id === '1' ? 'odd' : 'even'] });
      this.instances.push({ bw, cache, store, outbox, least: new Map() });
    }
    for (const id of IDS) this.source.rows.set(id, 0);
  }

  async step(): Promise<void> {
    if (this.setup.outages === true && this.random.nextFloat() < 0.1) {
      const { store } = this.pick(this.instances);
      store.failing = store.failing === null ? AWAY : null;
      this.log.push(`store ${store.failing === null ? 'back' : 'away'}`);
    }
    const dice = this.random.nextFloat();
    if (dice < 0.3) this.get();
    else if (dice < 0.42) this.write();
    else if (dice < 0.75) this.moveStore();
    else if (dice < 0.95) this.finishLoad();
    else await this.scheduler.run(this.pick([1, 10, 50]));
    await drainPromises();
  }

  get(): void {
    const instance = this.pick(this.instances);
    const ids: readonly string[] = this.random.nextFloat() < 0.2 ? IDS : [this.pick(IDS)];
    const least = new Map(ids.map((id) => [id, Math.max(this.least.get(id) ?? 0, instance.least.get(id) ?? 0)]));
    this.log.push(`get ${ids}`);
    this.gets += 1;
    const [only] = ids;
    const answer =
      ids.length === 1 && only !== undefined
        ? instance.cache.get(only, this.wishes()).then((row) => new Map([[only, row]]))
        : instance.cache.getMany(ids, this.wishes());
    this.track(
      answer.then((rows) => {
        for (const [id, row] of rows) {
          const shown = row?.n ?? 0;
          assert.ok(
            shown >= least.get(id)!,
            `row ${id} shows ${shown}, but ${least.get(id)} was acknowledged before the get began`,
          );
        }
      }),
    );
  }

  wishes(): { maxStale?: number; fresh?: boolean } | undefined {
    if (this.setup.ageing !== true) return undefined;
    return this.pick([undefined, undefined, {}, { maxStale: 0 }, { maxStale: 50 }, { fresh: true }]);
  }

  write(): void {
    const free: string[] = IDS.filter((one) => !this.writing.has(one));
    if (free.length === 0) return;
    const id = this.pick(free);
    const instance = this.pick(this.instances);
    const n = this.source.rows.get(id)! + 1;
    this.source.rows.set(id, n);
    this.writing.add(id);
    const how = this.pick(['delete', 'set', 'key', 'tag', 'namespace'] as const);
    this.log.push(`${how} ${id} = ${n}`);
    const tell: Record<typeof how, () => Promise<unknown>> = {
      delete: () => instance.cache.delete(id),
      set: () => instance.cache.set(id, { id, n }),
      key: () => instance.bw.invalidate({ keys: [`row:${id}`] }),
      tag: () => instance.bw.invalidate({ tags: [id === '1' ? 'odd' : 'even'] }),
      namespace: () => instance.bw.invalidate({ namespaces: ['row'] }),
    };
    this.track(
      tell[how]().then(
        () => {
          this.log.push(`acknowledged ${how} ${id} = ${n}`);
          this.least.set(id, n);
          this.writing.delete(id);
        },
        (error: unknown) => {
          if (!(error instanceof UnacknowledgedError) || !error.queued) throw error;
          this.log.push(`queued ${how} ${id} = ${n}`);
          instance.least.set(id, n);
          this.writing.delete(id);
          this.queued += 1;
        },
      ),
    );
  }

  moveStore(): void {
    const busy = this.instances.filter(({ store }) => store.steps.length > 0);
    if (busy.length === 0) return;
    const { steps } = this.pick(busy).store;
    const [step] = steps.splice(Math.floor(this.random.nextFloat() * steps.length), 1);
    const isLost = this.setup.outbox !== undefined && this.random.nextFloat() < 0.3;
    this.log.push(`store ${isLost ? 'loses' : 'moves'} ${step!.what}`);
    if (isLost) step!.fail(new BreakwaterError('STORE_UNAVAILABLE', 'lost'));
    else step!.go();
  }

  finishLoad(): void {
    const { calls } = this.source;
    if (calls.length === 0) return;
    const [call] = calls.splice(Math.floor(this.random.nextFloat() * calls.length), 1);
    this.log.push(`load of ${call!.ids} ends`);
    call!.finish();
  }

  /** Everything on its way arrives; then every row must be shown as it is. */
  async end(): Promise<void> {
    const isQueued = ({ outbox }: Instance): boolean => outbox !== null && outbox.outbox.stats().length > 0;
    const isBusy = (): boolean =>
      this.pending.size > 0 || this.source.calls.length > 0 || this.instances.some(isQueued);
    for (let round = 0; isBusy(); round += 1) {
      assert.ok(round < 2_000, 'everything ends');
      this.source.calls.shift()?.finish();
      for (const { store } of this.instances) store.steps.shift()?.go();
      await this.scheduler.run(5);
    }
    for (const { least } of this.instances) {
      for (const [id, n] of least) this.least.set(id, Math.max(n, this.least.get(id) ?? 0));
    }
    this.source.automatic = true;
    for (const { cache, store } of this.instances) {
      store.direct = true;
      store.failing = null;
      await store.settle();
      for (const id of IDS) {
        let shown = -1;
        const got = cache.get(id).then((row) => {
          shown = row?.n ?? 0;
        });
        for (let round = 0; shown < 0; round += 1) {
          assert.ok(round < 1_000, 'a get ends');
          await this.scheduler.run(5); // it may wait for a lease that nobody will use any more
        }
        await got;
        assert.ok(shown >= (this.least.get(id) ?? 0), `row ${id} is stale for ever: ${shown}`);
      }
    }
  }

  track(promise: Promise<void>): void {
    const tracked = promise.catch((error: unknown) => {
      this.failure ??= error;
    });
    this.pending.add(tracked);
    tracked.finally(() => this.pending.delete(tracked));
  }
  failure: unknown = null;
  queued = 0;

  pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.random.nextFloat() * from.length)]!;
  }
}

async function runAll(setup: Setup): Promise<void> {
  let gets = 0;
  let queued = 0;
  const runs = setup.outages === true || setup.outbox !== undefined ? Math.ceil(RUNS / 2) : RUNS;
  for (let seed = FIRST_SEED; seed < FIRST_SEED + runs; seed += 1) {
    const schedule = new Schedule(seed, setup);
    try {
      for (let i = 0; i < STEPS; i += 1) await schedule.step();
      await schedule.end();
      if (schedule.failure !== null) throw schedule.failure;
    } catch (error) {
      throw new Error(
        `seed ${seed} (BREAKWATER_SEED=${seed} BREAKWATER_SCHEDULES=1): ${error}\n${schedule.log.join('\n')}`,
        {
          cause: error,
        },
      );
    }
    gets += schedule.gets;
    queued += schedule.queued;
  }
  if (setup.outbox !== undefined) assert.ok(queued > runs, `${queued} queued`);
  assert.ok(gets > runs * 10);
}

test('one process with L1: no wrong hit in random schedules', () => runAll({ instances: 1, l1: true }));
test('two processes on one store, no L1: no wrong hit in random schedules', () => runAll({ instances: 2, l1: false }));
test('one process with L1, grace and early reloads: no wrong hit', () =>
  runAll({ instances: 1, l1: true, ageing: true }));
test('two processes, no L1, grace and early reloads: no wrong hit', () =>
  runAll({ instances: 2, l1: false, ageing: true }));
test('one process with L1, the store away now and then: no wrong hit', () =>
  runAll({ instances: 1, l1: true, outages: true }));
test('two processes, no L1, the store away now and then for one or both: no wrong hit', () =>
  runAll({ instances: 2, l1: false, outages: true }));
test('two processes, no L1, grace and early reloads, the store away now and then: no wrong hit', () =>
  runAll({ instances: 2, l1: false, ageing: true, outages: true }));
test('one process with L1 and an outbox, calls lost: no wrong hit', () =>
  runAll({ instances: 1, l1: true, outbox: 100 }));
test('one process with L1, grace and an outbox, calls lost: no wrong hit', () =>
  runAll({ instances: 1, l1: true, ageing: true, outbox: 100 }));
test('two processes with outboxes, calls lost: no wrong hit where it is known, none anywhere in the end', () =>
  runAll({ instances: 2, l1: false, outages: true, outbox: 100 }));
test('two processes with outboxes that have room for two, calls lost: no wrong hit', () =>
  runAll({ instances: 2, l1: false, ageing: true, outbox: 2 }));
