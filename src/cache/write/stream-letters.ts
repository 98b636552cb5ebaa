/**
 * Dead letters beside a stream (stream-queue.ts). They are in memory too, since `cache.deadLetters.list()` waits for nobody; `breakwater queue` may take them away meanwhile, which is looked for
 * with each beat.
 */
import { BreakwaterError } from '../../base/errors.ts';
import type { StoreQueues } from '../../stores/queues.ts';
import type { StoreCall } from '../../stores/store.ts';
import type { DeadLetter, DeadLetterLog } from './queue-log.ts';
import { letterName, letterRecord } from './queue-records.ts';

export interface StreamLettersPorts {
  readonly queues: StoreQueues;
  readonly queue: string;
  readonly call: StoreCall;
  place(): { readonly stream: string; readonly holder: string };
  /** Another process has the stream. */
  onTaken(): void;
}

export class StreamDeadLetters implements DeadLetterLog {
  readonly #ports: StreamLettersPorts;
  readonly #all = new Map<string, DeadLetter>();

  constructor(ports: StreamLettersPorts) {
    this.#ports = ports;
  }

  get size(): number {
    return this.#all.size;
  }

  list(): DeadLetter[] {
    return [...this.#all.values()];
  }

  async add(letter: DeadLetter): Promise<void> {
    await this.keep([letter]);
  }

  async remove(letter: DeadLetter): Promise<void> {
    const { queues, queue, call, place } = this.#ports;
    await queues.removeLetters(queue, place().stream, [letterName(letter)], call);
    this.#all.delete(letterName(letter));
  }

  /** Resolves when they are kept. @throws BreakwaterError */
  async keep(letters: readonly DeadLetter[]): Promise<void> {
    const { queues, queue, call, place, onTaken } = this.#ports;
    for (const letter of letters) {
      const { stream, holder } = place();
      const name = letterName(letter);
      if (!(await queues.addLetter(queue, stream, holder, name, letterRecord(letter), call))) {
        onTaken();
        throw new BreakwaterError(
          'STORE_UNAVAILABLE',
          `cannot keep a dead letter of ${queue}: another process has its stream`,
        );
      }
      this.#all.set(name, letter);
    }
  }

  /** They are another process's now. */
  forget(): void {
    this.#all.clear();
  }

  /** Those that were taken away by hand go here too. */
  async compare(): Promise<void> {
    if (this.#all.size === 0) return;
    const before = [...this.#all];
    const { queues, queue, call, place } = this.#ports;
    const { stream } = place();
    const there = await queues.letters(queue, stream, call);
    if (place().stream !== stream) return;
    for (const [name, letter] of before) {
      if (!there.has(name) && this.#all.get(name) === letter) this.#all.delete(name);
    }
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
