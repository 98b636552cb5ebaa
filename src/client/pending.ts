/**
 * A command (or pipeline of commands) that somebody waits for.
 *
 * A connection answers in order, so a pending command is a *place* in a queue: one that timed out or was aborted is settled
 * for its caller but keeps its place until its replies came and were dropped. Else every later reply would go to the wrong caller,
 * and a cache that answers with another key's value is worse than one that is down.
 */
import type { Reply } from '../resp/reply.ts';
import { ReplyError } from '../resp/reply.ts';
import type { Command } from '../resp/request-writer.ts';

export interface PendingOptions {
  readonly commands: readonly Command[];
  /** The caller wants an array of all replies, errors included, instead of one reply. */
  readonly pipeline: boolean;
  /** Bulks as strings. */
  readonly text: boolean;
  /** May be sent again when the connection is lost. */
  readonly idempotent: boolean;
  readonly timeoutMs: number;
  readonly nowMs: number;
  readonly bytes: number;
}

export class Pending {
  readonly expected: number;
  readonly text: boolean;
  readonly idempotent: boolean;
  readonly timeoutMs: number;
  readonly deadlineMs: number;
  /** Its size on the wire, about. */
  readonly bytes: number;
  /** What to send; forgotten once sent, unless it may have to be sent again. */
  commands: readonly Command[] | null;
  sentAtMs = 0;
  /** It stands in the queue for the next connection. */
  waiting = false;
  /** The caller has its answer. The place in the queue may still be needed. */
  settled = false;
  received = 0;

  readonly #replies: Reply[] | null;
  readonly #resolve: (value: never) => void;
  readonly #reject: (error: Error) => void;
  #onSettled: (() => void) | null = null;

  constructor(options: PendingOptions, resolve: (value: never) => void, reject: (error: Error) => void) {
    this.commands = options.commands;
    this.expected = options.commands.length;
    this.text = options.text;
    this.idempotent = options.idempotent;
    this.timeoutMs = options.timeoutMs;
    this.deadlineMs = options.nowMs + options.timeoutMs;
    this.bytes = options.bytes;
    this.#replies = options.pipeline ? [] : null;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  /** Calls `onSettled` when the caller has its answer, whichever. */
  whenSettled(onSettled: () => void): void {
    this.#onSettled = onSettled;
  }

  /** The next reply of this place came: true when it was the last one. */
  accept(reply: Reply): boolean {
    this.received += 1;
    if (this.#replies !== null && !this.settled) this.#replies.push(reply);
    if (this.received < this.expected) return false;
    if (!this.settled) {
      this.#settle();
      if (this.#replies !== null) this.#resolve(this.#replies as never);
      else if (reply instanceof ReplyError) this.#reject(reply);
      else this.#resolve(reply as never);
    }
    return true;
  }

  /** Gives the caller `error` instead of a reply; nothing when it has its answer already. */
  fail(error: Error): void {
    if (this.settled) return;
    this.#settle();
    this.#reject(error);
  }

  /** Forgets replies of a connection that was lost, to be sent again. */
  restart(): void {
    this.received = 0;
    if (this.#replies !== null) this.#replies.length = 0;
  }

  #settle(): void {
    this.settled = true;
    this.commands = null;
    this.#onSettled?.();
  }
}
