/**
 * Policy `behind`: what ties the queue (queue.ts) to the cache in front of it and to the database behind.
 *
 *     write   1. queued on disk, with a version    2. the note and the entry are set in the store, both with that version    3. acknowledged
 *     load    1. the notes are read                2. the database is asked          3. the notes are read     4. what is queued and not in
 *                                                                                          the database yet is the answer, whatever the row says
 *     landed  1. the database has committed        2. the entry is deleted: loads that read the old row may not fill       3. the note is emptied
 *
 * The order in `load`: a note that is not there after the row was read was either not set yet, and then its write will void this load's lease, or was taken away after the
 * commit, and then step 2 of `landed` has. So no load fills with a row that a queued write has replaced. That alone would still *answer* with it, to the caller of a load that read
 * the row before the commit and the notes after they were emptied, and he may have come long after the write was acknowledged. So the notes are read before the row too, and
 * where one was there and is no more the row is read again.
 *
 * A note, and a write of an earlier life of this process, may say what the database has had for long. There the database is asked which version it has
 * (`applied`), and if it has that one the row is read once more, since the first time may have been before.
 */
import { BreakwaterError } from '../../base/errors.ts';
import type { CacheStore, ReadHit, SetOutcome } from '../../stores/store.ts';
import type { LoadContext, Loader, LoadResult, OrderedSink } from '../data-source.ts';
import type { FlightPorts } from '../loads.ts';
import type { BehindSettings } from './behind-options.ts';
import { NOTE_HEADER_BYTES, type Note, Notes } from './notes.ts';
import type { Pending } from './pending-rows.ts';
import { WriteQueue } from './queue.ts';
import { type DeadLetter, type Queued, type QueueStorage, unclone } from './queue-log.ts';
import type { QueueStats } from './queue-stats.ts';
import { guardedWrite } from './refusals.ts';
import { Versions } from './versions.ts';

/** What the cache does for its queue. */
export interface BehindPorts {
  readonly name: string;
  readonly storage: QueueStorage;
  readonly settings: BehindSettings;
  readonly ordered: OrderedSink<unknown>;
  readonly store: CacheStore;
  readonly ports: FlightPorts;
  readonly timeoutMs: number;
  readonly readTimeoutMs: number;
  /** Calls the database when its turn comes. */
  guarded<T>(call: (signal: AbortSignal) => Promise<T>, timeoutMs: number): Promise<T>;
  /** This process's own copies of `id` go. */
  forget(id: string): void;
  /** The entry of a value, as the store keeps it. */
  pack(id: string, value: unknown): Promise<Uint8Array>;
  /** Sets the entry, unless the store has or had that of a later version. */
  setEntry(id: string, packed: Uint8Array, version: bigint): Promise<SetOutcome>;
  /** Deletes entries everywhere. Never rejects: what the store did not acknowledge is in the outbox. */
  invalidate(ids: readonly string[]): Promise<boolean>;
  /** What an entry's bytes say: the value, null for absent, undefined when they cannot be read. */
  unpack(id: string, hit: ReadHit): Promise<unknown>;
  onDeadLetter(letter: DeadLetter): void;
}

/** A queued write that a load has met. */
interface Candidate {
  readonly version: number;
  readonly isCertain: boolean;
  value(): Promise<unknown>;
}

export class Behind {
  readonly #ports: BehindPorts;
  readonly #queue: WriteQueue;
  /** null: one process, which has everything in its queue. */
  readonly #notes: Notes | null;
  #counter: string | null = null;

  constructor(ports: BehindPorts) {
    this.#ports = ports;
    const { name, store, settings, ordered, ports: world } = ports;
    this.#notes = store.inProcess ? null : new Notes(store, name, settings.holdMs);
    const versions = new Versions({
      draw: async (by) => {
        this.#counter ??= `bw-order:${await this.#asked((signal) => ordered.target({ signal }))}`;
        return await store.counters!.draw(this.#counter, by, { timeoutMs: ports.timeoutMs });
      },
      epoch: (by, atLeast) => this.#asked((signal) => ordered.epoch(by, atLeast, { signal })),
    });
    this.#queue = new WriteQueue(name, ports.storage, settings, {
      ...world,
      versions,
      apply: (changes) =>
        guardedWrite(ports.guarded, (signal) => ordered.apply(changes, { signal }), settings.flushTimeoutMs),
      show: (writes) => Promise.allSettled(writes.map((write) => this.#show(write))),
      landed: (writes) => this.#landed(writes),
      remind: (writes) => this.#remind(writes),
      onDeadLetter: ports.onDeadLetter,
    });
  }

  stats(): QueueStats {
    return this.#queue.stats();
  }

  /** Rejects as the queue does, and with `STORE_TOO_LARGE`: nothing is queued. */
  write(id: string, bytes: Uint8Array, packed: Uint8Array): Promise<number> {
    const { name, store } = this.#ports;
    const most = (store.maxValueBytes ?? Number.POSITIVE_INFINITY) - (this.#notes === null ? 0 : NOTE_HEADER_BYTES);
    if (packed.length > most) {
      const why = `the value has ${packed.length} bytes as the store keeps it, and may have ${most}; write it with write(id, fn)`;
      return Promise.reject(new BreakwaterError('STORE_TOO_LARGE', `cannot queue the write of ${name}:${id}: ${why}`));
    }
    return this.#queue.write(id, bytes, packed);
  }

  drain(timeoutMs: number): Promise<void> {
    return this.#queue.drain(timeoutMs);
  }

  close(): Promise<number> {
    return this.#queue.close();
  }

  /** Dead letters, the oldest first. */
  deadLetters(): readonly DeadLetter[] {
    return this.#queue.deadLetters?.list() ?? [];
  }

  retry(letters: readonly DeadLetter[]): Promise<number> {
    return this.#queue.retry(letters);
  }

  async drop(letters: readonly DeadLetter[]): Promise<number> {
    for (const letter of letters) await this.#queue.deadLetters!.remove(letter);
    return letters.length;
  }

  /**
   * Resolves when nothing of `id` that was acknowledged before the call is queued any more, in this process or, as far as the notes tell, in another one: what is
   * changed in the database then is the later change. @throws BreakwaterError `WRITE_BEHIND_NOT_DRAINED`
   */
  async settled(id: string): Promise<void> {
    const { ordered, ports, settings, readTimeoutMs, name } = this.#ports;
    const deadlineMs = ports.clock.now() + settings.writeTimeoutMs;
    await this.#queue.settled(id, settings.writeTimeoutMs);
    for (;;) {
      const note = (await this.#notes?.read([id], readTimeoutMs))?.get(id);
      if (note === undefined) return;
      const applied = await this.#asked((signal) => ordered.applied([id], { signal }));
      if ((applied.get(id) ?? 0) >= note.version) return;
      if (ports.clock.now() >= deadlineMs) {
        throw new BreakwaterError(
          'WRITE_BEHIND_NOT_DRAINED',
          `cannot change ${name}:${id} in the database now: another process has a write of it queued that the database does not have yet`,
        );
      }
      await new Promise<void>((resolve) => {
        ports.scheduler.setTimer(20, resolve);
      });
    }
  }

  /** `load` that answers with what is queued. */
  loader<K extends string, V>(load: Loader<K, V>): Loader<K, V> {
    return async (ids, context) => {
      // What an earlier life has left is not known before.
      await this.#queue.opened(this.#ports.settings.writeTimeoutMs);
      const answers = new Map<K, unknown>();
      // What this process has itself acknowledged, and nobody has replaced, is the truth: the database need not be asked, nor be there.
      const own = ids.filter((id) => this.#certain(id) !== null);
      if (own.length > 0) {
        const notes = await this.#readNotes(own);
        for (const id of own) {
          const pending = this.#certain(id);
          if (pending !== null && (notes.get(id)?.version ?? 0) <= pending.version) {
            answers.set(id, unclone(pending.bytes));
          }
        }
      }
      const rest = ids.filter((id) => !answers.has(id));
      if (rest.length > 0) {
        const rows = await this.#loadOver(load, rest, context);
        for (const [id, row] of rows) answers.set(id, row);
      }
      return answers as unknown as LoadResult<K, V>;
    };
  }

  async #loadOver<K extends string, V>(
    load: Loader<K, V>,
    ids: readonly K[],
    context: LoadContext,
  ): Promise<Map<K, unknown>> {
    const before = await this.#candidates(ids);
    const rows = asMap(ids, await load(ids, context));
    const candidates = await this.#candidates(ids);
    const late = [...before.keys()].filter((id) => !candidates.has(id));
    if (candidates.size === 0 && late.length === 0) return rows;
    const doubtful = [...candidates.keys()].filter((id) => !candidates.get(id)!.isCertain);
    const applied =
      doubtful.length === 0
        ? new Map<string, number>()
        : await this.#ports.ordered.applied(doubtful, { signal: context.signal });
    for (const [id, candidate] of candidates) {
      if ((applied.get(id) ?? 0) >= candidate.version) late.push(id);
      else {
        const value = await candidate.value();
        if (value !== undefined) rows.set(id, value);
      }
    }
    if (late.length > 0) {
      const again = asMap(late, await load(late, { ...context, stale: new Map(), quietMs: () => 0 }));
      // What a Map does not have is absent now.
      for (const id of late) rows.delete(id);
      for (const [id, row] of again) rows.set(id, row);
    }
    return rows;
  }

  /** What this process has acknowledged and the database certainly does not have. */
  #certain(id: string): Pending | null {
    const pending = this.#queue.pendingOf(id);
    return pending !== undefined && this.#queue.isCertain(pending) ? pending : null;
  }

  async #candidates<K extends string>(ids: readonly K[]): Promise<Map<K, Candidate>> {
    const notes = await this.#readNotes(ids);
    const candidates = new Map<K, Candidate>();
    for (const id of ids) {
      const candidate = this.#candidate(id, notes.get(id));
      if (candidate !== null) candidates.set(id, candidate);
    }
    return candidates;
  }

  #candidate(id: string, note: Note | undefined): Candidate | null {
    const pending = this.#queue.pendingOf(id);
    if (pending !== undefined && pending.version >= (note?.version ?? 0)) {
      const { version, bytes } = pending;
      return { version, isCertain: this.#queue.isCertain(pending), value: () => Promise.resolve(unclone(bytes)) };
    }
    if (note === undefined) return null;
    const { version, packed } = note;
    const hit: ReadHit = { kind: 'hit', value: packed, ttlMs: null, version: 0 };
    return { version, isCertain: false, value: () => this.#ports.unpack(id, hit) };
  }

  /** A store that does not answer has no notes: then the database is all there is to know. */
  async #readNotes(ids: readonly string[]): Promise<Map<string, Note>> {
    if (this.#notes === null) return new Map();
    return await this.#notes.read(ids, this.#ports.readTimeoutMs).catch(() => new Map<string, Note>());
  }

  async #show({ id, version, packed }: Pending): Promise<void> {
    const { timeoutMs } = this.#ports;
    this.#ports.forget(id);
    try {
      const noted = this.#notes?.put(id, version, packed!, timeoutMs);
      const set = this.#ports.setEntry(id, packed!, 2n * BigInt(version));
      const results = await Promise.allSettled([noted, set]);
      for (const result of results) if (result.status === 'rejected') throw result.reason;
    } finally {
      this.#ports.forget(id);
    }
  }

  async #landed(writes: readonly Queued[]): Promise<void> {
    const isGone = await this.#ports.invalidate(writes.map(({ id }) => id));
    // The entry may still be there, or a load of the old row under way: the note stays, and is asked about.
    if (this.#notes === null || !isGone) return;
    const notes = this.#notes;
    await Promise.allSettled(writes.map(({ id, version }) => notes.clear(id, version, this.#ports.timeoutMs)));
  }

  async #remind(writes: readonly Pending[]): Promise<void> {
    const notes = this.#notes;
    if (notes === null) return;
    const lost: string[] = [];
    await Promise.allSettled(
      writes.map(async ({ id, version, packed, bytes }) => {
        const entry = packed ?? (await this.#ports.pack(id, unclone(bytes)));
        if ((await notes.put(id, version, entry, this.#ports.timeoutMs)) === 'stored') lost.push(id);
      }),
    );
    // Others may have loaded the old row meanwhile.
    if (lost.length > 0) await this.#ports.invalidate(lost);
  }

  #asked<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.#ports.guarded(call, this.#ports.settings.writeTimeoutMs);
  }
}

/** An answer of a loader by id. What is wrong with it the cache says, of what it is given: so it is given as it is. */
function asMap<K extends string, V>(ids: readonly K[], result: LoadResult<K, V>): Map<K, unknown> {
  if (Array.isArray(result)) {
    if (result.length === ids.length) return new Map(ids.map((id, index) => [id, result[index] as unknown]));
  } else if (Object.prototype.toString.call(result) === '[object Map]')
    return new Map(result as ReadonlyMap<K, unknown>);
  throw new BreakwaterError(
    'CACHE_LOADER_RESULT',
    'cannot use what the loader returned: expected a Map or an array aligned with the ids',
  );
}
