/**
 * The load generator's process: takes jobs over its channel, one at a time, and answers each. A process of its own so that
 * the load neither shares a thread with the bench's bookkeeping nor inherits its heap.
 */
import { messageOf } from '../../base/errors.ts';
import { type Fill, type Load, type LoadResult, runFill, runLoad } from './load.ts';

export type Job = { readonly kind: 'load'; readonly load: Load } | { readonly kind: 'fill'; readonly fill: Fill };

export type Answer =
  | { readonly kind: 'load'; readonly result: LoadResult }
  | { readonly kind: 'fill'; readonly result: { readonly errors: number; readonly firstError: string } }
  | { readonly kind: 'failed'; readonly message: string };

async function answer(job: Job): Promise<Answer> {
  try {
    return job.kind === 'load'
      ? { kind: 'load', result: await runLoad(job.load) }
      : { kind: 'fill', result: await runFill(job.fill) };
  } catch (error) {
    return { kind: 'failed', message: messageOf(error) };
  }
}

process.on('message', (job: Job) => {
  void answer(job).then((result) => process.send?.(result));
});
process.on('disconnect', () => process.exit(0));
