/**
 * The rows that the database does not have yet, one write each (the newest), and when each is to be sent.
 *
 *     cold   came once              sent `flushIntervalMs` after it came
 *     hot    written again          sent `maxDelayMs` after it came, as what it says by then
 *     found  of another life        sent at once: it has waited long enough
 *
 * Why not one delay for all: a row that is written once a day gains nothing by waiting, and one that is written a hundred times a second costs the database a tenth when it is sent every ten
 * seconds and not every second. With one delay one would have to choose who is served badly.
 *
 *     cold lane  [a b c d]  --- its time is over ---> written again meanwhile? --no--> sent
 *                                                              | yes
 *     hot lane   [x y z]  <------------------------------------'          each in the order of `sinceMs`: the first one is always the next one due
 *
 * A row that comes again within `maxDelayMs` of when it was sent is hot from the start: it was sent too early. Of those that were sent lately the ids are remembered, in two sets of which the
 * older is forgotten; with more rows than `maxRemembered` sooner.
 *
 * No row waits longer than `maxDelayMs`, and all are due as soon as half the queue's room is taken, somebody waits for room, or it is drained.
 */
import type { Queued } from './queue-log.ts';

/** A write that the database does not have yet. */
export interface Pending extends Queued {
  /** This process has acknowledged it, in this life, and nobody else can have sent it. */
  isOurs: boolean;
  /** As the store keeps it; null: of another life, not made again yet. */
  readonly packed: Uint8Array | null;
  /** When the oldest write of the row that is pending came, and this one. */
  readonly sinceMs: number;
  readonly putAtMs: number;
  /** Written again since it came, or sent lately: it is worth waiting for more. */
  readonly isAgain: boolean;
  /** Settles when the store has answered what it was told of it: before that nothing is taken away. */
  shown: Promise<unknown>;
  isFlying: boolean;
  attempts: number;
  notBeforeMs: number;
}

export interface RowsSettings {
  readonly flushIntervalMs: number;
  readonly maxDelayMs: number;
  /** Ids of rows that were sent lately. */
  readonly maxRemembered: number;
}

export class PendingRows {
  readonly #settings: RowsSettings;
  readonly #all = new Map<string, Pending>();
  readonly #cold = new Map<string, Pending>();
  readonly #hot = new Map<string, Pending>();
  readonly #found = new Map<string, Pending>();
  readonly #lanes: readonly { readonly rows: Map<string, Pending>; readonly delayMs: number }[];
  /** Wanted at once. */
  readonly #urgent = new Set<string>();
  #sentLately = new Set<string>();
  #sentBefore = new Set<string>();
  #turnedMs = 0;
  /** `sinceMs` of the row that became hot last. */
  #hotUpToMs = 0;

  constructor(settings: RowsSettings) {
    this.#settings = settings;
    this.#lanes = [
      { rows: this.#found, delayMs: 0 },
      { rows: this.#hot, delayMs: settings.maxDelayMs },
      { rows: this.#cold, delayMs: settings.flushIntervalMs },
    ];
  }

  get size(): number {
    return this.#all.size;
  }

  get(id: string): Pending | undefined {
    return this.#all.get(id);
  }

  /** In no order. */
  values(): Iterable<Pending> {
    return this.#all.values();
  }

  /** When the oldest came; null: none waits. */
  oldestMs(): number | null {
    let oldest: number | null = null;
    for (const { rows } of this.#lanes) {
      for (const { sinceMs } of rows.values()) {
        if (oldest === null || sinceMs < oldest) oldest = sinceMs;
        break;
      }
    }
    return oldest;
  }

  /**
   * A write that is kept. One that came late, behind a later version, is not taken up.
   * @param packed null with `isOurs` false: found, and not made here. It is due at once
   * @returns whether it took the place of one that need not be sent now
   */
  put(
    write: Queued,
    packed: Uint8Array | null,
    isOurs: boolean,
    nowMs: number,
  ): { readonly pending: Pending; readonly isCoalesced: boolean } {
    const { id } = write;
    const known = this.#all.get(id);
    // One that is on its way is sent whatever comes now: this one is a row of its own.
    const isSame = known !== undefined && !known.isFlying;
    const pending: Pending = {
      ...write,
      packed,
      isOurs,
      sinceMs: isSame ? known.sinceMs : nowMs,
      putAtMs: nowMs,
      isAgain: isSame || (isOurs && this.#wasSent(id, nowMs)),
      shown: Promise.resolve(),
      isFlying: false,
      attempts: 0,
      notBeforeMs: 0,
    };
    if (known !== undefined && known.version > write.version) return { pending, isCoalesced: false };
    this.#all.set(id, pending);
    // In the place of the one before, which keeps the lane's order.
    const lane = isSame ? this.#lanes.find(({ rows }) => rows.has(id))! : null;
    if (lane !== null) lane.rows.set(id, pending);
    else {
      for (const { rows } of this.#lanes) rows.delete(id);
      (isOurs ? this.#cold : this.#found).set(id, pending);
    }
    return { pending, isCoalesced: isSame };
  }

  /** The database has it, or it is a dead letter. */
  remove(pending: Pending, nowMs: number): void {
    const { id } = pending;
    this.#noteSent(id, nowMs);
    this.#urgent.delete(id);
    // Unless a later one has come since.
    if (this.#all.get(id) !== pending) return;
    this.#all.delete(id);
    for (const { rows } of this.#lanes) rows.delete(id);
  }

  /** This row is due at once. */
  urge(id: string): void {
    this.#urgent.add(id);
  }

  /** Nothing is certain any more of what this process has acknowledged: another one may have sent it. */
  disown(): void {
    for (const pending of this.#all.values()) pending.isOurs = false;
  }

  /** What is to be sent now, those first that have waited longest, without what is on its way. @param all whatever their time */
  *due(nowMs: number, all: boolean): Generator<Pending> {
    for (const id of this.#urgent) {
      const pending = this.#all.get(id);
      if (pending === undefined) this.#urgent.delete(id);
      else if (isReady(pending, nowMs)) yield pending;
    }
    this.#warm(nowMs);
    for (const { rows, delayMs } of this.#lanes) {
      for (const pending of rows.values()) {
        if (!all && pending.sinceMs + delayMs > nowMs) break;
        if (isReady(pending, nowMs) && !this.#urgent.has(pending.id)) yield pending;
      }
    }
  }

  /** When something will be due; Infinity: nothing waits. @param all whatever their time */
  nextDueMs(nowMs: number, all: boolean): number {
    let dueMs = Number.POSITIVE_INFINITY;
    for (const id of this.#urgent) {
      const pending = this.#all.get(id);
      if (pending !== undefined) dueMs = Math.min(dueMs, pending.notBeforeMs);
    }
    for (const { rows, delayMs } of this.#lanes) {
      for (const { sinceMs, notBeforeMs } of rows.values()) {
        dueMs = Math.min(dueMs, Math.max(all ? nowMs : sinceMs + delayMs, notBeforeMs));
        // In the order of `sinceMs`: the rest is due later, unless this one has to wait.
        if (notBeforeMs <= nowMs) break;
      }
    }
    return dueMs;
  }

  /** Rows whose time in the cold lane is over, and that were written again. */
  #warm(nowMs: number): void {
    const { flushIntervalMs, maxDelayMs } = this.#settings;
    if (maxDelayMs <= flushIntervalMs) return;
    for (const [id, pending] of this.#cold) {
      if (pending.sinceMs + flushIntervalMs > nowMs) break;
      if (!pending.isAgain || pending.isFlying || pending.attempts > 0) continue;
      // Due for long, not sent, and written again only now: behind younger ones it would wait for their time. It is sent instead.
      if (this.#hot.size > 0 && pending.sinceMs < this.#hotUpToMs) continue;
      this.#cold.delete(id);
      this.#hot.set(id, pending);
      this.#hotUpToMs = pending.sinceMs;
    }
  }

  /** Whether it was sent within about `maxDelayMs`. */
  #wasSent(id: string, nowMs: number): boolean {
    if (this.#settings.maxDelayMs <= this.#settings.flushIntervalMs) return false;
    this.#turn(nowMs);
    return this.#sentLately.has(id) || this.#sentBefore.has(id);
  }

  #noteSent(id: string, nowMs: number): void {
    const { maxDelayMs, flushIntervalMs, maxRemembered } = this.#settings;
    if (maxDelayMs <= flushIntervalMs) return;
    this.#turn(nowMs);
    if (this.#sentLately.size * 2 >= maxRemembered) this.#turnedMs = nowMs - maxDelayMs;
    this.#turn(nowMs);
    this.#sentLately.add(id);
  }

  #turn(nowMs: number): void {
    const pastMs = nowMs - this.#turnedMs;
    if (pastMs < this.#settings.maxDelayMs) return;
    this.#sentBefore = pastMs < 2 * this.#settings.maxDelayMs ? this.#sentLately : new Set();
    this.#sentLately = new Set();
    this.#turnedMs = nowMs;
  }
}

function isReady(pending: Pending, nowMs: number): boolean {
  return !pending.isFlying && pending.notBeforeMs <= nowMs;
}
