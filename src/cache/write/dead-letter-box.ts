/** Dead letters as an application sees them. `breakwater queue` does the same from outside, when no process has the directory. */
import { invalid } from '../checks.ts';
import type { Behind } from './behind.ts';
import { type DeadLetter, unclone } from './queue-log.ts';

/** A write that was acknowledged, and that the database refused for good. */
export interface DeadLetterInfo {
  readonly id: string;
  /** What was to be written; null = the row was to be deleted. */
  readonly value: unknown;
  readonly version: number;
  readonly queuedAt: Date;
  readonly diedAt: Date;
  /** What the database said. */
  readonly code: string;
  readonly message: string;
}

export interface DeadLetterBox {
  /** The oldest first. */
  list(): readonly DeadLetterInfo[];
  /** Puts those of these ids (default: all) into the queue again, with the versions they had: a later write of a row still wins. How many. */
  retry(ids?: readonly string[]): Promise<number>;
  /** Throws those of these ids (default: all) away. How many. */
  drop(ids?: readonly string[]): Promise<number>;
}

export function deadLetterBox(behind: Behind): DeadLetterBox {
  const chosen = (ids: readonly string[] | undefined): readonly DeadLetter[] => {
    if (ids !== undefined && !Array.isArray(ids)) throw invalid('the ids of dead letters', 'an array of ids', ids);
    return behind.deadLetters().filter(({ id }) => ids === undefined || ids.includes(id));
  };
  return {
    list: () => behind.deadLetters().map(infoOf),
    retry: async (ids) => await behind.retry(chosen(ids)),
    drop: async (ids) => await behind.drop(chosen(ids)),
  };
}

export function infoOf({ id, bytes, version, queuedAtMs, diedAtMs, code, message }: DeadLetter): DeadLetterInfo {
  const value = unclone(bytes);
  return { id, value, version, queuedAt: new Date(queuedAtMs), diedAt: new Date(diedAtMs), code, message };
}
