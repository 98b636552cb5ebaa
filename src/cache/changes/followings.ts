/** The streams of changes that a Breakwater follows. */
import { BreakwaterError, messageOf } from '../../base/errors.ts';
import { invalid } from '../checks.ts';
import type { ChangeRun, ChangeStats, ChangeStream } from './port.ts';
import { type TargetParts, targetFor } from './target.ts';

/** A stream that is being followed. */
export interface Following {
  /** See {@link ChangeRun.ready}. A rejection that nobody looks at is told as a warning, and the stream tries on. */
  readonly ready: Promise<void>;
  /** Ends it. `bw.close()` does that too. */
  stop(): Promise<void>;
  stats(): ChangeStats;
}

export class Followings {
  readonly #runs = new Map<string, ChangeRun>();

  /** @throws BreakwaterError `CACHE_OPTION_INVALID`, `CACHE_NAME_TAKEN` */
  follow(stream: ChangeStream, parts: TargetParts): Following {
    if (typeof stream?.open !== 'function' || typeof stream.name !== 'string') {
      throw invalid('changes of follow', 'a stream, as of postgresChanges()', stream);
    }
    const { name } = stream;
    if (this.#runs.has(name)) {
      throw new BreakwaterError(
        'CACHE_NAME_TAKEN',
        `cannot follow changes "${name}": they are followed already; give one of the two another name`,
      );
    }
    const run = stream.open(targetFor(name, parts));
    this.#runs.set(name, run);
    run.ready.catch((error: unknown) => {
      if (error instanceof BreakwaterError && error.code === 'CHANGES_STOPPED') return;
      process.emitWarning(`changes "${name}" are not followed: ${messageOf(error)}`, {
        type: 'BreakwaterWarning',
        code: 'BREAKWATER_CHANGES',
      });
    });
    return {
      ready: run.ready,
      stop: async () => {
        await run.stop();
        if (this.#runs.get(name) === run) this.#runs.delete(name);
      },
      stats: () => run.stats(),
    };
  }

  stats(): Readonly<Record<string, ChangeStats>> {
    return Object.fromEntries([...this.#runs].map(([name, run]) => [name, run.stats()]));
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#runs.values()].map((run) => run.stop()));
  }
}
