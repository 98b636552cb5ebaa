/** A process that runs batches for `command.ts`. */
import { serveBatches } from '../run/workers.ts';
import { runBatch } from './batch.ts';

serveBatches(runBatch);
