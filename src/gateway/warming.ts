/**
 * Warming at the start: namespaces with `warm` are filled in the background, one after the other, through their source's guard in its background slots (cache/warm.ts says why that
 * overwrites nothing and takes nothing away from those who wait). Requests are answered meanwhile.
 *
 * It begins when the source has been reached. What fails as a whole (the query for the ids, a source that went away) is begun again after a while: what is there by then is passed over.
 */
import { type BreakwaterError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { WarmProgress } from '../cache/warm.ts';
import { present } from './config/read.ts';
import type { Namespace } from './namespaces.ts';
import type { Readiness } from './readiness.ts';

/** What became of ids, as it is counted. */
export const OUTCOMES = ['loaded', 'present', 'absent', 'refused', 'elsewhere', 'failed'] as const;

const POLL_MS = 250;
const AGAIN_MS = 5_000;

export class Warming {
  readonly #end = new AbortController();
  readonly #progress = new Map<string, WarmProgress>();
  #now: string | null = null;
  #done: Promise<void> = Promise.resolve();

  /** The namespace that is being warmed; null: none. */
  get now(): string | null {
    return this.#now;
  }

  /** Of each namespace that has begun; of the last attempt, if there were several. */
  get progress(): ReadonlyMap<string, WarmProgress> {
    return this.#progress;
  }

  /** Resolves when all are warm, or it was stopped. */
  get done(): Promise<void> {
    return this.#done;
  }

  start(namespaces: Iterable<Namespace>, readiness: Readiness, log: Log): void {
    const wanted = [...namespaces].filter(({ values }) => values.warm !== undefined);
    this.#done = this.#all(wanted, readiness, log);
  }

  async stop(): Promise<void> {
    this.#end.abort();
    await this.#done;
  }

  async #all(namespaces: readonly Namespace[], readiness: Readiness, log: Log): Promise<void> {
    const { signal } = this.#end;
    for (const namespace of namespaces) {
      while (!signal.aborted) {
        await until(() => readiness.isUp(`source "${namespace.source!.name}"`), signal);
        if (signal.aborted || (await this.#one(namespace, log))) break;
        await pause(AGAIN_MS, signal);
      }
    }
  }

  /** False: to be begun again. */
  async #one({ name, cache, rows, values }: Namespace, log: Log): Promise<boolean> {
    const { signal } = this.#end;
    const { sql, page, ...options } = values.warm!;
    this.#now = name;
    try {
      const ids = rows!.source.ids!(present({ sql, page }), { signal });
      const onProgress = (now: WarmProgress): void => void this.#progress.set(name, now);
      const end = await cache.warm(ids, { ...present(options), signal, onProgress });
      this.#progress.set(name, end);
      const counts = Object.fromEntries(OUTCOMES.map((outcome) => [outcome, end[outcome]]));
      log.info(`"${name}" is warm`, counts);
      for (const { id, error } of end.errors.slice(0, 3)) {
        log.warn(`cannot warm ${name}:${id}`, { error: messageOf(error) });
      }
      return true;
    } catch (error) {
      if (signal.aborted) return true;
      const { code } = error as Partial<BreakwaterError>;
      log.warn(`cannot warm "${name}" now; it is tried again`, { code, error: messageOf(error) });
      return false;
    } finally {
      this.#now = null;
    }
  }
}

async function until(holds: () => boolean, signal: AbortSignal): Promise<void> {
  while (!holds() && !signal.aborted) await pause(POLL_MS, signal);
}

/** Ends early when `signal` fires. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const onEnd = (): void => {
      clearTimeout(timer);
      resolve();
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onEnd);
      resolve();
    }, ms);
    timer.unref();
    if (signal.aborted) onEnd();
    else signal.addEventListener('abort', onEnd, { once: true });
  });
}
