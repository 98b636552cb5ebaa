/**
 * Invalidations that concern every range: a tag, a namespace, everything. Entries of one tag lie on all members, so whoever is asked asks every owner, and answers when every *range* is done.
 *
 *   coordinator --spread(id, names, ranges)--> owner      it notes the names in its own memory, and gives each of these ranges that it owns an effect, which its copies apply as any other
 *   coordinator <--spread-done(id, ranges)---- owner      these are acknowledged by all their copies
 *
 * Why ranges are counted and not members: while one member is asked a range may move to another that was asked already.
 *
 *   1. The coordinator asks B, which does not own range 7. B is done.     2. Range 7 moves from A to B.     3. It asks A, which does not own range 7 any more. A is done.
 *
 * A range that was done once, under whatever owner, stays done: every member of its set has applied the effect, and nobody else can be its next owner without beginning empty. Fills that were under way
 * are refused by their token's number, as on a single node.
 *
 * Asked again every 100 ms for the ranges still missing, of whoever owns them by then; doing it twice costs misses. Without all of them by the deadline: not acknowledged, and the caller is told.
 */
import type { NodeId } from '../cluster/member.ts';
import type { Message, Spread, SpreadName } from '../cluster/messages.ts';

/** Spreads that one member coordinates at once; the next is refused. */
export const MAX_SPREADS = 256;
/** Spreads of others that one member works on at once; the next is asked for again. */
const MAX_TASKS = 1024;
const AGAIN_MS = 100;

export interface SpreadPorts {
  readonly self: NodeId;
  readonly rangeCount: number;
  readonly deadlineMs: number;
  /** Who owns the range as far as is known; null: nobody. */
  ownerOf(range: number): NodeId | null;
  send(to: NodeId, message: Message): void;
  /** Does this member own the range and hold its lease? */
  isOwned(range: number): boolean;
  /** Notes the names in this member's own memory. */
  note(names: readonly SpreadName[]): void;
  /** Gives the range effects of the names: the number under which its fate will be told, once for each name. */
  write(range: number, names: readonly SpreadName[], isAcknowledged: (all: boolean) => void): void;
  /** Every range is done, or not by the deadline. */
  finished(id: number, isAcknowledged: boolean): void;
}

interface Coordinated {
  readonly id: number;
  readonly names: readonly SpreadName[];
  readonly missing: Set<number>;
  readonly sinceMs: number;
  sentMs: number;
}

/** What another member asked for. */
interface Task {
  readonly from: NodeId;
  readonly id: number;
  /** Ranges whose copies have not answered. */
  readonly waiting: Set<number>;
  done: number[];
}

export class Spreads {
  readonly #ports: SpreadPorts;
  readonly #coordinated = new Map<number, Coordinated>();
  /** By asker and id. */
  readonly #tasks = new Map<string, Task>();
  /** Tasks with something to tell. */
  readonly #told = new Set<Task>();

  constructor(ports: SpreadPorts) {
    this.#ports = ports;
  }

  get size(): number {
    return this.#coordinated.size;
  }

  /** False: too many are under way. `finished(id)` is called, now or later, exactly once otherwise. */
  begin(id: number, names: readonly SpreadName[], nowMs: number): boolean {
    if (this.#coordinated.size >= MAX_SPREADS) return false;
    const missing = new Set<number>();
    for (let range = 0; range < this.#ports.rangeCount; range += 1) missing.add(range);
    const spread = { id, names, missing, sinceMs: nowMs, sentMs: nowMs };
    this.#coordinated.set(id, spread);
    this.#ask(spread);
    return true;
  }

  onSpread(from: NodeId, { id, names, ranges }: Spread): void {
    const { self } = this.#ports;
    const name = `${from} ${id}`;
    let task = this.#tasks.get(name);
    if (task === undefined) {
      if (this.#tasks.size >= MAX_TASKS) return;
      task = { from, id, waiting: new Set(), done: [] };
    }
    const taken = ranges.filter((range) => !task.waiting.has(range) && this.#ports.isOwned(range));
    if (taken.length === 0) return;
    this.#tasks.set(name, task);
    this.#ports.note(names);
    for (const range of taken) task.waiting.add(range);
    for (const range of taken) {
      this.#ports.write(range, names, (isAcknowledged) => {
        task.waiting.delete(range);
        if (isAcknowledged && from === self) this.#done(id, [range]);
        else if (isAcknowledged) {
          task.done.push(range);
          this.#told.add(task);
        }
        if (task.waiting.size === 0) this.#tasks.delete(name);
      });
    }
  }

  onDone(id: number, ranges: readonly number[]): void {
    this.#done(id, ranges);
  }

  /** After each door: says what is done. */
  flush(): void {
    if (this.#told.size === 0) return;
    for (const task of this.#told) {
      this.#ports.send(task.from, { kind: 'spread-done', id: task.id, ranges: task.done });
      task.done = [];
    }
    this.#told.clear();
  }

  onTick(nowMs: number): void {
    for (const spread of this.#coordinated.values()) {
      if (nowMs - spread.sinceMs >= this.#ports.deadlineMs) {
        this.#coordinated.delete(spread.id);
        this.#ports.finished(spread.id, false);
      } else if (nowMs - spread.sentMs >= AGAIN_MS) {
        spread.sentMs = nowMs;
        this.#ask(spread);
      }
    }
  }

  // -- within

  #ask({ id, names, missing }: Coordinated): void {
    const { self, ownerOf, send } = this.#ports;
    const byOwner = new Map<NodeId, number[]>();
    for (const range of missing) {
      const owner = ownerOf(range);
      if (owner === null) continue;
      const ranges = byOwner.get(owner);
      if (ranges === undefined) byOwner.set(owner, [range]);
      else ranges.push(range);
    }
    for (const [owner, ranges] of byOwner) {
      const spread: Spread = { kind: 'spread', id, names, ranges };
      if (owner === self) this.onSpread(self, spread);
      else send(owner, spread);
    }
  }

  #done(id: number, ranges: readonly number[]): void {
    const spread = this.#coordinated.get(id);
    if (spread === undefined) return;
    for (const range of ranges) spread.missing.delete(range);
    if (spread.missing.size > 0) return;
    this.#coordinated.delete(id);
    this.#ports.finished(id, true);
  }
}
