/** A write-behind log in streams of a real Redis, with time turned by hand: who is silent for how long is the test's word. */
import { ManualScheduler } from '../../src/base/scheduler.ts';
import type { OpenQueue, Queued, QueueLog } from '../../src/cache/write/queue-log.ts';
import { streamStorage } from '../../src/cache/write/stream-queue.ts';
import type { QueueDurability } from '../../src/stores/queues.ts';
import type { ValkeyStore } from '../../src/stores/valkey.ts';
import { until } from './ordered-table.ts';
import { openValkey } from './valkey.ts';

export const TAKEOVER_MS = 10_000;
export const CALL = { timeoutMs: 30_000 };

/** One process. */
export class StreamProcess implements OpenQueue {
  readonly scheduler = new ManualScheduler();
  readonly adopted: Queued[] = [];
  disowned = 0;
  durability: QueueDurability | null = null;
  readonly store: ValkeyStore;
  log!: QueueLog;
  dead!: OpenQueue['dead'];
  readonly #queue: string;

  private constructor(url: string, queue: string) {
    this.store = openValkey(url);
    this.#queue = queue;
  }

  static async open(url: string, queue = 'row', maxBytes = 64 * 1024 ** 2): Promise<StreamProcess> {
    const made = new StreamProcess(url, queue);
    const { scheduler, store } = made;
    const storage = streamStorage({
      queues: store.queues,
      queue,
      clock: scheduler.clock,
      scheduler,
      maxBytes,
      takeoverMs: TAKEOVER_MS,
      timeoutMs: CALL.timeoutMs,
      onDurability: (durability) => {
        made.durability = durability;
      },
    });
    try {
      const { log, dead } = await storage.open({
        adopt: (writes) => void made.adopted.push(...writes),
        disown: () => {
          made.disowned += 1;
        },
      });
      made.log = log;
      made.dead = dead;
    } catch (error) {
      await store.close();
      throw error;
    }
    return made;
  }

  /** How many streams there are. */
  async streams(): Promise<number> {
    return (await this.store.queues.look(this.#queue, CALL)).length;
  }

  /** Time goes on here until nobody else's stream is left: all are silent. */
  async outlive(): Promise<void> {
    await until(async () => {
      await this.scheduler.run(TAKEOVER_MS / 5);
      return (await this.streams()) === 1;
    });
  }

  /** Ends without a word. */
  async crash(): Promise<void> {
    await this.store.close();
  }

  async close(): Promise<void> {
    await this.dead.close();
    await this.log.close();
    await this.store.close();
  }
}
