/**
 * What a member sends to all of its copies together, and the bounds of that: one for all its reigns (`primary.ts`), because one slow copy may copy many ranges, and one turn of the event loop serves all of them.
 *
 *   a turn      entries of a synchronisation are cut in pieces of bounded work, and at most `CUTS_AT_ONCE` of them in a turn, `CUTS_PER_MS` over time: filling a copy slows an owner down, it never stops it. Counted in
 *               pieces and not by a clock, so that the same inputs give the same outputs; what a piece may cost is measured (docs/cluster.md)
 *   a link      a copy that reads slowly is sent nothing more while its link is full (the shell says so, `linkFull`) or was given `TURN_BYTES` in this turn. What it lacks stays in the backlogs, which are bounded too:
 *               it is caught up when it reads again, or begins anew. Nobody waits for it longer than for one that is silent (rule 3)
 *   the backlogs of all ranges together: above `MAX_MEMBER_BYTES` each may keep only `LEAST_BYTES`
 */
import type { NodeId } from './member.ts';

/** Pieces of a synchronisation that are cut without a pause, and afterwards in a millisecond. */
export const CUTS_AT_ONCE = 2;
export const CUTS_PER_MS = 0.5;
/** A piece with more bytes, because of a large value in it, counts as several. */
const CUT_BYTES = 128 * 1024;
/** Of effects to one copy in one turn. */
const TURN_BYTES = 1024 * 1024;
/** Effects kept for copies that are behind: one range's bytes, those of all ranges, and one range's when that is reached. */
export const MAX_BACKLOG_BYTES = 256 * 1024;
export const MAX_MEMBER_BYTES = 64 * 1024 * 1024;
const LEAST_BYTES = 16 * 1024;
/** An effect takes so much besides its bytes. */
const EFFECT_BYTES = 128;

/** How copies came to be whole. */
export interface Resyncs {
  /** It had left the set, and went on from where it was. */
  partial: number;
  /** From nothing. */
  full: number;
  /** Of a new reign: it kept what it had, and everything was sent again to find what the owner has not. */
  compared: number;
}

export class Streams {
  readonly resyncs: Resyncs = { partial: 0, full: 0, compared: 0 };
  /** Pieces that were cut, in all. */
  parts = 0;
  #isWanted = false;
  /** What the backlogs of all reigns hold. */
  backlogBytes = 0;
  readonly #full = new Set<NodeId>();
  readonly #turn = new Map<NodeId, number>();
  #nowMs = Number.NEGATIVE_INFINITY;
  #cuts = CUTS_AT_ONCE;

  /** Time has passed: another turn. */
  turn(nowMs: number): void {
    if (nowMs <= this.#nowMs) return;
    if (this.#cuts < CUTS_AT_ONCE) {
      this.#cuts = Math.min(CUTS_AT_ONCE, this.#cuts + CUTS_PER_MS * (nowMs - this.#nowMs));
    }
    this.#nowMs = nowMs;
    if (this.#turn.size > 0) this.#turn.clear();
  }

  /** The link to this member holds all that it should; or not any more. */
  linkFull(to: NodeId, isFull: boolean): void {
    if (isFull) this.#full.add(to);
    else this.#full.delete(to);
  }

  /** May it be sent more of what it can have later? */
  hasRoom(to: NodeId): boolean {
    if (this.#full.size > 0 && this.#full.has(to)) return false;
    return this.#turn.size === 0 || (this.#turn.get(to) ?? 0) < TURN_BYTES;
  }

  /** It was sent something big, or many things. */
  sent(to: NodeId, bytes: number): void {
    this.#turn.set(to, (this.#turn.get(to) ?? 0) + bytes);
  }

  /** May a piece be cut in this turn? It counts as cut then. */
  takeCut(): boolean {
    this.#isWanted = true;
    if (this.#cuts < 1) return false;
    this.#cuts -= 1;
    this.parts += 1;
    return true;
  }

  /** The piece that was taken last has so many bytes. */
  cut(bytes: number): void {
    if (bytes > CUT_BYTES) this.#cuts -= bytes / CUT_BYTES - 1;
  }

  /** Were pieces asked for since the last time? */
  takeWanted(): boolean {
    const isWanted = this.#isWanted;
    this.#isWanted = false;
    return isWanted;
  }

  /** An effect enters a backlog, or (`count` and `bytes` below 0) some leave. */
  kept(count: number, bytes: number): void {
    this.backlogBytes += bytes + count * EFFECT_BYTES;
  }

  /** What the backlog of one range may hold now. */
  get mostBacklogBytes(): number {
    return this.backlogBytes > MAX_MEMBER_BYTES ? LEAST_BYTES : MAX_BACKLOG_BYTES;
  }
}
