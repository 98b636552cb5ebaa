/**
 * The library's public face: what `import { ... } from 'breakwater'` gives. Nothing else of `src/` is promised to stay.
 */
export { BreakwaterError } from '../base/errors.ts';
export type { Duration } from '../base/units.ts';
export { UnacknowledgedError } from './acknowledged.ts';
export type { Advice } from './advice/advice.ts';
export type { Breakwater, BreakwaterStats, Closed } from './breakwater.ts';
export type { Cache } from './cache.ts';
export type { Following } from './changes/followings.ts';
export type { ChangeRun, ChangeStats, ChangeStream, ChangesEvent, ChangeTarget } from './changes/port.ts';
export type { EncryptionKey, EncryptionOptions } from './codec/encryption.ts';
export type { CompressionOptions, PackingOptions } from './codec/options.ts';
export type { Codec } from './codec/value-codec.ts';
export type { Counter, CounterOptions, CounterStats } from './counter.ts';
export { type BreakwaterOptions, createBreakwater, type OutboxFace } from './create.ts';
export type {
  DataSource,
  IdQuery,
  OrderedChange,
  OrderedSink,
  Sink,
  SourceCall,
  WritableSource,
} from './data-source.ts';
export { KnownKeys, type KnownKeysOptions, type KnownKeysStats } from './filter/known-keys.ts';
export { GuardShedError, SourceBusyError } from './guard/errors.ts';
export type { GuardStats } from './guard/stats.ts';
export type { IdRule } from './id-rule.ts';
export type { Invalidation } from './invalidation.ts';
export type { Lock, LockOptions } from './lock.ts';
export type {
  BreakerEvent,
  BreakwaterEvents,
  BypassEvent,
  DeadLetterEvent,
  EventName,
  FillEvent,
  HitEvent,
  InvalidateEvent,
  LoadEvent,
  MissEvent,
  ShedEvent,
  StaleEvent,
  UnacknowledgedEvent,
  WrongHitEvent,
} from './observe/events.ts';
export type { MetricRegistry } from './observe/prometheus.ts';
export type { SamplerStats } from './observe/sampler.ts';
export type { Listener } from './observe/watch.ts';
export type { RingFace, RingServerFace } from './ring.ts';
export type { StandardIssue, StandardResult, StandardSchema } from './schema.ts';
export type { SessionToken } from './session.ts';
export type { BackoffFace, BreakerFace, Source, SourceOptions } from './source.ts';
export type {
  AnswerOf,
  Cached,
  CacheOptions,
  CacheStats,
  CodecChoice,
  Detailed,
  GetOptions,
  L1Options,
  LoadContext,
  LoadedOne,
  Loader,
  LoadResult,
  Packed,
  SampleOptions,
  SetOptions,
  SharedCacheOptions,
  Tier,
  WritePolicy,
  Written,
} from './types.ts';
export { NOT_MODIFIED, Validated } from './types.ts';
export type { WarmOptions, WarmProgress } from './warm.ts';
export type { BehindOptions } from './write/behind-options.ts';
export type { DeadLetterBox, DeadLetterInfo } from './write/dead-letter-box.ts';
export type { QueueStats } from './write/queue-stats.ts';
export type { WriteReceipt } from './write/writer.ts';
