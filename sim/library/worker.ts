/** A process that runs batches for `command.ts`: one message in, one out. */
import { runBatch } from './batch.ts';

interface Job {
  readonly from: number;
  readonly seeds: number;
  readonly everyTwice: number;
  readonly stopAtFailure: boolean;
}

process.on('message', ({ from, seeds, everyTwice, stopAtFailure }: Job) => {
  void runBatch(from, seeds, everyTwice, stopAtFailure).then((result) => process.send?.(result));
});
// Signals may reach the whole group: the parent decides.
process.on('SIGINT', () => undefined).on('SIGTERM', () => undefined);
process.on('disconnect', () => process.exit());
