/** A process that runs batches for `command.ts`: one message in, one out. */
import { type BatchOptions, runBatch } from './batch.ts';

process.on('message', (job: BatchOptions) => {
  process.send?.(runBatch(job));
});
// Signals may reach the whole group: the parent decides.
process.on('SIGINT', () => undefined).on('SIGTERM', () => undefined);
process.on('disconnect', () => process.exit());
