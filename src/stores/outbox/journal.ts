/**
 * The outbox on disk: what is pending, and what was about to change, so that the next life of the process knows.
 *
 * A record is one change of the whole, as JSON that people can read:
 *
 *     {"o":["+kuser:42","-torg:7"]}   registered, and settled, in this order (k key, t tag, n namespace)
 *     {"i":[7,["user:42"]]}           intent 7: the source's rows of these keys are about to change
 *     {"c":7}                         what followed intent 7 is acknowledged, or registered
 *
 * Read from the front they give what is pending. An intent that was never closed is pending too: its process ended between the commit and the acknowledgement, or
 * before the commit, which cannot be told from here and costs a miss.
 *
 * What must be on disk before anybody is told: registrations and intents. What may be lost: that something was settled. That costs an invalidation too many.
 *
 * The log only grows, so now and then all that is pending is written again at its end, and what stands before is trimmed. Whoever could not write a change (the disk
 * is full) is repaired by the next of these.
 */
import { messageOf } from '../../base/errors.ts';
import { DiskLog } from '../../disk-log/log.ts';
import type { Change, Kind } from './pending.ts';

const SEGMENT_BYTES = 1024 ** 2;
const LEAST_BYTES = 64 * 1024 ** 2;
/** Room for a name, twice: of 512 bytes, most of which JSON may write as six. */
const BYTES_AN_ENTRY = 8 * 1024;
const NAMES_A_RECORD = 128;

const KINDS: Readonly<Record<string, Kind>> = { k: 'key', t: 'tag', n: 'namespace' };
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** What an earlier process left behind. */
export interface Remains {
  readonly names: readonly { readonly kind: Kind; readonly name: string }[];
  /** Something of it is lost: records were damaged, or are of a later version. */
  readonly isDamaged: boolean;
}

/** What is pending at the moment, asked whenever all of it is written again. */
export type Live = () => Iterable<{ readonly kind: Kind; readonly name: string }>;

export class Journal {
  readonly #log: DiskLog;
  readonly #live: Live;
  readonly #intents = new Map<number, readonly string[]>();
  #lastIntent: number;
  /** Intents of an earlier process, to be closed when what they became is written. */
  #inherited: readonly number[];
  /** Of what the last rewrite wrote, about. */
  #liveBytes = 0;
  #isRewriting = false;
  #isClosed = false;
  /** Something was not written. */
  #isBehind = false;
  /** What the log last failed with; null = all is on disk. */
  lastError: string | null = null;

  private constructor(log: DiskLog, live: Live, inherited: readonly number[]) {
    this.#log = log;
    this.#live = live;
    this.#inherited = inherited;
    this.#lastIntent = inherited.reduce((a, b) => Math.max(a, b), 0);
  }

  /**
   * @throws BreakwaterError of the log: `DISK_LOG_LOCKED`; the system's own errors
   */
  static async open(
    directory: string,
    maxEntries: number,
    live: Live,
  ): Promise<{ readonly journal: Journal; readonly remains: Remains }> {
    const log = await DiskLog.open(directory, {
      segmentBytes: SEGMENT_BYTES,
      maxBytes: LEAST_BYTES + maxEntries * BYTES_AN_ENTRY,
      damaged: 'skip',
    });
    try {
      const remains = await readAll(log);
      return { journal: new Journal(log, live, remains.intents), remains };
    } catch (error) {
      await log.close();
      throw error;
    }
  }

  get bytes(): number {
    return this.#log.stats.bytes;
  }

  /** Keys that are about to change, in this process. */
  get intents(): number {
    return this.#intents.size;
  }

  /** Resolves when the changes are on disk. @throws BreakwaterError of the log */
  async note(changes: readonly Change[]): Promise<void> {
    await this.#appendAll(changes);
    this.#rewriteIfDue();
  }

  /** Resolves when it is on disk that `keys` are about to change; to be closed with {@link closeIntent}. @throws BreakwaterError of the log */
  async intend(keys: readonly string[]): Promise<number> {
    this.#lastIntent += 1;
    const id = this.#lastIntent;
    this.#intents.set(id, keys);
    try {
      await this.#append({ i: [id, keys] });
    } catch (error) {
      this.#intents.delete(id);
      throw error;
    }
    this.#rewriteIfDue();
    return id;
  }

  closeIntent(id: number): void {
    if (this.#intents.delete(id)) this.#append({ c: id }).catch(() => undefined);
  }

  /** Writes all that is pending anew and gives up what stands before. Resolves when that is done, or has failed. */
  async rewrite(): Promise<void> {
    if (this.#isRewriting) return;
    this.#isRewriting = true;
    this.#isBehind = false;
    const before = this.#log.next - 1;
    try {
      const unwritten = this.#log.stats.bytes;
      const written = [this.#appendAll(Array.from(this.#live(), ({ kind, name }) => ({ op: 'add', kind, name })))];
      for (const [id, keys] of this.#intents) written.push(this.#append({ i: [id, keys] }));
      const liveBytes = this.#log.stats.bytes - unwritten;
      await Promise.all(written);
      const inherited = this.#inherited;
      this.#inherited = [];
      for (const id of inherited) await this.#append({ c: id });
      await this.#log.trim(before);
      this.#liveBytes = liveBytes;
    } catch {
      // Said in `lastError`, and tried again with the next change.
    } finally {
      this.#isRewriting = false;
    }
  }

  close(): Promise<void> {
    this.#isClosed = true;
    return this.#log.close();
  }

  #rewriteIfDue(): void {
    const { bytes } = this.#log.stats;
    if (this.#isBehind || bytes > 2 * SEGMENT_BYTES + 2 * this.#liveBytes) void this.rewrite();
  }

  /** All at once: they leave in one group, in this order. */
  async #appendAll(changes: readonly Change[]): Promise<void> {
    const written: Promise<void>[] = [];
    for (let i = 0; i < changes.length; i += NAMES_A_RECORD) {
      const some = changes.slice(i, i + NAMES_A_RECORD);
      written.push(
        this.#append({ o: some.map(({ op, kind, name }) => `${op === 'add' ? '+' : '-'}${kind[0]}${name}`) }),
      );
    }
    await Promise.all(written);
  }

  async #append(record: object): Promise<void> {
    // What is settled after the end need not be known: it says nothing about what was to be kept.
    const isLate = this.#isClosed;
    try {
      await this.#log.append(encoder.encode(JSON.stringify(record)));
      this.lastError = null;
    } catch (error) {
      if (isLate) throw error;
      this.#isBehind = true;
      this.lastError = messageOf(error);
      throw error;
    }
  }
}

async function readAll(log: DiskLog): Promise<Remains & { readonly intents: readonly number[] }> {
  const live = new Set<string>();
  const intents = new Map<number, readonly string[]>();
  let isDamaged = log.damage.length > 0;
  for await (const { bytes } of log.read()) {
    const record = parse(bytes);
    if (record === null) {
      isDamaged = true;
      continue;
    }
    for (const change of record.o ?? []) {
      if (change.startsWith('+')) live.add(change.slice(1));
      else live.delete(change.slice(1));
    }
    if (record.i !== undefined) intents.set(record.i[0], record.i[1]);
    if (record.c !== undefined) intents.delete(record.c);
  }
  for (const keys of intents.values()) for (const key of keys) live.add(`k${key}`);
  const names: { readonly kind: Kind; readonly name: string }[] = [];
  for (const id of live) {
    const kind = KINDS[id[0]!];
    if (kind === undefined) isDamaged = true;
    else names.push({ kind, name: id.slice(1) });
  }
  return { names, isDamaged, intents: [...intents.keys()] };
}

interface JournalRecord {
  readonly o?: readonly string[];
  readonly i?: readonly [number, readonly string[]];
  readonly c?: number;
}

function parse(bytes: Uint8Array): JournalRecord | null {
  try {
    const record = JSON.parse(decoder.decode(bytes)) as JournalRecord;
    return typeof record === 'object' && record !== null ? record : null;
  } catch {
    return null;
  }
}
