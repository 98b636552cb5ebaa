/**
 * The library on a clock turned by hand, over a store and a source that do what the test says and when it says so.
 */
import { SeededRandom } from '../../src/base/random.ts';
import { drainPromises, ManualScheduler } from '../../src/base/scheduler.ts';
import { Breakwater } from '../../src/cache/breakwater.ts';
import type { LoadContext, SharedCacheOptions } from '../../src/cache/types.ts';
import { EmbeddedStore } from '../../src/stores/embedded.ts';
import type {
  CacheStore,
  FillEntry,
  HeldLease,
  InvalidateRequest,
  LeaseCall,
  ReadCall,
  ReadResult,
  SetOutcome,
  StoreCall,
  WriteEntry,
} from '../../src/stores/store.ts';
import { MapStore } from '../model/map-store.ts';

export interface Opened {
  readonly bw: Breakwater;
  readonly scheduler: ManualScheduler;
}

/** The truth that several libraries can share. */
export function embeddedTruth(scheduler: ManualScheduler, seed = 1): EmbeddedStore {
  return new EmbeddedStore({
    memoryBytes: 1024 ** 2,
    eviction: 'tinylfu',
    engine: new MapStore(),
    clock: scheduler.clock,
    scheduler,
    random: new SeededRandom(seed),
  });
}

export function openLibrary(
  options: { scheduler?: ManualScheduler; store?: CacheStore; defaults?: SharedCacheOptions; seed?: number } = {},
): Opened {
  const scheduler = options.scheduler ?? new ManualScheduler();
  const store = options.store ?? embeddedTruth(scheduler);
  const bw = new Breakwater({
    store,
    ports: { clock: scheduler.clock, scheduler, random: new SeededRandom(options.seed ?? 5) },
    defaults: { jitter: 0, ...options.defaults },
    readTimeoutMs: 250,
    writeTimeoutMs: 2_000,
  });
  return { bw, scheduler };
}

export interface Row {
  readonly id: string;
  readonly n: number;
}

/** One call of the loader, waiting for the test to end it. */
export interface Loading {
  readonly ids: readonly string[];
  readonly signal: AbortSignal;
  /** Answers with the rows as they were when the call began. */
  finish(): void;
  fail(error: unknown): void;
}

/** A database of numbered rows, and a loader that reads it at once and answers when told to. */
export class Source {
  readonly rows = new Map<string, number>();
  readonly calls: Loading[] = [];
  /** Answer at once instead of waiting for `finish`. */
  automatic = true;

  readonly load = (ids: readonly string[], { signal }: LoadContext): Promise<(Row | null)[]> => {
    // The row as of now: what a transaction that began now would see, however late it answers.
    const answer = ids.map((id) => {
      const n = this.rows.get(id);
      return n === undefined ? null : { id, n };
    });
    return new Promise((resolve, reject) => {
      this.calls.push({ ids: [...ids], signal, finish: () => resolve(answer), fail: reject });
      if (this.automatic) resolve(answer);
    });
  };

  /** The last call begun. */
  get last(): Loading {
    const call = this.calls.at(-1);
    if (call === undefined) throw new Error('the loader has not been called');
    return call;
  }
}

type Step = 'read' | 'lease' | 'fill' | 'set' | 'delete' | 'invalidate' | 'release';

/**
 * A store between the library and the truth, as a network is: a call takes effect when it *arrives* and is answered *later*,
 * both when the test (or chance) says so. In between anything can happen.
 */
export class SlowStore implements CacheStore {
  readonly kind = 'slow';
  readonly inProcess: boolean;
  readonly #truth: CacheStore;
  /** Calls on their way, oldest first; run one to let it take the next half of its way, or let it be lost there. */
  readonly steps: { readonly what: Step; readonly go: () => void; readonly fail: (error: Error) => void }[] = [];
  readonly counts: Record<Step, number> = { read: 0, lease: 0, fill: 0, set: 0, delete: 0, invalidate: 0, release: 0 };
  /** While set, calls of this kind (or these) fail with it on arrival. */
  failing: { readonly what: Step | readonly Step[]; readonly error: Error } | null = null;
  /** Nothing is slow: calls go straight through. */
  direct = false;

  constructor(truth: CacheStore, inProcess = false) {
    this.#truth = truth;
    this.inProcess = inProcess;
  }

  read(keys: readonly string[], call: ReadCall): Promise<ReadResult[]> {
    return this.#travel('read', () => this.#truth.read(keys, call));
  }
  lease(keys: readonly string[], call: LeaseCall): Promise<(string | null)[]> {
    return this.#travel('lease', () => this.#truth.lease(keys, call));
  }
  fill(entries: readonly FillEntry[], call: StoreCall): Promise<boolean[]> {
    return this.#travel('fill', () => this.#truth.fill(entries, call));
  }
  release(leases: readonly HeldLease[], call: StoreCall): Promise<void> {
    return this.#travel('release', () => this.#truth.release(leases, call));
  }
  set(key: string, value: Uint8Array, entry: WriteEntry, call: StoreCall): Promise<SetOutcome> {
    return this.#travel('set', () => this.#truth.set(key, value, entry, call));
  }
  delete(keys: readonly string[], call: StoreCall): Promise<number> {
    return this.#travel('delete', () => this.#truth.delete(keys, call));
  }
  invalidate(request: InvalidateRequest, call: StoreCall): Promise<void> {
    return this.#travel('invalidate', () => this.#truth.invalidate(request, call));
  }
  stats(call: StoreCall): Promise<Readonly<Record<string, number>>> {
    return this.#truth.stats(call);
  }
  close(): Promise<void> {
    return Promise.resolve();
  }

  /** Lets everything on its way arrive and be answered, in order. */
  async settle(): Promise<void> {
    await drainPromises();
    while (this.steps.length > 0) {
      this.steps.shift()!.go();
      await drainPromises();
    }
  }

  #travel<T>(what: Step, act: () => Promise<T>): Promise<T> {
    this.counts[what] += 1;
    const failing = this.failing;
    if (failing !== null && [failing.what].flat().includes(what)) return Promise.reject(failing.error);
    if (this.direct) return act();
    return new Promise<T>((resolve, reject) => {
      const arrive = (): void => {
        const answer = act();
        answer.catch(() => undefined);
        this.steps.push({ what, go: () => answer.then(resolve, reject), fail: reject });
      };
      this.steps.push({ what, go: arrive, fail: reject });
    });
  }
}
