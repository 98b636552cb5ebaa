/**
 * `breakwater queue retry|drop DIRECTORY` while a gateway has the directory: the command cannot change the log under it, so it leaves a request there, and the gateway does it.
 *
 *     command                                   gateway, twice a second
 *     .request-<n>.json      ------------->     renamed to .taken-<n>.json, read, done
 *     .answer-<n>.json       <-------------     which letters, or why not
 *
 * Files and no HTTP: who may write to the directory may change the queue anyway, and nobody else learns to. The renaming decides: a command that has waited long enough takes its
 * request back, and finds that either it can, or an answer is on its way; so nothing is done that was told not to be.
 */
import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BreakwaterError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Namespace } from './namespaces.ts';

/** Says that somebody reads requests here. */
const READER = '.takes-requests';
const LOOK_MS = 500;
/** How long a command waits for somebody to take its request, and then for the answer. */
const PATIENCE_MS = 10_000;
const WORK_MS = 120_000;
/** What a command or a gateway that was killed left behind is nobody's after so long: longer than either waits. */
const ORPHAN_MS = 600_000;
const MOST_BYTES = 1024 * 1024;

export interface QueueRequest {
  readonly what: 'retry' | 'drop';
  /** null: of all caches. */
  readonly cache: string | null;
  /** null: all letters. */
  readonly ids: readonly string[] | null;
}

/** A letter that was queued again, or dropped. */
export interface ChangedLetter {
  readonly cache: string;
  readonly id: string;
}

type Answer = { readonly done: readonly ChangedLetter[] } | { readonly code: string; readonly message: string };

/** The gateway's side. */
export class QueueRequests {
  readonly #directory: string;
  readonly #namespaces: readonly Namespace[];
  readonly #log: Log;
  readonly #timer: NodeJS.Timeout;
  #working: Promise<void> = Promise.resolve();
  #isBusy = false;

  /** Begins to look. @param namespaces those that write behind */
  constructor(directory: string, namespaces: readonly Namespace[], log: Log) {
    this.#directory = directory;
    this.#namespaces = namespaces;
    this.#log = log;
    this.#timer = setInterval(() => this.#look(), LOOK_MS).unref();
    this.#try('offer to take requests', () => writeFileSync(join(directory, READER), ''));
  }

  /** Looks no more; resolves when what was taken is done. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#try('withdraw the offer', () => rmSync(join(this.#directory, READER), { force: true }));
    await this.#working;
  }

  #look(): void {
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#working = this.#takeAll()
      .catch((error: unknown) => this.#log.warn('requests for the queue cannot be read', { error: messageOf(error) }))
      .finally(() => {
        this.#isBusy = false;
      });
  }

  async #takeAll(): Promise<void> {
    for (const name of readdirSync(this.#directory)) {
      const [, step, number] = /^\.(request|taken|writing|answer)-([0-9a-f-]{36})\.json$/.exec(name) ?? [];
      if (number === undefined) continue;
      if (step !== 'request') {
        const path = join(this.#directory, name);
        // Its reader may take it away in this moment.
        const left = statSync(path, { throwIfNoEntry: false });
        if (left !== undefined && Date.now() - left.mtimeMs > ORPHAN_MS) rmSync(path, { force: true });
        continue;
      }
      const file = (kind: string): string => join(this.#directory, `.${kind}-${number}.json`);
      // Whoever left it has gone, or would have taken it back.
      if (Date.now() - statSync(file('request')).mtimeMs > PATIENCE_MS * 2) {
        rmSync(file('request'), { force: true });
        continue;
      }
      renameSync(file('request'), file('taken'));
      const answer = await this.#answer(file('taken'));
      writeFileSync(file('writing'), JSON.stringify(answer));
      renameSync(file('writing'), file('answer'));
      rmSync(file('taken'), { force: true });
    }
  }

  async #answer(file: string): Promise<Answer> {
    try {
      const request = requestIn(file);
      const done = await this.#change(request);
      this.#log.info(`dead letters, as asked for by breakwater queue ${request.what}`, { done });
      return { done };
    } catch (error) {
      return {
        code: error instanceof BreakwaterError ? error.code : 'QUEUE_REQUEST_FAILED',
        message: messageOf(error),
      };
    }
  }

  async #change({ what, cache, ids }: QueueRequest): Promise<ChangedLetter[]> {
    const meant = this.#namespaces.filter(({ name }) => cache === null || name === cache);
    if (meant.length === 0) {
      throw new BreakwaterError('QUEUE_UNKNOWN', `the gateway that has the directory has no queue of "${cache}"`);
    }
    const done: ChangedLetter[] = [];
    for (const { name, cache: rows } of meant) {
      const found = rows.deadLetters.list().flatMap(({ id }) => (ids === null || ids.includes(id) ? [id] : []));
      if (found.length === 0) continue;
      await rows.deadLetters[what](found);
      for (const id of new Set(found)) done.push({ cache: name, id });
    }
    return done;
  }

  #try(what: string, act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#log.warn(`cannot ${what} of breakwater queue`, { error: messageOf(error) });
    }
  }
}

function requestIn(file: string): QueueRequest {
  if (statSync(file).size > MOST_BYTES) throw unreadable('it is too long');
  let value: Partial<Record<keyof QueueRequest, unknown>>;
  try {
    value = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw unreadable(messageOf(error));
  }
  const { what, cache, ids } = value ?? {};
  if (what !== 'retry' && what !== 'drop') throw unreadable('it says neither retry nor drop');
  if (cache !== null && typeof cache !== 'string') throw unreadable('its cache is no name');
  if (ids !== null && !(Array.isArray(ids) && ids.every((id) => typeof id === 'string'))) {
    throw unreadable('its ids are no names');
  }
  return { what, cache, ids };
}

function unreadable(why: string): BreakwaterError {
  return new BreakwaterError('QUEUE_REQUEST_INVALID', `cannot read a request for the queue: ${why}`);
}

/**
 * The command's side: has the process that has `directory` open do it.
 * @returns null when nobody there takes requests: no gateway has it, or none that answers
 * @throws BreakwaterError what the gateway says; `QUEUE_REQUEST_UNANSWERED` when it took the request and does not say what became of it
 */
export async function askOwner(
  directory: string,
  request: QueueRequest,
  patienceMs: number = PATIENCE_MS,
): Promise<readonly ChangedLetter[] | null> {
  if (!existsSync(join(directory, READER))) return null;
  const number = randomUUID();
  const file = (kind: string): string => join(directory, `.${kind}-${number}.json`);
  writeFileSync(file('writing'), JSON.stringify(request));
  renameSync(file('writing'), file('request'));
  let untilMs = performance.now() + patienceMs;
  let isTaken = false;
  for (;;) {
    if (existsSync(file('answer'))) break;
    if (performance.now() >= untilMs) {
      if (isTaken) {
        throw new BreakwaterError(
          'QUEUE_REQUEST_UNANSWERED',
          `the gateway that has ${directory} took the request to ${request.what} dead letters and has not said what became of it; see its log, and breakwater queue list`,
        );
      }
      if (takenBack(file('request'))) return null;
      isTaken = true;
      untilMs = performance.now() + WORK_MS;
    }
    await sleep(20);
  }
  const answer = JSON.parse(readFileSync(file('answer'), 'utf8')) as Answer;
  rmSync(file('answer'), { force: true });
  if ('done' in answer) return answer.done;
  throw new BreakwaterError(answer.code, answer.message);
}

/** @returns false: somebody has taken it already */
function takenBack(file: string): boolean {
  try {
    rmSync(file);
    return true;
  } catch {
    return false;
  }
}
