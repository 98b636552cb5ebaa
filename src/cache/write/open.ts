/** The writer that a declaration asks for, and its queue. */
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { decodeEnvelope } from '../../base/envelope.ts';
import type { QueueDurability } from '../../stores/queues.ts';
import type { ReadHit } from '../../stores/store.ts';
import type { FlightPorts } from '../loads.ts';
import { Behind } from './behind.ts';
import type { BehindSettings } from './behind-options.ts';
import type { Declared } from './declared.ts';
import { diskStorage } from './disk-queue.ts';
import type { DeadLetter, QueueStorage } from './queue-log.ts';
import { streamStorage } from './stream-queue.ts';
import { type PackedValue, Writer, type WriterPorts } from './writer.ts';

/** What a cache gives. */
export interface WritingParts<V> extends Omit<WriterPorts<V>, 'policy' | 'sink' | 'behind'> {
  readonly ports: FlightPorts;
  pack(id: string, value: V | null): Promise<PackedValue>;
  unpack(id: string, hit: ReadHit): Promise<unknown>;
  onDeadLetter(letter: DeadLetter): void;
  onDurability(durability: QueueDurability): void;
}

export function openWriter<K extends string, V>(
  { policy, sink, behind: settings }: Declared<K, V>,
  parts: WritingParts<V>,
): { readonly writer: Writer<V> | null; readonly behind: Behind | null } {
  if (policy === 'aside' || sink === null) return { writer: null, behind: null };
  if (settings === null) return { writer: new Writer({ ...parts, policy, sink, behind: null }), behind: null };
  const { name, store, timeoutMs, ports } = parts;
  const behind = new Behind({
    name,
    storage: storageOf(name, settings, parts),
    settings,
    ordered: sink.ordered as NonNullable<typeof sink.ordered> as never,
    store,
    ports,
    timeoutMs,
    readTimeoutMs: parts.readTimeoutMs,
    guarded: parts.guarded,
    forget: parts.forget,
    pack: async (id, value) => (await parts.pack(id, value as V | null)).bytes,
    setEntry: (id, packed, version) => {
      const envelope = decodeEnvelope(packed, crc32);
      const { tags, keptMs } = envelope.kind === 'envelope' ? envelope : { tags: [], keptMs: 1 };
      return store.set(`${name}:${id}`, packed, { ttlMs: keptMs, tags, version }, { timeoutMs });
    },
    invalidate: (ids) =>
      parts
        .invalidate(ids, () => undefined)
        .then(
          () => true,
          () => false,
        ),
    unpack: parts.unpack,
    onDeadLetter: parts.onDeadLetter,
  });
  return { writer: new Writer({ ...parts, policy, sink, behind }), behind };
}

function storageOf<V>(
  name: string,
  { queue, directory, maxBytes, takeoverMs, writeTimeoutMs }: BehindSettings,
  { store, ports, onDurability }: WritingParts<V>,
): QueueStorage {
  if (queue === 'disk') return diskStorage(join(directory, name), maxBytes);
  const { clock, scheduler } = ports;
  const { queues } = store;
  return streamStorage({
    queues: queues!,
    queue: name,
    clock,
    scheduler,
    maxBytes,
    takeoverMs,
    timeoutMs: writeTimeoutMs,
    onDurability,
  });
}
