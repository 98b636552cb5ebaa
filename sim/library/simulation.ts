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
import { Calls, EVERYWHERE_LIMIT_MS, GET_LIMIT_MS, SLACK_MS, textOf } from './calls.ts';
import { CACHES, type CacheName, LIMITS, type Plan, type Step } from './plan.ts';
import type { LibraryProcess } from './process.ts';
import { Scene } from './scene.ts';

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
  queued: number;
  versionedSets: number;
  outdatedSets: number;
  faults: number;
  events: number;
  virtualMs: number;
}

const MOST_ROUNDS = 60;
/** Longest pauses of an outbox's back-off, several in a row: names that fail together are tried one by one. */
const OUTBOX_LIMIT_MS = 60_000;

/** Something that is done until it is over, or for so long. */
interface Phase {
  readonly begin: () => void;
  readonly forMs: () => number;
  readonly isOver: () => boolean;
}

export class Simulation {
  readonly #scene: Scene;
  readonly #calls: Calls;
  #faults = 0;

  constructor(plan: Plan, isRecording = false) {
    this.#scene = new Scene(plan, isRecording);
    this.#calls = new Calls(this.#scene);
    for (const step of plan.steps) this.#scene.world.at(step.atMs, () => this.#begin(step));
  }

  /** Runs it all. From a macrotask: see `World`. */
  run(): Report {
    const stopWatching = watch((text) => this.#scene.history.violate(text));
    try {
      const { world } = this.#scene;
      this.#phases((untilMs, isOver) => world.run(untilMs, isOver));
    } catch (error) {
      this.#scene.history.violate(`the world stopped: ${textOf(error)}`);
    } finally {
      stopWatching();
    }
    return this.#report();
  }

  /** The same by ordinary means: see `World.runSlowly`. The phases are awaited one by one. */
  async runSlowly(): Promise<Report> {
    const stopWatching = watch((text) => this.#scene.history.violate(text));
    try {
      for (const { forMs, isOver, begin } of this.#script()) {
        begin();
        await this.#scene.world.runSlowly(this.#scene.world.nowMs + forMs(), isOver);
      }
    } catch (error) {
      this.#scene.history.violate(`the world stopped: ${textOf(error)}`);
    } finally {
      stopWatching();
    }
    return this.#report();
  }

  #phases(run: (untilMs: number, isOver: () => boolean) => void): void {
    for (const { forMs, isOver, begin } of this.#script()) {
      begin();
      run(this.#scene.world.nowMs + forMs(), isOver);
    }
  }

  /** What is done one after the other, each for so long or until it is over. */
  *#script(): Generator<Phase> {
    const { steps, setup } = this.#scene.plan;
    const lastMs = (steps.at(-1)?.atMs ?? 0) + 1;
    const boundMs = setup.stalenessMs / 0.99 + 60;
    const isQuiet = (): boolean => this.#calls.isQuiet;
    const idle = (): undefined => undefined;
    yield { begin: idle, forMs: () => lastMs, isOver: () => false };
    let lateMs = 0;
    const heal = (): void => {
      this.#scene.heal();
      lateMs = this.#scene.network.lastArrivalMs;
    };
    yield { begin: heal, forMs: () => GET_LIMIT_MS + EVERYWHERE_LIMIT_MS + 500, isOver: isQuiet };
    this.#calls.checkDeadlines();
    // What a process that is gone has sent may still be under way: a `set` that nobody acknowledged is not over before it has arrived.
    yield { begin: idle, forMs: () => Math.max(boundMs, lateMs - this.#scene.world.nowMs), isOver: () => false };
    if (setup.outboxEntries !== null) {
      yield { begin: idle, forMs: () => OUTBOX_LIMIT_MS, isOver: () => this.#calls.pending === 0 };
      if (this.#calls.pending > 0)
        this.#scene.history.violate('an outbox does not empty although everything is healed');
      else this.#calls.outboxesEmpty();
      // What was acknowledged a moment ago L1s may have yet.
      yield { begin: idle, forMs: () => boundMs, isOver: () => false };
    }
    if (this.#open().length > 0) {
      yield* this.#readEverything(false);
      yield* this.#settleTheRest();
      yield { begin: idle, forMs: () => boundMs, isOver: () => false };
    }
    yield* this.#readEverything(true);
    let closed = 0;
    yield {
      begin: () => {
        for (const process of this.#scene.processes) {
          process.isClosing = true;
          process.breakwater.close().then(() => {
            closed += 1;
          });
        }
      },
      forMs: () => 100,
      isOver: () => closed === this.#scene.processes.length,
    };
    if (closed !== this.#scene.processes.length) this.#scene.history.violate('close() did not resolve');
    this.#scene.node.node.context.freshness.invariants();
    this.#calls.checkDeadlines();
  }

  #report(): Report {
    const { history, world, database, plan } = this.#scene;
    return {
      seed: plan.seed,
      hash: world.trace.hash,
      violations: history.violations,
      lines: world.trace.lines,
      counts: {
        answers: history.answers,
        fromL1: history.fromL1,
        staleFromL1: history.staleFromL1,
        loads: database.loads,
        ...this.#calls.counts,
        faults: this.#faults,
        events: world.events,
        virtualMs: Math.round(world.nowMs),
      },
    };
  }

  #begin(step: Step): void {
    switch (step.kind) {
      case 'get':
      case 'getMany':
      case 'peek':
      case 'change':
      case 'invalidate':
        this.#calls.begin(step);
        return;
      default:
        this.#faults += 1;
        this.#scene.world.trace.say(() => `fault: ${JSON.stringify(step)}`);
        this.#scene.fault(step);
    }
  }

  // -- the end

  /** Every process reads every row until it is answered; `exactly`: with what the row is now. */
  *#readEverything(exactly: boolean): Generator<Phase> {
    const open = new Map<string, { process: LibraryProcess; cache: CacheName; id: string }>();
    for (const process of this.#scene.processes) {
      for (const cache of CACHES) {
        for (const id of this.#scene.ids)
          open.set(`p${process.index} ${cache}:${id}`, { process, cache, id: String(id) });
      }
    }
    for (let round = 0; open.size > 0 && round < MOST_ROUNDS; round += 1) {
      let asking = 0;
      yield {
        begin: () => {
          for (const [name, { process, cache, id }] of open) {
            if (process.isClosing) {
              // It was closing when everything was healed: its successor will be asked.
              open.set(name, { process: this.#scene.processes[process.index]!, cache, id });
              continue;
            }
            asking += 1;
            const key = `${cache}:${id}`;
            const asked = this.#calls.asked(exactly ? 'the last get' : 'a get after the heal', process, 'plain');
            process.caches[cache].getDetailed(id).then(
              ({ value, from }) => {
                asking -= 1;
                open.delete(name);
                this.#scene.history.answered(asked, key, value, from);
                const { n, isAbsent } = this.#scene.database.latest(key);
                if (exactly && (value === null ? !isAbsent : value.n !== n)) {
                  this.#scene.history.violate(
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
      if (asking > 0) this.#scene.history.violate(`${asking} gets never settled after the heal`);
      if (open.size > 0) yield { begin: () => undefined, forMs: () => 50, isOver: () => false };
    }
    for (const name of open.keys())
      this.#scene.history.violate(`${name} could not be read although everything is healed`);
  }

  /** Rows of which something old is still permitted. */
  #open(): string[] {
    return [...this.#scene.database.rows].flatMap(([key, versions]) =>
      versions.some(
        (one) => one.mayResurface || (one !== versions.at(-1) && one.forbiddenMs === Number.POSITIVE_INFINITY),
      )
        ? [key]
        : [],
    );
  }

  /** What was changed and never acknowledged is invalidated by somebody who tries until it is. */
  *#settleTheRest(): Generator<Phase> {
    const [process] = this.#scene.processes;
    for (const key of this.#open()) {
      const versions = this.#scene.database.versions(key);
      let isDone = false;
      for (let round = 0; !isDone && round < MOST_ROUNDS; round += 1) {
        let isAsking = true;
        yield {
          begin: () => {
            const covered = this.#scene.history.covered({ key });
            this.#calls.touch(key);
            const end = (done: boolean): void => {
              isAsking = false;
              isDone = done;
              if (!done) return;
              for (const version of versions) version.mayResurface = false;
              this.#scene.history.acknowledged(covered, process!.index, false);
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
      if (!isDone) this.#scene.history.violate(`${key} could not be invalidated although everything is healed`);
    }
  }
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
