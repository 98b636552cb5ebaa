/**
 * One process of a service that uses the library: the production Breakwater over the production store and client, on a simulated machine.
 *
 * The store is watched on its way through, since one thing cannot be seen from outside that the judge must know: whether the process could reach its store. Watching
 * changes nothing.
 */
import { SeededRandom } from '../../src/base/random.ts';
import { Breakwater } from '../../src/cache/breakwater.ts';
import type { Cache } from '../../src/cache/cache.ts';
import { BreakwaterStore } from '../../src/stores/breakwater.ts';
import { OutboxStore } from '../../src/stores/outbox.ts';
import type { CacheStore } from '../../src/stores/store.ts';
import { Machine } from '../world/machine.ts';
import type { Network } from '../world/network.ts';
import type { World } from '../world/world.ts';
import { type Database, type Row, tagsOf } from './database.ts';
import { CACHES, type CacheName, LIMITS, type ProcessSetup, type Setup } from './plan.ts';

export const NODE_ADDRESS = 'node:7379';

export class LibraryProcess {
  readonly index: number;
  readonly setup: ProcessSetup;
  readonly machine: Machine;
  readonly startedMs: number;
  readonly breakwater: Breakwater;
  readonly caches: Readonly<Record<CacheName, Cache<string, Row>>>;
  /** `close()` was called. */
  isClosing = false;
  readonly #store: WatchedStore;
  readonly #outbox: OutboxStore | null;

  constructor(
    index: number,
    world: World,
    network: Network,
    database: Database,
    setup: Setup,
    clock: { readonly offsetMs: number; readonly rate: number },
    seed: number,
  ) {
    const own = setup.processes[index]!;
    this.index = index;
    this.setup = own;
    this.startedMs = world.nowMs;
    const machine = new Machine(world, `p${index}`, clock.offsetMs, clock.rate);
    this.machine = machine;
    const ports = { clock: machine.clock, scheduler: machine.scheduler, random: new SeededRandom(seed) };
    this.#store = new WatchedStore(
      new BreakwaterStore({
        url: `breakwater://${NODE_ADDRESS}?hangTimeout=400ms&connectTimeout=300ms`,
        dial: network.dialOf(machine),
        ...ports,
      }),
      world,
    );
    this.#outbox =
      setup.outboxEntries === null
        ? null
        : new OutboxStore(this.#store, {
            maxEntries: setup.outboxEntries,
            directory: null,
            timeoutMs: LIMITS.writeTimeoutMs,
            ...ports,
          });
    this.breakwater = new Breakwater({
      store: this.#outbox ?? this.#store,
      ports,
      readTimeoutMs: LIMITS.readTimeoutMs,
      writeTimeoutMs: LIMITS.writeTimeoutMs,
      stalenessMs: setup.stalenessMs,
      rememberedVoids: setup.rememberedVoids,
      defaults: {
        ttl: setup.ttlMs,
        grace: setup.graceMs,
        staleWhileReload: setup.staleWhileReload,
        early: setup.early,
        negativeTtl: setup.negativeTtlMs,
        jitter: LIMITS.jitter,
        loadTimeout: LIMITS.loadTimeoutMs,
        leaseWait: LIMITS.leaseWaitMs,
        ...(setup.softTimeoutMs === null ? {} : { softTimeout: setup.softTimeoutMs }),
        l1: own.l1 ? { maxEntries: setup.l1Entries } : false,
      },
    });
    const source = this.breakwater.source('database', {
      concurrency: setup.concurrency,
      queueTimeout: LIMITS.queueTimeoutMs,
      maxAbandoned: 0,
      breaker: { open: 50, maxOpen: 200, window: 500 },
      backoff: { base: 10, max: 80 },
    });
    const declare = (name: CacheName): Cache<string, Row> =>
      this.breakwater.cache<Row>(name, {
        guard: source,
        tags: (row) => tagsOf(row),
        load: database.loader(name, index, machine),
      });
    this.caches = Object.fromEntries(CACHES.map((name) => [name, declare(name)])) as Record<
      CacheName,
      Cache<string, Row>
    >;
  }

  /** Names in its outbox. */
  get pending(): number {
    return this.#outbox?.outbox.stats().length ?? 0;
  }

  /** Did a read of its store fail between these moments? */
  couldNotReachStore(fromMs: number, toMs: number): boolean {
    return this.#store.failures.some((atMs) => atMs >= fromMs && atMs <= toMs);
  }
}

/** Nothing but looking on: the caller gets the store's own promises, and its reactions run behind ours. */
class WatchedStore implements CacheStore {
  readonly kind: string;
  readonly inProcess: boolean;
  readonly feed: BreakwaterStore['feed'];
  /** When a read failed. */
  readonly failures: number[] = [];
  readonly #store: BreakwaterStore;
  readonly #world: World;

  constructor(store: BreakwaterStore, world: World) {
    this.#store = store;
    this.#world = world;
    this.kind = store.kind;
    this.inProcess = store.inProcess;
    this.feed = store.feed;
  }

  readonly read: CacheStore['read'] = (...args) => this.#noting(this.#store.read(...args));
  readonly lease: CacheStore['lease'] = (...args) => this.#noting(this.#store.lease(...args));
  readonly fill: CacheStore['fill'] = (...args) => this.#store.fill(...args);
  readonly release: CacheStore['release'] = (...args) => this.#store.release(...args);
  readonly set: CacheStore['set'] = (...args) => this.#store.set(...args);
  readonly delete: CacheStore['delete'] = (...args) => this.#store.delete(...args);
  readonly invalidate: CacheStore['invalidate'] = (...args) => this.#store.invalidate(...args);
  readonly stats: CacheStore['stats'] = (...args) => this.#store.stats(...args);
  readonly close: CacheStore['close'] = () => this.#store.close();

  #noting<T>(answer: Promise<T>): Promise<T> {
    answer.then(undefined, () => {
      this.failures.push(this.#world.nowMs);
    });
    return answer;
  }
}
