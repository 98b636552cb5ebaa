/**
 * What a database gives to a cache: a loader, and where it can be written to, a sink. A plain function is a loader too and stays enough; a
 * source is one with promises that a suite checks (test/contract/source-contract.ts), whichever database it speaks to.
 *
 *     bw.cache('product', { source })                                  reads, and `policy` says how it is written
 *     products.write(id, () => source.sink.upsert(new Map([[id, row]])))   database first, then the invalidation
 *
 * A source holds no value and no queue. What protects the database (one flight per key, the cap on concurrent calls, the breaker, deadlines)
 * stands in front of it, in the cache: a source that had its own would hide from those how long a call really takes.
 */
import { BreakwaterError } from '../base/errors.ts';
import { show } from '../cache/key.ts';

export type {
  DataSource,
  OrderedChange,
  OrderedSink,
  Sink,
  SourceCall,
  WritableSource,
} from '../cache/data-source.ts';

/** What the call was cut off with stays visible as the cause. */
export function aborted(name: string, signal: AbortSignal): BreakwaterError {
  return new BreakwaterError('SOURCE_ABORTED', `the call to ${name} was cut off by its signal`, {
    cause: signal.reason,
  });
}

/** @param why e.g. `the key is a bigint` */
export function invalidKey(name: string, id: string, why: string): BreakwaterError {
  return new BreakwaterError('SOURCE_KEY_INVALID', `cannot ask ${name} for an id: ${why}, received ${show(id)}`);
}
