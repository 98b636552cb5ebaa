/**
 * Writes and dead letters as bytes, alike in every kind of log:
 *
 *     [1, id, version, value, queuedAtMs]                              a write; null deletes
 *     [1, id, version, value, queuedAtMs, diedAtMs, code, message]     a dead letter
 */
import { deserialize, serialize } from 'node:v8';
import type { DeadLetter, Queued } from './queue-log.ts';

export const WRITE = 1;

export function writeRecord({ id, version, bytes, queuedAtMs }: Queued): Uint8Array {
  return serialize([WRITE, id, version, bytes, queuedAtMs]);
}

export function readWrite(bytes: Uint8Array): Queued {
  return writeIn(deserialize(bytes) as readonly unknown[]);
}

/** @param record deserialized */
export function writeIn(record: readonly unknown[]): Queued {
  const [, id, version, value, queuedAtMs] = record as readonly [number, string, number, Uint8Array, number];
  return { id, version, bytes: value, queuedAtMs };
}

export function letterRecord({ id, version, bytes, queuedAtMs, diedAtMs, code, message }: DeadLetter): Uint8Array {
  return serialize([WRITE, id, version, bytes, queuedAtMs, diedAtMs, code, message]);
}

export function readLetter(bytes: Uint8Array): DeadLetter {
  return letterIn(deserialize(bytes) as readonly unknown[]);
}

/** @param record deserialized */
export function letterIn(record: readonly unknown[]): DeadLetter {
  const [diedAtMs, code, message] = record.slice(5) as [number, string, string];
  return { ...writeIn(record), diedAtMs, code, message };
}

/** Names a letter: a row may have several. */
export function letterName({ id, version }: Pick<Queued, 'id' | 'version'>): string {
  return `${version} ${id}`;
}
