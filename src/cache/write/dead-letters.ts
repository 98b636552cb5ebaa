/**
 * Dead letters: acknowledged writes that the database will not have, whoever asks (a constraint, a value out of range), taken out of the queue so that the others go on,
 * and kept on disk for people to decide: to the queue again, when the reason is mended, or away.
 *
 *     [1, id, version, value, queuedAtMs, diedAtMs, code, message]
 *     [2, id, version]     it is no dead letter any more
 */
import { deserialize, serialize } from 'node:v8';
import { DiskLog } from '../../disk-log/log.ts';
import type { DeadLetter, DeadLetterLog } from './queue-log.ts';
import { letterIn, letterName, letterRecord } from './queue-records.ts';

const GONE = 2;
const MAX_BYTES = 256 * 1024 ** 2;
const SEGMENT_BYTES = 1024 ** 2;

export class DiskDeadLetters implements DeadLetterLog {
  readonly #log: DiskLog;
  readonly #all: Map<string, DeadLetter>;

  private constructor(log: DiskLog, all: Map<string, DeadLetter>) {
    this.#log = log;
    this.#all = all;
  }

  /** @throws BreakwaterError `DISK_LOG_LOCKED`, `DISK_LOG_CORRUPT`; the system's own errors */
  static async open(directory: string): Promise<DiskDeadLetters> {
    const log = await DiskLog.open(directory, { segmentBytes: SEGMENT_BYTES, maxBytes: MAX_BYTES });
    const all = new Map<string, DeadLetter>();
    for await (const { bytes } of log.read()) applyLetter(all, bytes);
    return new DiskDeadLetters(log, all);
  }

  get size(): number {
    return this.#all.size;
  }

  list(): DeadLetter[] {
    return [...this.#all.values()];
  }

  /** Resolves when it is on disk. @throws BreakwaterError of the log */
  async add(letter: DeadLetter): Promise<void> {
    await this.#log.append(letterRecord(letter));
    this.#all.set(letterName(letter), letter);
  }

  /** @throws BreakwaterError of the log */
  async remove(letter: DeadLetter): Promise<void> {
    await this.#log.append(serialize([GONE, letter.id, letter.version]));
    this.#all.delete(letterName(letter));
    if (this.#all.size === 0) await this.#log.trim(this.#log.next - 1);
  }

  close(): Promise<void> {
    return this.#log.close();
  }
}

/** One record of the log, in order. */
export function applyLetter(all: Map<string, DeadLetter>, bytes: Uint8Array): void {
  const record = deserialize(bytes) as readonly [number, string, number];
  const [kind, id, version] = record;
  if (kind === GONE) all.delete(letterName({ id, version }));
  else all.set(letterName({ id, version }), letterIn(record));
}
