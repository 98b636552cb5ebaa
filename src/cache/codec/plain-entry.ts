/**
 * The most common entry of a batch: JSON, short, as it was encoded, in the pack that a reply brought (stores/packed-hit.ts). Read into an object that is used
 * again, so what is to be kept of it is copied out at once. Says no to whatever is not that; `Packing.open` reads it then, from the start.
 */
import { decodeJson } from '../../base/envelope.ts';
import { PlainEnvelope } from '../../base/plain-envelope.ts';
import type { PackedHit } from '../../stores/packed-hit.ts';
import type { Entry } from '../entry.ts';

const NO_TAGS: readonly string[] = Object.freeze([]);

export class PlainEntry implements Entry<unknown> {
  value: unknown = null;
  readonly tags = NO_TAGS;
  ageMs = 0;
  ttlMs = 0;
  graceMs = 0;
  loadMs = 0;
  version = 0;
  encodedBytes = 0;
  readonly #envelope = new PlainEnvelope();

  /**
   * False: read it another way.
   * @param mostGraceMs this declaration's: an entry stored under a longer one is served no longer than this
   * @param isKept its tags will be asked for, which are not read here
   */
  open(hit: PackedHit, mostGraceMs: number, isKept: boolean): boolean {
    const envelope = this.#envelope;
    const { pack, start, end, ttlMs } = hit;
    if (!envelope.read(pack.bytes, start, end) || (isKept && envelope.hasTags)) return false;
    const { absent, freshMs, keptMs, payloadAt } = envelope;
    const value = absent ? null : valueIn(hit, payloadAt, envelope.isAscii);
    if (value === undefined) return false;
    this.value = value;
    // By the store's clock alone: how long it was given, less what is left.
    const isLimited = keptMs !== Number.POSITIVE_INFINITY;
    this.ageMs = isLimited && ttlMs !== null ? Math.max(0, keptMs - ttlMs) : 0;
    this.ttlMs = freshMs;
    this.graceMs = absent || !isLimited ? 0 : Math.max(0, Math.min(keptMs - freshMs, mostGraceMs));
    this.loadMs = envelope.loadMicros / 1000;
    this.version = hit.version;
    this.encodedBytes = end - payloadAt;
    return true;
  }
}

/** `undefined`: not JSON. */
function valueIn({ pack, end }: PackedHit, payloadAt: number, isAscii: boolean): unknown {
  if (!isAscii) return decodeJson(pack.bytes, payloadAt, end);
  try {
    return JSON.parse(pack.asciiText(payloadAt, end)) as unknown;
  } catch {
    return undefined;
  }
}
