/**
 * One schedule from beginning to end.
 *
 *     steps and faults --> heal --> everything that was asked has been answered --> each process reads every row (nothing forbidden)
 *         --> what was never acknowledged is invalidated again --> each process reads every row (the truth and nothing else) --> close
 *
 * What is checked beside the judge's rules (`history.ts`):
 *
 *   - every call settles by its deadline, the time that its process was frozen not counted; nothing rejects unhandled; nothing rejects with other than a coded error;
 *   - the source never sees more calls of one process at once than the guard's cap;
 *   - where nothing breaks, nothing is refused, and while nobody touches a key there is one load of it at a time in the whole fleet.
 */
import { BreakwaterError } from '../../src/base/errors.ts';
import { Machine } from '../world/machine.ts';
import { Network } from '../world/network.ts';
import { NodeHost } from '../world/node-host.ts';
import { World } from '../world/world.ts';
import { Database, type LoadCall, SimLoadError, type Version } from './database.ts';
import { type Asked, type Cover, History } from './history.ts';
import { CACHES, type CacheName, type Fault, LIMITS, type Plan, type Step, type Wish } from './plan.ts';
import { LibraryProcess, NODE_ADDRESS } from './process.ts';

export interface Report {
  readonly seed: number;
  /** Of everything that happened. */
  readonly hash: string;
  readonly violations: readonly string[];
  readonly lines: readonly string[];
  readonly counts: Counts;
}

export interface Counts {
  answers: number;
  fromL1: number;
  staleFromL1: number;
  loads: number;
  changes: number;
  acknowledged: number;
  unacknowledged: number;
  everywhere: number;
  refused: number;
  faults: number;
  events: number;
  virtualMs: number;
}

/** Longest that a get can take: reading, waiting for other processes, its turn and its load, the verdict on that, and all of it once more. */
const GET_LIMIT_MS =
  2 *
  (3 * LIMITS.readTimeoutMs +
    2 * LIMITS.leaseWaitMs +
    LIMITS.queueTimeoutMs +
    LIMITS.loadTimeoutMs +
    LIMITS.writeTimeoutMs);
const EVERYWHERE_LIMIT_MS = 2_000;
/** Timers of slow clocks, rounding, and the client's own slack. */
const SLACK_MS = 60;
const UPDATE_MS = 30;
const MOST_ROUNDS = 60;
/** The longest cut, delay and pause of `plan.ts`, with faults; without, two journeys. */
const LATENESS_MS = 4_000;
const FAULTLESS_LATENESS_MS = 300;

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

class UpdateFailed extends Error {}
class Aborted extends Error {}

export class Simulation {
  readonly world: World;
  readonly database: Database;
  readonly history: History;
  readonly #plan: Plan;
  readonly #network: Network;
  #node!: NodeHost;
  readonly #processes: LibraryProcess[] = [];
  readonly #operations = new Set<Operation>();
  /** Changes of a key under way, and whether one of them is a `set`. */
  readonly #changing = new Set<Change>();
  #tokens: { readonly token: string; readonly covered: readonly Version[] }[] = [];
  #token: { readonly token: string; readonly covered: readonly Version[] } | null = null;
  /** When somebody last wrote or invalidated a key, or was told the outcome. */
  readonly #touchedMs = new Map<string, number>();
  #freshGets = 0;
  #starts = 0;
  #isHealed = false;
  readonly #counts = { changes: 0, acknowledged: 0, unacknowledged: 0, everywhere: 0, refused: 0, faults: 0 };

  constructor(plan: Plan, isRecording = false) {
    const { setup, seed } = plan;
    this.#plan = plan;
    this.world = new World(seed ^ 0x5bd1_e995, isRecording);
    this.#network = new Network(this.world, setup);
    this.database = new Database(this.world, setup.loadMs);
    this.history = new History(this.world, this.database, {
      ...setup,
      jitter: LIMITS.jitter,
      latenessMs: setup.isFaultless ? FAULTLESS_LATENESS_MS : LATENESS_MS,
    });
    this.database.onLoad = (call) => this.#onLoad(call);
    this.#startNode(setup.nodeOffsetMs);
    setup.processes.forEach(({ offsetMs }, index) => {
      this.#startProcess(index, offsetMs);
    });
    for (const cache of CACHES) for (const id of this.#ids) this.database.versions(`${cache}:${id}`);
    for (const step of plan.steps) this.world.at(step.atMs, () => this.#begin(step));
  }

  /** Runs it all. From a macrotask: see `World`. */
  run(): Report {
    const stopWatching = watch((text) => this.history.violate(text));
    try {
      const { world } = this;
      this.#phases((untilMs, isOver) => world.run(untilMs, isOver));
    } catch (error) {
      this.history.violate(`the world stopped: ${textOf(error)}`);
    } finally {
      stopWatching();
    }
    return this.#report();
  }

  /** The same by ordinary means: see `World.runSlowly`. The phases are awaited one by one. */
  async runSlowly(): Promise<Report> {
    const stopWatching = watch((text) => this.history.violate(text));
    try {
      for (const { forMs, isOver, begin } of this.#script()) {
        begin();
        await this.world.runSlowly(this.world.nowMs + forMs(), isOver);
      }
    } catch (error) {
      this.history.violate(`the world stopped: ${textOf(error)}`);
    } finally {
      stopWatching();
    }
    return this.#report();
  }

  #phases(run: (untilMs: number, isOver: () => boolean) => void): void {
    for (const { forMs, isOver, begin } of this.#script()) {
      begin();
      run(this.world.nowMs + forMs(), isOver);
    }
  }

  /** What is done one after the other, each for so long or until it is over. */
  *#script(): Generator<{ begin: () => void; forMs: () => number; isOver: () => boolean }> {
    const { steps, setup } = this.#plan;
    const lastMs = (steps.at(-1)?.atMs ?? 0) + 1;
    const boundMs = setup.stalenessMs / 0.99 + 60;
    const isQuiet = (): boolean => this.#operations.size === 0;
    const idle = (): undefined => undefined;
    yield { begin: idle, forMs: () => lastMs, isOver: () => false };
    yield { begin: () => this.#heal(), forMs: () => GET_LIMIT_MS + EVERYWHERE_LIMIT_MS + 500, isOver: isQuiet };
    this.#checkDeadlines();
    yield { begin: idle, forMs: () => boundMs, isOver: () => false };
    if (this.#open().length > 0) {
      yield* this.#readEverything(false);
      yield* this.#settleTheRest();
      yield { begin: idle, forMs: () => boundMs, isOver: () => false };
    }
    yield* this.#readEverything(true);
    let closed = 0;
    yield {
      begin: () => {
        for (const process of this.#processes) {
          process.isClosing = true;
          process.breakwater.close().then(() => {
            closed += 1;
          });
        }
      },
      forMs: () => 100,
      isOver: () => closed === this.#processes.length,
    };
    if (closed !== this.#processes.length) this.history.violate('close() did not resolve');
    this.#node.node.context.freshness.invariants();
    this.#checkDeadlines();
  }

  #report(): Report {
    const { history, world, database } = this;
    return {
      seed: this.#plan.seed,
      hash: world.trace.hash,
      violations: history.violations,
      lines: world.trace.lines,
      counts: {
        answers: history.answers,
        fromL1: history.fromL1,
        staleFromL1: history.staleFromL1,
        loads: database.loads,
        ...this.#counts,
        events: world.events,
        virtualMs: Math.round(world.nowMs),
      },
    };
  }

  get #ids(): number[] {
    return Array.from({ length: this.#plan.setup.ids }, (_, id) => id);
  }

  // -- who is there

  #startNode(offsetMs: number): void {
    const { setup, seed } = this.#plan;
    this.#starts += 1;
    const machine = new Machine(this.world, 'node', offsetMs, setup.nodeRate);
    this.#node = new NodeHost(machine, this.#network, NODE_ADDRESS, seed + 7919 * this.#starts, {
      feedRecords: setup.feedRecords,
      generationCapacity: setup.generationCapacity,
      leaseCapacity: setup.leaseCapacity,
    });
  }

  #startProcess(index: number, offsetMs: number): void {
    const { setup, seed } = this.#plan;
    this.#starts += 1;
    const { rate } = setup.processes[index]!;
    const clock = { offsetMs, rate };
    const at = seed + 104_729 * this.#starts;
    this.#processes[index] = new LibraryProcess(index, this.world, this.#network, this.database, setup, clock, at);
  }

  // -- steps

  #begin(step: Step): void {
    switch (step.kind) {
      case 'get':
      case 'getMany':
      case 'peek':
      case 'change':
      case 'invalidate': {
        const process = this.#processes[step.process]!;
        process.machine.deliver(() => {
          if (process.isClosing) return;
          if (step.kind === 'get') this.#get(process, step.cache, String(step.id), step.wish);
          else if (step.kind === 'getMany') this.#getMany(process, step.cache, step.wish);
          else if (step.kind === 'peek') this.#peek(process, step.cache, String(step.id));
          else if (step.kind === 'change') this.#change(process, step);
          else this.#invalidate(process, step.how, `${step.cache}:${step.id}`, step.everywhere, 'invalidate');
        });
        return;
      }
      default:
        this.#counts.faults += 1;
        this.world.trace.say(() => `fault: ${JSON.stringify(step)}`);
        this.#fault(step);
    }
  }

  /** One of the last tokens, for this call. */
  #tokenFor(): { readonly covered: readonly Version[] } | null {
    const known = this.#tokens;
    this.#token = known[known.length - 1 - (this.world.random.nextUint32() % Math.min(3, known.length))] ?? null;
    return this.#token;
  }

  #asked(what: string, process: LibraryProcess, wish: Wish): Asked {
    return {
      what,
      process,
      startMs: this.world.nowMs,
      after: wish === 'after' ? (this.#tokenFor()?.covered ?? null) : null,
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
        process.machine.scheduler.setTimer(this.world.between(0, 20), () => controller.abort(new Aborted()));
        return { signal: controller.signal };
      }
      default:
        return undefined;
    }
  }

  #get(process: LibraryProcess, cache: CacheName, id: string, wish: Wish): void {
    const key = `${cache}:${id}`;
    const asked = this.#asked(`get(${wish})`, process, wish);
    const options = this.#optionsOf(wish, process);
    const limitMs = wish === 'timeout' ? LIMITS.callTimeoutMs : wish === 'abort' ? 20 : GET_LIMIT_MS;
    const declared = process.caches[cache];
    if (wish === 'fresh' || wish === 'after') this.#freshGets += 1;
    const over = (): void => {
      if (wish === 'fresh' || wish === 'after') this.#freshGets -= 1;
    };
    if (wish === 'plain') {
      this.#track(process, `get ${key}`, limitMs, declared.get(id), (row) =>
        this.history.answered(asked, key, row, null),
      );
    } else {
      const answer = declared.getDetailed(id, options);
      this.#track(
        process,
        `get ${key} (${wish})`,
        limitMs,
        answer,
        ({ value, from }) => this.history.answered(asked, key, value, from),
        over,
      );
    }
  }

  #getMany(process: LibraryProcess, cache: CacheName, wish: Wish): void {
    const asked = this.#asked(`getMany(${wish})`, process, wish);
    const ids = this.#ids.map(String);
    if (wish === 'fresh' || wish === 'after') this.#freshGets += 1;
    this.#track(
      process,
      `getMany ${cache}`,
      GET_LIMIT_MS,
      process.caches[cache].getMany(ids, this.#optionsOf(wish, process)),
      (rows) => {
        for (const id of ids) this.history.answered(asked, `${cache}:${id}`, rows.get(id) ?? null, null);
      },
      () => {
        if (wish === 'fresh' || wish === 'after') this.#freshGets -= 1;
      },
    );
  }

  #peek(process: LibraryProcess, cache: CacheName, id: string): void {
    const row = process.caches[cache].peek(id);
    if (row === undefined) return;
    this.history.answered(this.#asked('peek', process, 'plain'), `${cache}:${id}`, row, 'l1');
  }

  // -- changes

  #change(process: LibraryProcess, step: Extract<Step, { readonly kind: 'change' }>): void {
    const { cache, how } = step;
    const id = String(step.id);
    const key = `${cache}:${id}`;
    const others = [...this.#changing].filter((other) => other.key === key);
    // Writers that set values take turns: which of two sets comes last is a race of the writers.
    const sets = how === 'set' && !step.removes;
    if (sets ? others.length > 0 : others.some((other) => other.sets)) return;
    this.#counts.changes += 1;
    if (how === 'write' || how === 'failing-write') {
      this.#write(process, cache, id, step.removes, how === 'failing-write');
      return;
    }
    const version = this.database.commit(key, step.removes);
    this.#touch(key);
    if (how === 'none') return;
    if (how === 'key' || how === 'tag' || how === 'namespace') {
      this.#invalidate(process, how, key, step.everywhere, how);
      return;
    }
    const covered = this.history.covered({ key });
    const change = { key, process, version, sets };
    this.#changing.add(change);
    const over = (): void => {
      this.#changing.delete(change);
    };
    if (sets) {
      version.sourcedMs = this.world.nowMs;
      this.#track(
        process,
        `set ${key}`,
        2 * LIMITS.writeTimeoutMs,
        process.caches[cache].set(id, { key, n: version.n }),
        () => {
          version.sourcedMs = this.world.nowMs;
          this.#acknowledge(covered, key, process, false);
        },
        over,
        () => {
          version.mayResurface = true;
        },
      );
    } else {
      this.#track(
        process,
        `delete ${key}`,
        LIMITS.writeTimeoutMs,
        process.caches[cache].delete(id),
        () => this.#acknowledge(covered, key, process, false),
        over,
      );
    }
  }

  #write(process: LibraryProcess, cache: CacheName, id: string, removes: boolean, fails: boolean): void {
    const key = `${cache}:${id}`;
    const { world, database } = this;
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
      this.#touch(key);
      await pause();
      covered = this.history.covered({ key });
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
        this.#tokens.push({ token, covered });
      },
      () => {
        this.#changing.delete(change);
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
    const tag = this.world.chance(0.5) ? `all-${cache}` : `parity-${(this.database.latest(key).n + 1) % 2}`;
    const cover: Cover = how === 'key' ? { key } : how === 'namespace' ? { namespace: cache } : { tag };
    const covered = this.history.covered(cover);
    const wait = everywhere ? 'everywhere' : 'store';
    const promise =
      how === 'key'
        ? process.breakwater.invalidate({ keys: [key], wait })
        : how === 'namespace'
          ? process.breakwater.invalidate({ namespaces: [cache], wait })
          : process.breakwater.invalidate({ tags: [tag], wait });
    for (const other of this.database.rows.keys()) this.#touch(other);
    this.#track(
      process,
      `${what} by ${how} of ${how === 'tag' ? tag : how === 'key' ? key : cache}${everywhere ? ', everywhere' : ''}`,
      LIMITS.writeTimeoutMs + (everywhere ? EVERYWHERE_LIMIT_MS : 0),
      promise,
      () => {
        if (everywhere) this.#counts.everywhere += 1;
        for (const other of this.database.rows.keys()) this.#touch(other);
        this.#acknowledge(covered, key, process, everywhere);
      },
      undefined,
      (error) => {
        // The store has it; only that it is everywhere was not proved.
        if ((error as BreakwaterError).code === 'CACHE_NOT_EVERYWHERE') this.#acknowledge(covered, key, process, false);
      },
    );
  }

  #acknowledge(covered: readonly Version[], key: string, process: LibraryProcess, everywhere: boolean): void {
    this.#counts.acknowledged += 1;
    this.#touch(key);
    this.world.trace.say(() => `p${process.index}: acknowledged for ${key}${everywhere ? ', everywhere' : ''}`);
    this.history.acknowledged(covered, process.index, everywhere);
  }

  #touch(key: string): void {
    this.#touchedMs.set(key, this.world.nowMs);
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
    const { world } = this;
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
    this.#counts.refused += 1;
    if (code === 'CACHE_INVALIDATION_UNACKNOWLEDGED' || code === 'CACHE_WRITE_UNACKNOWLEDGED') {
      this.#counts.unacknowledged += 1;
    }
    if (code === null) this.history.violate(`p${process.index} ${what} rejected with no coded error: ${textOf(error)}`);
    else if (code === 'CACHE_TIMEOUT' && what.includes('timeout')) return;
    else if (code === 'CACHE_CLOSED' && process.isClosing) return;
    else if (this.#plan.setup.isFaultless) {
      this.history.violate(`p${process.index} ${what} was refused although nothing is broken: ${textOf(error)}`);
    }
  }

  #checkDeadline(operation: Operation): void {
    const { process, startMs, pausedBeforeMs, limitMs, what } = operation;
    const tookMs = this.world.nowMs - startMs - (process.machine.pausedMs - pausedBeforeMs);
    if (tookMs <= limitMs / 0.99 + SLACK_MS) return;
    this.history.violate(`p${process.index} ${what} took ${tookMs.toFixed(0)} ms, its limit is ${limitMs}`);
  }

  /** What is still open. */
  #checkDeadlines(): void {
    for (const operation of this.#operations) {
      this.history.violate(
        `p${operation.process.index} ${operation.what}, begun at ${operation.startMs.toFixed(1)}, never settled`,
      );
    }
    this.#operations.clear();
  }

  #onLoad(call: LoadCall): void {
    const { setup } = this.#plan;
    const mine = this.database.calls.filter(
      (one) => one.endMs === Number.POSITIVE_INFINITY && this.#isAlive(one, call),
    );
    const atOnce = mine.filter((one) => one.process === call.process).length;
    if (atOnce > setup.concurrency) {
      this.history.violate(`p${call.process}: ${atOnce} calls of loaders at once, the cap is ${setup.concurrency}`);
    }
    if (!setup.isFaultless || this.#freshGets > 0 || setup.loadMs[1] >= LIMITS.leaseWaitMs) return;
    for (const other of mine) {
      if (other === call) continue;
      // A first connection takes longer than a read may: then the source is asked without a lease.
      if ([call, other].some((one) => this.#processes[one.process]!.couldNotReachStore(0, this.world.nowMs))) continue;
      for (const key of call.keys) {
        if (!other.keys.includes(key)) continue;
        // Since the other one's lease somebody wrote or invalidated it: the lease was void, or may have been.
        if ((this.#touchedMs.get(key) ?? -1e9) > other.startMs - 4 * setup.delayMs[1] - 10) continue;
        this.history.violate(
          `p${call.process} loads ${key} while p${other.process} has been loading it since ${other.startMs.toFixed(2)}, and nobody touched it`,
        );
      }
    }
  }

  /** Calls of a process that is gone are nobody's. */
  #isAlive(one: LoadCall, now: LoadCall): boolean {
    return one === now || one.startMs >= this.#processes[one.process]!.startedMs;
  }

  // -- faults

  #fault(fault: Fault): void {
    const { world } = this;
    const machineOf = (): Machine =>
      fault.kind === 'database' || fault.process < 0 ? this.#node.machine : this.#processes[fault.process]!.machine;
    switch (fault.kind) {
      case 'break':
        this.#network.break(`p${fault.process}`, 'node');
        return;
      case 'cut': {
        const name = `p${fault.process}`;
        if (fault.way !== 'in') this.#network.cut(name, 'node');
        if (fault.way !== 'out') this.#network.cut('node', name);
        world.after(fault.forMs, () => {
          this.#network.heal(name, 'node');
          this.#network.heal('node', name);
        });
        return;
      }
      case 'slow':
        this.#network.slow(`p${fault.process}`, 'node', fault.byMs);
        world.after(fault.forMs, () => this.#network.slow(`p${fault.process}`, 'node', 0));
        return;
      case 'pause': {
        const machine = machineOf();
        machine.pause();
        world.after(fault.forMs, () => machine.resume());
        return;
      }
      case 'crash':
        this.#crash(fault.process, fault.forMs, fault.silently);
        return;
      case 'restart': {
        const process = this.#processes[fault.process]!;
        process.machine.deliver(() => {
          if (process.isClosing) return;
          process.isClosing = true;
          process.breakwater.close().then(() => {
            process.machine.scheduler.setTimer(1, () => {
              this.#stop(process, false);
              this.#startProcess(process.index, this.#newOffset());
            });
          });
        });
        return;
      }
      case 'database':
        this.database.state = fault.state;
        world.after(fault.forMs, () => {
          this.database.state = 'well';
          this.database.release();
        });
        return;
    }
  }

  #crash(index: number, forMs: number, silently: boolean): void {
    if (index < 0) {
      const { machine } = this.#node;
      if (machine.state === 'dead') return;
      machine.kill();
      this.#network.unlisten(NODE_ADDRESS);
      this.#network.died(machine, silently);
      this.world.after(this.#isHealed ? 0 : forMs, () => this.#restartNode());
      return;
    }
    const process = this.#processes[index]!;
    if (process.machine.state === 'dead') return;
    this.#stop(process, silently);
    this.world.after(forMs, () => {
      if (this.#processes[index] === process) this.#startProcess(index, this.#newOffset());
    });
  }

  #restartNode(): void {
    if (this.#node.machine.state !== 'dead') return;
    this.world.trace.say(() => 'the node starts');
    this.#startNode(this.#newOffset());
    this.#network.cameBack('node');
  }

  /** A clock is set anew at each start. */
  #newOffset(): number {
    return this.world.chance(0.5) ? 0 : this.world.between(-3_600_000, 3_600_000);
  }

  /** The process is gone: what it asked is asked no more, and a `set` of its may yet take effect. */
  #stop(process: LibraryProcess, silently: boolean): void {
    process.machine.kill();
    this.#network.died(process.machine, silently);
    for (const operation of [...this.#operations])
      if (operation.process === process) this.#operations.delete(operation);
    for (const change of [...this.#changing]) {
      if (change.process !== process) continue;
      if (change.sets) change.version.mayResurface = true;
      this.#changing.delete(change);
    }
    this.#freshGets = 0;
  }

  #heal(): void {
    const { world } = this;
    world.trace.say(() => 'everything is healed');
    this.#isHealed = true;
    this.#network.healAll();
    this.database.state = 'well';
    this.database.release();
    if (this.#node.machine.state === 'dead') this.#restartNode();
    this.#node.machine.resume();
    this.#processes.forEach((process, index) => {
      process.machine.resume();
      if (process.machine.state === 'dead') this.#startProcess(index, this.#newOffset());
    });
  }

  // -- the end

  /** Every process reads every row until it is answered; `exactly`: with what the row is now. */
  *#readEverything(exactly: boolean): Generator<{ begin: () => void; forMs: () => number; isOver: () => boolean }> {
    const open = new Map<string, { process: LibraryProcess; cache: CacheName; id: string }>();
    for (const process of this.#processes) {
      for (const cache of CACHES) {
        for (const id of this.#ids) open.set(`p${process.index} ${cache}:${id}`, { process, cache, id: String(id) });
      }
    }
    for (let round = 0; open.size > 0 && round < MOST_ROUNDS; round += 1) {
      let asking = 0;
      yield {
        begin: () => {
          for (const [name, { process, cache, id }] of open) {
            if (process.isClosing) {
              // It was closing when everything was healed: its successor will be asked.
              open.set(name, { process: this.#processes[process.index]!, cache, id });
              continue;
            }
            asking += 1;
            const key = `${cache}:${id}`;
            const asked = this.#asked(exactly ? 'the last get' : 'a get after the heal', process, 'plain');
            process.caches[cache].getDetailed(id).then(
              ({ value, from }) => {
                asking -= 1;
                open.delete(name);
                this.history.answered(asked, key, value, from);
                const { n, isAbsent } = this.database.latest(key);
                if (exactly && (value === null ? !isAbsent : value.n !== n)) {
                  this.history.violate(
                    `p${process.index} has ${key} ${value === null ? 'absent' : `version ${value.n}`} from ${from} for good: it is ${isAbsent ? 'absent' : `version ${n}`}`,
                  );
                }
              },
              () => {
                asking -= 1;
              },
            );
          }
        },
        forMs: () => GET_LIMIT_MS,
        isOver: () => asking === 0,
      };
      if (asking > 0) this.history.violate(`${asking} gets never settled after the heal`);
      if (open.size > 0) yield { begin: () => undefined, forMs: () => 50, isOver: () => false };
    }
    for (const name of open.keys()) this.history.violate(`${name} could not be read although everything is healed`);
  }

  /** Rows of which something old is still permitted. */
  #open(): string[] {
    return [...this.database.rows].flatMap(([key, versions]) =>
      versions.some(
        (one) => one.mayResurface || (one !== versions.at(-1) && one.forbiddenMs === Number.POSITIVE_INFINITY),
      )
        ? [key]
        : [],
    );
  }

  /** What was changed and never acknowledged is invalidated by somebody who tries until it is. */
  *#settleTheRest(): Generator<{ begin: () => void; forMs: () => number; isOver: () => boolean }> {
    const [process] = this.#processes;
    for (const key of this.#open()) {
      const versions = this.database.versions(key);
      let isDone = false;
      for (let round = 0; !isDone && round < MOST_ROUNDS; round += 1) {
        let isAsking = true;
        yield {
          begin: () => {
            const covered = this.history.covered({ key });
            this.#touch(key);
            const end = (done: boolean): void => {
              isAsking = false;
              isDone = done;
              if (!done) return;
              for (const version of versions) version.mayResurface = false;
              this.history.acknowledged(covered, process!.index, false);
            };
            process!.breakwater.invalidate({ keys: [key] }).then(
              () => end(true),
              () => end(false),
            );
          },
          forMs: () => LIMITS.writeTimeoutMs + SLACK_MS,
          isOver: () => !isAsking,
        };
      }
      if (!isDone) this.history.violate(`${key} could not be invalidated although everything is healed`);
    }
  }
}

function textOf(error: unknown): string {
  if (error instanceof BreakwaterError) return `${error.code}: ${error.message}`;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** Rejections that nobody handles, exceptions that nobody catches, and warnings, while a schedule runs. */
function watch(tell: (text: string) => void): () => void {
  const onRejection = (reason: unknown): void => tell(`a rejection that nobody handles: ${textOf(reason)}`);
  const onException = (error: unknown): void => tell(`an exception that nobody catches: ${textOf(error)}`);
  const onWarning = (warning: Error): void => tell(`a warning: ${textOf(warning)}`);
  process.on('unhandledRejection', onRejection);
  process.on('uncaughtException', onException);
  process.on('warning', onWarning);
  return () => {
    process.off('unhandledRejection', onRejection);
    process.off('uncaughtException', onException);
    process.off('warning', onWarning);
  };
}
