/**
 * What callers do and what they are told: every call of the library in a schedule, its deadline, and what the judge is to know of its outcome.
 */
import { BreakwaterError } from '../../src/base/errors.ts';
import { UnacknowledgedError } from '../../src/cache/acknowledged.ts';
import { type LoadCall, SimLoadError, type Version } from './database.ts';
import type { Asked, Cover, Token } from './history.ts';
import { type CacheName, LIMITS, type Step, type Wish } from './plan.ts';
import type { LibraryProcess } from './process.ts';
import type { Scene } from './scene.ts';

/** Longest that a get can take: reading, waiting for other processes, its turn and its load, the verdict on that, and all of it once more. */
export const GET_LIMIT_MS =
  2 *
  (3 * LIMITS.readTimeoutMs +
    2 * LIMITS.leaseWaitMs +
    LIMITS.queueTimeoutMs +
    LIMITS.loadTimeoutMs +
    LIMITS.writeTimeoutMs);
export const EVERYWHERE_LIMIT_MS = 2_000;
/** Timers of slow clocks, rounding, and the client's own slack. */
export const SLACK_MS = 60;
const UPDATE_MS = 30;

interface Operation {
  readonly what: string;
  readonly process: LibraryProcess;
  readonly startMs: number;
  readonly pausedBeforeMs: number;
  readonly limitMs: number;
}

/** A change of a key that is being told. */
interface Change {
  readonly key: string;
  readonly process: LibraryProcess;
  readonly version: Version;
  readonly sets: boolean;
}

/** An invalidation that a process has in its outbox. */
interface Queued {
  readonly process: LibraryProcess;
  readonly covered: readonly Version[];
}

class UpdateFailed extends Error {}
class Aborted extends Error {}

/** A step that is a call. */
export type CallStep = Extract<Step, { readonly kind: 'get' | 'getMany' | 'peek' | 'change' | 'invalidate' }>;

export class Calls {
  readonly counts = {
    changes: 0,
    acknowledged: 0,
    unacknowledged: 0,
    everywhere: 0,
    refused: 0,
    queued: 0,
    versionedSets: 0,
    outdatedSets: 0,
  };
  readonly #scene: Scene;
  readonly #operations = new Set<Operation>();
  readonly #changing = new Set<Change>();
  /** What is in outboxes. */
  #queued: Queued[] = [];
  /** By key: the latest version whose set was answered. */
  readonly #setVersions = new Map<string, number>();
  #tokens: Token[] = [];
  #token: Token | null = null;
  /** When somebody last wrote or invalidated a key, or was told the outcome. */
  readonly #touchedMs = new Map<string, number>();
  #freshGets = 0;

  constructor(scene: Scene) {
    this.#scene = scene;
    scene.database.onLoad = (call) => this.#onLoad(call);
    scene.onStop = (process) => this.#onStop(process);
  }

  /** Is nobody waiting for anything? */
  get isQuiet(): boolean {
    return this.#operations.size === 0;
  }

  begin(step: CallStep): void {
    const process = this.#scene.processes[step.process]!;
    process.machine.deliver(() => {
      if (process.isClosing) return;
      if (step.kind === 'get') this.#get(process, step.cache, String(step.id), step.wish);
      else if (step.kind === 'getMany') this.#getMany(process, step.cache, step.wish);
      else if (step.kind === 'peek') this.#peek(process, step.cache, String(step.id));
      else if (step.kind === 'change') this.#change(process, step);
      else this.#invalidate(process, step.how, `${step.cache}:${step.id}`, step.everywhere, 'invalidate');
    });
  }

  /** One of the last tokens, for this call. */
  #tokenFor(): Token | null {
    const known = this.#tokens;
    this.#token = known[known.length - 1 - (this.#scene.world.random.nextUint32() % Math.min(3, known.length))] ?? null;
    return this.#token;
  }

  asked(what: string, process: LibraryProcess, wish: Wish): Asked {
    return {
      what,
      process,
      startMs: this.#scene.world.nowMs,
      after: wish === 'after' ? this.#tokenFor() : null,
      isFresh: wish === 'fresh',
      maxStaleMs: wish === 'maxStale0' ? 0 : wish === 'maxStale50' ? 50 : Number.POSITIVE_INFINITY,
    };
  }

  #optionsOf(wish: Wish, process: LibraryProcess): Record<string, unknown> | undefined {
    switch (wish) {
      case 'fresh':
        return { fresh: true };
      case 'maxStale0':
        return { maxStale: 0 };
      case 'maxStale50':
        return { maxStale: 50 };
      case 'after':
        return this.#token === null ? { fresh: true } : { after: this.#token.token };
      case 'timeout':
        return { timeout: LIMITS.callTimeoutMs };
      case 'abort': {
        const controller = new AbortController();
        process.machine.scheduler.setTimer(this.#scene.world.between(0, 20), () => controller.abort(new Aborted()));
        return { signal: controller.signal };
      }
      default:
        return undefined;
    }
  }

  #get(process: LibraryProcess, cache: CacheName, id: string, wish: Wish): void {
    const key = `${cache}:${id}`;
    const asked = this.asked(`get(${wish})`, process, wish);
    const options = this.#optionsOf(wish, process);
    const limitMs = wish === 'timeout' ? LIMITS.callTimeoutMs : wish === 'abort' ? 20 : GET_LIMIT_MS;
    const declared = process.caches[cache];
    if (wish === 'fresh' || wish === 'after') this.#freshGets += 1;
    const over = (): void => {
      if (wish === 'fresh' || wish === 'after') this.#freshGets -= 1;
    };
    if (wish === 'plain') {
      this.#track(process, `get ${key}`, limitMs, declared.get(id), (row) =>
        this.#scene.history.answered(asked, key, row, null),
      );
    } else {
      const answer = declared.getDetailed(id, options);
      this.#track(
        process,
        `get ${key} (${wish})`,
        limitMs,
        answer,
        ({ value, from }) => this.#scene.history.answered(asked, key, value, from),
        over,
      );
    }
  }

  #getMany(process: LibraryProcess, cache: CacheName, wish: Wish): void {
    const asked = this.asked(`getMany(${wish})`, process, wish);
    const ids = this.#scene.ids.map(String);
    if (wish === 'fresh' || wish === 'after') this.#freshGets += 1;
    this.#track(
      process,
      `getMany ${cache}`,
      GET_LIMIT_MS,
      process.caches[cache].getMany(ids, this.#optionsOf(wish, process)),
      (rows) => {
        for (const id of ids) this.#scene.history.answered(asked, `${cache}:${id}`, rows.get(id) ?? null, null);
      },
      () => {
        if (wish === 'fresh' || wish === 'after') this.#freshGets -= 1;
      },
    );
  }

  #peek(process: LibraryProcess, cache: CacheName, id: string): void {
    const row = process.caches[cache].peek(id);
    if (row === undefined) return;
    this.#scene.history.answered(this.asked('peek', process, 'plain'), `${cache}:${id}`, row, 'l1');
  }

  // -- changes

  #change(process: LibraryProcess, step: Extract<Step, { readonly kind: 'change' }>): void {
    const { cache, how } = step;
    const id = String(step.id);
    const key = `${cache}:${id}`;
    const others = [...this.#changing].filter((other) => other.key === key);
    // Writers that set values take turns, but for those that say versions: which of two sets comes last is a race of the writers.
    const sets = how === 'set' && !step.removes;
    const { isVersioned } = this.#scene.plan.setup;
    if (sets ? others.some((other) => !other.sets || !isVersioned) : others.some((other) => other.sets)) return;
    this.counts.changes += 1;
    if (how === 'write' || how === 'failing-write') {
      this.#write(process, cache, id, step.removes, how === 'failing-write');
      return;
    }
    const version = this.#scene.database.commit(key, step.removes);
    this.touch(key);
    if (how === 'none') return;
    if (how === 'key' || how === 'tag' || how === 'namespace') {
      this.#invalidate(process, how, key, step.everywhere, how);
      return;
    }
    const covered = this.#scene.history.covered({ key });
    const change = { key, process, version, sets };
    this.#changing.add(change);
    const over = (): void => {
      this.#changing.delete(change);
    };
    if (sets) {
      version.sourcedMs = this.#scene.world.nowMs;
      this.#track(
        process,
        `set ${key}`,
        2 * LIMITS.writeTimeoutMs,
        process.caches[cache].set(id, { key, n: version.n }, isVersioned ? { version: version.n } : undefined),
        (isStored) => {
          version.sourcedMs = this.#scene.world.nowMs;
          this.#acknowledge(covered, key, process, false);
          if (isVersioned) this.#setAnswered(key, version, process, isStored);
          else if (!isStored) this.#scene.history.violate(`${key}: a set without a version was called outdated`);
        },
        over,
        () => this.#setInDoubt(key, version),
      );
    } else {
      this.#track(
        process,
        `delete ${key}`,
        LIMITS.writeTimeoutMs,
        process.caches[cache].delete(id),
        () => this.#acknowledge(covered, key, process, false),
        over,
        (error) => this.#refused(error, covered, process),
      );
    }
  }

  #write(process: LibraryProcess, cache: CacheName, id: string, removes: boolean, fails: boolean): void {
    const key = `${cache}:${id}`;
    const { world, database } = this.#scene;
    const pause = (): Promise<void> =>
      new Promise((resolve) => {
        process.machine.scheduler.setTimer(world.between(0, UPDATE_MS / 2), resolve);
      });
    const change = { key, process, version: database.latest(key), sets: false };
    this.#changing.add(change);
    let covered: Version[] = [];
    const update = async (): Promise<number> => {
      await pause();
      const commits = !fails || world.chance(0.5);
      if (commits) database.commit(key, removes);
      this.touch(key);
      await pause();
      covered = this.#scene.history.covered({ key });
      if (fails) throw new UpdateFailed();
      return 1;
    };
    this.#track(
      process,
      `write ${key}`,
      UPDATE_MS + LIMITS.writeTimeoutMs,
      process.caches[cache].write(id, update),
      ({ token }) => {
        this.#acknowledge(covered, key, process, false);
        const { index, startedMs } = process;
        this.#tokens.push({ token, process: index, startedMs, madeMs: this.#scene.world.nowMs });
      },
      () => {
        this.#changing.delete(change);
      },
      (error) => {
        // An update that failed is followed by an invalidation too.
        this.touch(key);
        this.#refused(error, covered, process);
      },
    );
  }

  #invalidate(
    process: LibraryProcess,
    how: 'key' | 'tag' | 'namespace',
    key: string,
    everywhere: boolean,
    what: string,
  ): void {
    const cache = key.slice(0, key.indexOf(':'));
    const tag = this.#scene.world.chance(0.5)
      ? `all-${cache}`
      : `parity-${(this.#scene.database.latest(key).n + 1) % 2}`;
    const cover: Cover = how === 'key' ? { key } : how === 'namespace' ? { namespace: cache } : { tag };
    // A set that is under way may come after this, and puts back what it carries: neither is before the other.
    const underWay = new Set([...this.#changing].filter(({ sets }) => sets).map(({ version }) => version));
    const covered = this.#scene.history.covered(cover).filter((version) => !underWay.has(version));
    const wait = everywhere ? 'everywhere' : 'store';
    const promise =
      how === 'key'
        ? process.breakwater.invalidate({ keys: [key], wait })
        : how === 'namespace'
          ? process.breakwater.invalidate({ namespaces: [cache], wait })
          : process.breakwater.invalidate({ tags: [tag], wait });
    for (const other of this.#scene.database.rows.keys()) this.touch(other);
    this.#track(
      process,
      `${what} by ${how} of ${how === 'tag' ? tag : how === 'key' ? key : cache}${everywhere ? ', everywhere' : ''}`,
      LIMITS.writeTimeoutMs + (everywhere ? EVERYWHERE_LIMIT_MS : 0),
      promise,
      () => {
        if (everywhere) this.counts.everywhere += 1;
        for (const other of this.#scene.database.rows.keys()) this.touch(other);
        this.#acknowledge(covered, key, process, everywhere);
      },
      undefined,
      (error) => {
        // The store has it; only that it is everywhere was not proved.
        if ((error as BreakwaterError).code === 'CACHE_NOT_EVERYWHERE') this.#acknowledge(covered, key, process, false);
        else this.#refused(error, covered, process);
      },
    );
  }

  #acknowledge(covered: readonly Version[], key: string, process: LibraryProcess, everywhere: boolean): void {
    this.counts.acknowledged += 1;
    this.touch(key);
    this.#scene.world.trace.say(() => `p${process.index}: acknowledged for ${key}${everywhere ? ', everywhere' : ''}`);
    this.#scene.history.acknowledged(covered, process.index, everywhere);
  }

  /** An invalidation that was not acknowledged: perhaps the process has it in its outbox. */
  #refused(error: unknown, covered: readonly Version[], process: LibraryProcess): void {
    if (!(error instanceof UnacknowledgedError) || !error.queued) return;
    this.counts.queued += 1;
    this.#queued.push({ process, covered });
    this.#scene.history.withheld(covered, process.index);
  }

  #setAnswered(key: string, version: Version, process: LibraryProcess, isStored: boolean): void {
    this.counts.versionedSets += 1;
    if (!isStored) this.counts.outdatedSets += 1;
    this.#setVersions.set(key, Math.max(version.n, this.#setVersions.get(key) ?? 0));
    this.#scene.history.superseded(key, version, process.index);
  }

  /** It may take effect later, unless the store has been told a later version. */
  #setInDoubt(key: string, version: Version): void {
    if (version.n < (this.#setVersions.get(key) ?? 0)) return;
    version.mayResurface = true;
  }

  /** Names in the outboxes of those who are there. */
  get pending(): number {
    return this.#scene.processes.reduce((sum, process) => sum + process.pending, 0);
  }

  /** All outboxes are empty: what those who are there had in them is in force. */
  outboxesEmpty(): void {
    for (const { process, covered } of this.#queued.splice(0)) {
      if (this.#scene.processes[process.index] !== process) continue;
      this.#scene.history.acknowledged(covered, process.index, false);
    }
  }

  touch(key: string): void {
    this.#touchedMs.set(key, this.#scene.world.nowMs);
  }

  // -- calls

  #track<T>(
    process: LibraryProcess,
    what: string,
    limitMs: number,
    promise: Promise<T>,
    onValue: (value: T) => void,
    onEnd?: () => void,
    onError?: (error: unknown) => void,
  ): void {
    const { world } = this.#scene;
    const { machine } = process;
    const operation = { what, process, startMs: world.nowMs, pausedBeforeMs: machine.pausedMs, limitMs };
    this.#operations.add(operation);
    world.trace.note(10, this.#operations.size, process.index);
    world.trace.say(() => `p${process.index}: ${what}`);
    const over = (): void => {
      this.#operations.delete(operation);
      onEnd?.();
      this.#checkDeadline(operation);
    };
    promise.then(
      (value) => {
        over();
        onValue(value);
      },
      (error: unknown) => {
        over();
        world.trace.note(11, process.index);
        world.trace.say(() => `p${process.index}: ${what} rejected: ${textOf(error)}`);
        onError?.(error);
        this.#onRejection(operation, error);
      },
    );
  }

  #onRejection({ what, process }: Operation, error: unknown): void {
    if (error instanceof Aborted || error instanceof UpdateFailed) return;
    const code = error instanceof BreakwaterError ? error.code : error instanceof SimLoadError ? 'LOAD' : null;
    this.counts.refused += 1;
    if (code === 'CACHE_INVALIDATION_UNACKNOWLEDGED' || code === 'CACHE_WRITE_UNACKNOWLEDGED') {
      this.counts.unacknowledged += 1;
    }
    if (code === null)
      this.#scene.history.violate(`p${process.index} ${what} rejected with no coded error: ${textOf(error)}`);
    else if (code === 'CACHE_TIMEOUT' && what.includes('timeout')) return;
    else if (code === 'CACHE_CLOSED' && process.isClosing) return;
    else if (this.#scene.plan.setup.isFaultless) {
      this.#scene.history.violate(`p${process.index} ${what} was refused although nothing is broken: ${textOf(error)}`);
    }
  }

  #checkDeadline(operation: Operation): void {
    const { process, startMs, pausedBeforeMs, limitMs, what } = operation;
    const tookMs = this.#scene.world.nowMs - startMs - (process.machine.pausedMs - pausedBeforeMs);
    if (tookMs <= limitMs / 0.99 + SLACK_MS) return;
    this.#scene.history.violate(`p${process.index} ${what} took ${tookMs.toFixed(0)} ms, its limit is ${limitMs}`);
  }

  /** Whether a call of this process has waited twice the lease time: what a caller waits for others at most. By a clock that may run 1 % fast. */
  #hasWaited(process: number): boolean {
    const sinceMs = this.#scene.world.nowMs - 2 * LIMITS.leaseWaitMs * 0.99;
    return [...this.#operations].some((one) => one.process.index === process && one.startMs <= sinceMs);
  }

  /** What is still open. */
  checkDeadlines(): void {
    for (const operation of this.#operations) {
      this.#scene.history.violate(
        `p${operation.process.index} ${operation.what}, begun at ${operation.startMs.toFixed(1)}, never settled`,
      );
    }
    this.#operations.clear();
  }

  #onLoad(call: LoadCall): void {
    const { setup } = this.#scene.plan;
    const mine = this.#scene.database.calls.filter(
      (one) => one.endMs === Number.POSITIVE_INFINITY && this.#isAlive(one, call),
    );
    const atOnce = mine.filter((one) => one.process === call.process).length;
    if (atOnce > setup.concurrency) {
      this.#scene.history.violate(
        `p${call.process}: ${atOnce} calls of loaders at once, the cap is ${setup.concurrency}`,
      );
    }
    if (!setup.isFaultless || this.#freshGets > 0 || setup.loadMs[1] >= LIMITS.leaseWaitMs) return;
    for (const other of mine) {
      if (other === call) continue;
      // A first connection takes longer than a read may: then the source is asked without a lease.
      if (
        [call, other].some((one) => this.#scene.processes[one.process]!.couldNotReachStore(0, this.#scene.world.nowMs))
      )
        continue;
      for (const key of call.keys) {
        if (!other.keys.includes(key)) continue;
        // An absence that is not remembered is loaded by whoever asks, and who has waited long enough asks without a lease.
        if (this.#scene.database.latest(key).isAbsent && setup.negativeTtlMs < LIMITS.leaseWaitMs) continue;
        // So may a load that was refused again and again, by invalidations, until its callers had waited for others as long as they do.
        if ([call, other].some((one) => this.#hasWaited(one.process))) continue;
        // Since the other one's lease somebody wrote or invalidated it: the lease was void, or may have been.
        if ((this.#touchedMs.get(key) ?? -1e9) > other.startMs - 4 * setup.delayMs[1] - 10) continue;
        this.#scene.history.violate(
          `p${call.process} loads ${key} while p${other.process} has been loading it since ${other.startMs.toFixed(2)}, and nobody touched it`,
        );
      }
    }
  }

  /** Calls of a process that is gone are nobody's. */
  #isAlive(one: LoadCall, now: LoadCall): boolean {
    return one === now || one.startMs >= this.#scene.processes[one.process]!.startedMs;
  }

  /** The process is gone: what it asked is asked no more, and a `set` of its may yet take effect. */
  #onStop(process: LibraryProcess): void {
    for (const operation of [...this.#operations]) {
      if (operation.process === process) this.#operations.delete(operation);
    }
    for (const change of [...this.#changing]) {
      if (change.process !== process) continue;
      if (change.sets) this.#setInDoubt(change.key, change.version);
      this.#changing.delete(change);
    }
    this.#freshGets = 0;
  }
}

export function textOf(error: unknown): string {
  if (error instanceof BreakwaterError) return `${error.code}: ${error.message}`;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
