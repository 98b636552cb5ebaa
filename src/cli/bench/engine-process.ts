/**
 * The engine bench in a process of its own, started with `--expose-gc`: the growth of the heap and of resident memory means
 * nothing in a process that has done other things before. Takes the number of entries over its channel, answers the report.
 */
import { messageOf } from '../../base/errors.ts';
import { type EngineBenchReport, runEngineBench } from './engine-bench.ts';

export type EngineAnswer =
  | { readonly kind: 'report'; readonly report: EngineBenchReport }
  | { readonly kind: 'failed'; readonly message: string };

process.once('message', (entries: number) => {
  runEngineBench({ entries, json: true })
    .then(
      (report): EngineAnswer => ({ kind: 'report', report }),
      (error: unknown): EngineAnswer => ({ kind: 'failed', message: messageOf(error) }),
    )
    .then((answer) => process.send?.(answer, () => process.exit(0)));
});
process.on('disconnect', () => process.exit(0));
