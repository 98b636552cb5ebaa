/**
 * The truth: rows with all the versions that they ever had, and the loaders that read them.
 *
 * A transaction's change is visible from its commit, which lies somewhere inside of the writer's call. A read gives a row as it was at one moment *inside of the load*,
 * chosen by chance: a snapshot is taken when a transaction begins, not when its answer arrives, and that is the window in which an invalidation can cross a load. The rows of a
 * batch are read at one moment. A read never gives what was replaced before it began: a replica that lags is another thing, which the library does not promise to cure.
 */
import { type Loader, NOT_MODIFIED } from '../../src/cache/types.ts';
import type { Machine } from '../world/machine.ts';
import type { World } from '../world/world.ts';

/** What is cached: which row of which cache, and which version of it. */
export interface Row {
  readonly key: string;
  readonly n: number;
}

export interface Version {
  readonly n: number;
  /** The row does not exist in this version. */
  readonly isAbsent: boolean;
  readonly committedMs: number;
  /** Since when nobody may be given it: an invalidation that covers it, by anybody, was acknowledged. */
  forbiddenMs: number;
  /** The same, by process: it knows its own at once. */
  readonly forbiddenBy: Map<number, number>;
  /** The same, acknowledged to be everywhere. */
  everywhereMs: number;
  /** Since when a process has had an invalidation of it in its outbox, by process: it does not ask the store, so it may not give it, from whatever tier. */
  readonly withheldBy: Map<number, number>;
  /** A `set` of it was not acknowledged: it may take effect at any later moment. */
  mayResurface: boolean;
  /** When the source, or a `set`, gave it out last. */
  sourcedMs: number;
}

export class SimLoadError extends Error {}

/** One call of a loader. */
export interface LoadCall {
  readonly process: number;
  readonly keys: readonly string[];
  readonly startMs: number;
  /** What the call brings, once it has read. */
  readonly brought: Map<string, Version>;
  endMs: number;
}

const NEVER = Number.POSITIVE_INFINITY;
/** A loader in bad times takes so much longer. */
const SLOW_MS = 200;

export class Database {
  state: 'well' | 'slow' | 'failing' | 'hung' = 'well';
  readonly rows = new Map<string, Version[]>();
  /** Calls under way, and those that ended not long ago. */
  readonly calls: LoadCall[] = [];
  loads = 0;
  onLoad: ((call: LoadCall) => void) | null = null;
  readonly #world: World;
  readonly #loadMs: readonly [number, number];
  #hung: (() => void)[] = [];

  constructor(world: World, loadMs: readonly [number, number]) {
    this.#world = world;
    this.#loadMs = loadMs;
  }

  versions(key: string): Version[] {
    let versions = this.rows.get(key);
    if (versions === undefined) {
      versions = [newVersion(0, false, 0)];
      this.rows.set(key, versions);
    }
    return versions;
  }

  latest(key: string): Version {
    return this.versions(key).at(-1)!;
  }

  commit(key: string, isAbsent: boolean): Version {
    const versions = this.versions(key);
    const version = newVersion(versions.length, isAbsent, this.#world.nowMs);
    versions.push(version);
    this.#world.trace.note(20, versions.length);
    this.#world.trace.say(() => `database: ${key} is now version ${version.n}${isAbsent ? ' (no such row)' : ''}`);
    return version;
  }

  /** Lets go of every loader that hangs. */
  release(): void {
    for (const go of this.#hung.splice(0)) go();
  }

  /** The loader of one process for one cache. */
  loader(cache: string, process: number, machine: Machine): Loader<string, Row> {
    const world = this.#world;
    return (ids, { signal, stale }) => {
      const keys = ids.map((id) => `${cache}:${id}`);
      const call: LoadCall = { process, keys, startMs: world.nowMs, brought: new Map(), endMs: NEVER };
      this.calls.push(call);
      if (this.calls.length > 200) this.calls.splice(0, 100);
      this.loads += 1;
      world.trace.note(21, process, keys.length);
      world.trace.say(() => `p${process}: loads ${keys}`);
      this.onLoad?.(call);
      const { state } = this;
      const takesMs = world.between(...this.#loadMs) + (state === 'slow' ? world.between(0, SLOW_MS) : 0);
      const readAfterMs = world.random.nextFloat() * takesMs;
      const heedsSignal = world.chance(0.5);
      const asMap = world.chance(0.5);
      const mayBeUnchanged = world.chance(0.5);
      return new Promise((resolve, reject) => {
        const end = (settle: () => void): void => {
          if (call.endMs !== NEVER) return;
          call.endMs = world.nowMs;
          settle();
        };
        if (heedsSignal) {
          signal.addEventListener('abort', () => end(() => reject(new SimLoadError('aborted'))), { once: true });
        }
        const answer = (): void => {
          world.after(readAfterMs, () => {
            for (const key of keys) call.brought.set(key, this.latest(key));
          });
          world.after(takesMs, () => {
            machine.deliver(() => {
              end(() => {
                if (state === 'failing') {
                  reject(new SimLoadError('the database fails'));
                  return;
                }
                const values = keys.map((key, i) => {
                  const version = call.brought.get(key)!;
                  version.sourcedMs = world.nowMs;
                  world.trace.say(() => `p${process}: load brings ${key} version ${version.n}`);
                  const shown = stale.get(ids[i]!) as Row | null | undefined;
                  if (mayBeUnchanged && !version.isAbsent && shown?.n === version.n && shown.key === key) {
                    return NOT_MODIFIED;
                  }
                  return version.isAbsent ? null : { key, n: version.n };
                });
                resolve(asMap ? new Map(ids.map((id, i) => [id, values[i]])) : values);
              });
            });
          });
        };
        if (state === 'hung') this.#hung.push(answer);
        else answer();
      });
    };
  }
}

function newVersion(n: number, isAbsent: boolean, committedMs: number): Version {
  return {
    n,
    isAbsent,
    committedMs,
    forbiddenMs: NEVER,
    forbiddenBy: new Map(),
    everywhereMs: NEVER,
    withheldBy: new Map(),
    mayResurface: false,
    sourcedMs: Number.NEGATIVE_INFINITY,
  };
}

/** The tags of a version: another one from version to version, and one that all rows of a cache share. */
export function tagsOf(row: Row): readonly string[] {
  return [`parity-${row.n % 2}`, `all-${row.key.slice(0, row.key.indexOf(':'))}`];
}

export function hasTag(key: string, version: Version, tag: string): boolean {
  return !version.isAbsent && tagsOf({ key, n: version.n }).includes(tag);
}
