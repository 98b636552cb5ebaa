/**
 * Locks and sums as bytes (`effect.ts` has entries): what a copy is told of them.
 *
 *   LOCK      who holds it under which token and for how much longer (0: nobody does)
 *   SUM       what it is now, never what was added, so that one heard twice counts once; and what is left of its TTL (0: it has none)
 *   BESIDE    all of a range, in place of whatever the copy had: the largest token that was granted in it, and each lock and sum
 *
 * Names and owners are bytes, one a character. Little-endian. What has not this form is a broken promise of another member's.
 */
import { assert } from '../base/assert.ts';
import { BESIDE, LOCK, SUM } from './effect.ts';

const LOCK_HEAD = 20;
const SUM_HEAD = 19;
const BESIDE_HEAD = 9;

export interface LockEffect {
  readonly name: string;
  readonly owner: string;
  readonly token: number;
  /** 0 = nobody holds it. */
  readonly leftMs: number;
}

export interface SumEffect {
  readonly name: string;
  readonly value: number;
  /** 0 = for ever. */
  readonly leftMs: number;
}

export function lockEffect({ name, owner, token, leftMs }: LockEffect): Uint8Array {
  const body = new Uint8Array(LOCK_HEAD + name.length + owner.length);
  const view = new DataView(body.buffer);
  body[0] = LOCK;
  view.setUint16(1, name.length, true);
  body[3] = owner.length;
  view.setFloat64(4, token, true);
  view.setFloat64(12, leftMs, true);
  putText(body, LOCK_HEAD, name);
  putText(body, LOCK_HEAD + name.length, owner);
  return body;
}

export function readLock(body: Uint8Array): LockEffect {
  assert(body.length >= LOCK_HEAD && body[0] === LOCK, 'a lock of another member has the form of a lock');
  const view = viewOf(body);
  const ownerAt = LOCK_HEAD + view.getUint16(1, true);
  assert(ownerAt + body[3]! === body.length, 'a lock of another member is as long as it says');
  const name = textAt(body, LOCK_HEAD, ownerAt);
  const owner = textAt(body, ownerAt, body.length);
  return { name, owner, token: view.getFloat64(4, true), leftMs: view.getFloat64(12, true) };
}

export function sumEffect({ name, value, leftMs }: SumEffect): Uint8Array {
  const body = new Uint8Array(SUM_HEAD + name.length);
  const view = new DataView(body.buffer);
  body[0] = SUM;
  view.setUint16(1, name.length, true);
  view.setFloat64(3, value, true);
  view.setFloat64(11, leftMs, true);
  putText(body, SUM_HEAD, name);
  return body;
}

export function readSum(body: Uint8Array): SumEffect {
  assert(body.length >= SUM_HEAD && body[0] === SUM, 'a sum of another member has the form of a sum');
  const view = viewOf(body);
  assert(SUM_HEAD + view.getUint16(1, true) === body.length, 'a sum of another member is as long as it says');
  const name = textAt(body, SUM_HEAD, body.length);
  return { name, value: view.getFloat64(3, true), leftMs: view.getFloat64(11, true) };
}

/** @param effects each a LOCK or a SUM */
export function besideEntry(lastToken: number, effects: readonly Uint8Array[]): Uint8Array {
  const length = effects.reduce((sum, effect) => sum + 2 + effect.length, BESIDE_HEAD);
  const body = new Uint8Array(length);
  const view = new DataView(body.buffer);
  body[0] = BESIDE;
  view.setFloat64(1, lastToken, true);
  let at = BESIDE_HEAD;
  for (const effect of effects) {
    view.setUint16(at, effect.length, true);
    body.set(effect, at + 2);
    at += 2 + effect.length;
  }
  return body;
}

export function readBeside(body: Uint8Array): { readonly lastToken: number; readonly effects: readonly Uint8Array[] } {
  assert(body.length >= BESIDE_HEAD && body[0] === BESIDE, 'what another member keeps beside entries has that form');
  const view = viewOf(body);
  const effects: Uint8Array[] = [];
  let at = BESIDE_HEAD;
  while (at + 2 <= body.length) {
    const end = at + 2 + view.getUint16(at, true);
    effects.push(body.subarray(at + 2, end));
    at = end;
  }
  assert(at === body.length, 'what another member keeps beside entries is as long as it says');
  return { lastToken: view.getFloat64(1, true), effects };
}

function viewOf(body: Uint8Array): DataView {
  return new DataView(body.buffer, body.byteOffset, body.length);
}

function putText(body: Uint8Array, at: number, text: string): void {
  for (let i = 0; i < text.length; i += 1) body[at + i] = text.charCodeAt(i);
}

function textAt(body: Uint8Array, start: number, end: number): string {
  let text = '';
  for (let at = start; at < end; at += 1) text += String.fromCharCode(body[at]!);
  return text;
}
