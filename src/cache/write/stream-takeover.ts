/**
 * Going on with what a dead process has left in the store (stores/queues.ts):
 *
 *     1. look at all streams. One whose holder and beat are what they were `holdMs` ago, by this process's clock: its holder is dead. One that is nobody's: at once
 *     2. take it: the holder is set, if holder and beat are still those. Of two who try one does
 *     3. its records are appended to this process's own stream, page by page; its letters too
 *     4. it is dropped
 *
 * A process that dies between 2 and 4 has left a stream of its own holder's that is silent: the next one takes it, and what was copied is there twice, which has no effect.
 */
import type { Clock } from '../../base/clock.ts';
import type { StoreQueues, StreamView } from '../../stores/queues.ts';
import type { StoreCall } from '../../stores/store.ts';
import type { DeadLetter, Queued } from './queue-log.ts';
import { readLetter, readWrite } from './queue-records.ts';

export interface TakeoverPorts {
  readonly queues: StoreQueues;
  readonly queue: string;
  readonly clock: Clock;
  readonly call: StoreCall;
  /** This process. */
  readonly holder: string;
  /** Whether it is one that this process appends to, or is about to. */
  isOwn(stream: string): boolean;
  keep(writes: readonly Queued[]): Promise<void>;
  keepLetters(letters: readonly DeadLetter[]): Promise<void>;
}

const PAGE = 256;

export class StreamTakeover {
  readonly #ports: TakeoverPorts;
  /** Since when each stream is as it was seen last. */
  #seen = new Map<string, { readonly view: StreamView; readonly sinceMs: number }>();

  constructor(ports: TakeoverPorts) {
    this.#ports = ports;
  }

  /** @throws BreakwaterError of the store */
  async look(): Promise<void> {
    const { queues, queue, clock, call, holder, isOwn } = this.#ports;
    const views = await queues.look(queue, call);
    const nowMs = clock.now();
    const seen = new Map<string, { readonly view: StreamView; readonly sinceMs: number }>();
    const left: StreamView[] = [];
    for (const view of views) {
      if (isOwn(view.stream)) continue;
      const known = this.#seen.get(view.stream);
      const isSame = known !== undefined && known.view.holder === view.holder && known.view.beat === view.beat;
      const sinceMs = isSame ? known.sinceMs : nowMs;
      seen.set(view.stream, { view, sinceMs });
      // Ours, and none that we append to: its move was cut off.
      const isFree = view.holder === '' || view.holder === holder;
      if (isFree || nowMs - sinceMs >= view.holdMs) left.push(view);
    }
    this.#seen = seen;
    for (const view of left) if (await queues.take(queue, view, holder, call)) await this.#move(view.stream);
  }

  async #move(stream: string): Promise<void> {
    const { queues, queue, call, holder, keep, keepLetters } = this.#ports;
    for (let after = 0; ; ) {
      const page = await queues.read(queue, stream, after, PAGE, call);
      await keep(page.map(({ record }) => readWrite(record)));
      if (page.length < PAGE) break;
      after = page.at(-1)!.position;
    }
    const letters = await queues.letters(queue, stream, call);
    await keepLetters(Array.from(letters.values(), readLetter));
    await queues.drop(queue, stream, holder, call);
  }
}
