/**
 * A read of many keys by scripts: what plain commands (plain-reading.ts) could not say for sure to be hits.
 *
 *   1. Every server is sent one pipeline: for each sector the table of invalidations is asked about the namespaces and the tags
 *      that the keys are believed to have, and the keys are asked for. A key that is absent is leased in the same step.
 *   2. Only where an entry has a tag that was not asked about: the table again.
 *   3. Only where an entry turned out dead and a lease is wanted: its lease, in the place of exactly that entry.
 *
 * So a batch of hits and of absent keys is one round trip a server. A token carries what the table said in step 1, which is before any load.
 *
 * What a shard that cannot be reached costs: its keys are misses whose lease nobody will honour, so the caller loads them, stores nothing, and
 * has the rest of the batch. Only when no key could be read is the read an error.
 */
import type { BreakwaterError } from '../../base/errors.ts';
import type { Outcome } from '../../client/cluster-outcome.ts';
import type { LeaseCall, ReadCall, ReadResult } from '../store.ts';
import type { Calls } from './calls.ts';
import { storeError } from './errors.ts';
import { type DecodedEntry, decodeEntry, formatLease, versionTextOf } from './format.ts';
import type { PlainReads } from './plain-reading.ts';
import type { Layout, Sector } from './sectors.ts';
import type { Deadline, Shards } from './shards.ts';
import { isDead, namespaceName, type Survey, surveyOf, tagName } from './survey.ts';
import type { TagMemory } from './tag-memory.ts';

/** A lease that no fill is accepted with. */
export const UNFILLABLE = 'none';

/** How long others are told to wait when the caller does not say. */
const DEFAULT_LEASE_MS = 10_000;
/** A token is remembered for so many lease times, at least a minute: a load that takes longer is not stored. */
const TOKEN_LEASES = 10;
const TOKEN_LIFE_MS = 60_000;

/** What is known of one key so far. */
interface Reading {
  readonly key: string;
  readonly slot: number;
  readonly sector: Sector;
  readonly token: string;
  /** What the scripts said: see lua.ts. */
  reply: Outcome;
  survey: Survey | null;
  entry: DecodedEntry | null;
  /** Of what stands under the key, even where it cannot be read as an entry. */
  versionText: string;
  ttlMs: number | null;
  state: 'unknown' | 'hit' | 'absent' | 'dead' | 'failed';
  error: unknown;
}

export interface ReadPorts {
  readonly shards: Shards;
  readonly calls: Calls;
  readonly layout: Layout;
  readonly tags: TagMemory;
  readonly plain: PlainReads;
  readonly newId: () => string;
}

export async function readAll(
  keys: readonly string[],
  call: ReadCall,
  deadline: Deadline,
  ports: ReadPorts,
): Promise<ReadResult[]> {
  const { layout } = ports;
  const readings = keys.map((key): Reading => {
    const slot = layout.slotOf(key);
    const token = call.lease ? ports.newId() : '';
    const sector = layout.sectorOf(slot);
    return {
      key,
      slot,
      sector,
      token,
      reply: null,
      survey: null,
      entry: null,
      versionText: '',
      ttlMs: null,
      state: 'unknown',
      error: null,
    };
  });
  const lease = call.lease ? leaseTimes(call.leaseMs ?? DEFAULT_LEASE_MS) : null;

  await ask(readings, { lease, withTable: (key) => ports.tags.get(key), withKeys: true }, deadline, ports);
  const unsure = readings.filter(({ entry, state }) => entry !== null && state === 'unknown');
  if (unsure.length > 0) {
    const tagsOf = new Map(unsure.map(({ key, entry }) => [key, entry!.tags]));
    await ask(unsure, { lease, withTable: (key) => tagsOf.get(key)!, withKeys: false }, deadline, ports);
  }
  const dead = readings.filter(({ state }) => state === 'dead');
  if (dead.length > 0 && lease !== null) await replaceDead(dead, lease, deadline, ports);

  if (readings.every(({ state }) => state === 'failed')) throw storeError(readings[0]!.error, call.signal);
  return readings.map((reading) => resultOf(reading, call.lease));
}

interface Question {
  readonly lease: { readonly lifeMs: number; readonly waitMs: number } | null;
  /** Tags to ask the tables about, for each key. */
  readonly withTable: (key: string) => readonly string[];
  /** Whether the keys are asked for as well, or have been. */
  readonly withKeys: boolean;
}

async function ask(
  readings: readonly Reading[],
  question: Question,
  deadline: Deadline,
  ports: ReadPorts,
): Promise<void> {
  const { calls, shards } = ports;
  const namesOf = new Map<Sector, Set<string>>();
  for (const { key, sector } of readings) {
    const names = namesOf.get(sector) ?? new Set();
    if (names.size === 0) namesOf.set(sector, names);
    names.add(namespaceName(key));
    for (const tag of question.withTable(key)) names.add(tagName(tag));
  }
  const tables = [...namesOf].map(([sector, names]) => ({ sector, names: [...names] }));
  const chunks = question.withKeys ? chunked(readings, ports.layout.keysPerCall) : [];
  const witnesses = tables.map(({ sector, names }) => ports.plain.watch(sector, calls.survey(sector, names)));
  const requests = [
    ...witnesses.map(({ request }) => request),
    ...chunks.map((chunk) =>
      calls.read(
        chunk[0]!.slot,
        chunk.map(({ key, token }) => ({ key, token, dead: '' })),
        question.lease,
      ),
    ),
  ];
  const outcomes = await shards.execute(requests, deadline, { idempotent: true });

  const surveys = new Map<Sector, Survey | BreakwaterError>();
  tables.forEach(({ sector, names }, i) => {
    const outcome = outcomes[i]!;
    if (outcome instanceof Error) {
      surveys.set(sector, outcome);
      return;
    }
    const survey = surveyOf(outcome, names);
    surveys.set(sector, survey);
    witnesses[i]!.learn(survey);
  });
  chunks.forEach((chunk, i) => {
    const outcome = outcomes[tables.length + i]!;
    chunk.forEach((reading, at) => {
      const reply: Outcome = Array.isArray(outcome) ? outcome[at]! : outcome;
      if (reply instanceof Error || !Array.isArray(reply)) fail(reading, reply);
      else take(reading, reply);
    });
  });
  for (const reading of readings) {
    const survey = surveys.get(reading.sector)!;
    if (survey instanceof Error) fail(reading, survey);
    else {
      reading.survey ??= survey;
      judge(reading, survey, ports.tags);
    }
  }
}

/** Takes over what the read script said about a key. */
function take(reading: Reading, reply: readonly Outcome[]): void {
  reading.reply = reply as Outcome;
  const [kind, text, ttl] = reply;
  if (kind !== 1) {
    reading.state = 'absent';
    return;
  }
  reading.entry = text instanceof Uint8Array ? decodeEntry(text) : null;
  reading.versionText = text instanceof Uint8Array ? versionTextOf(text) : '';
  reading.ttlMs = typeof ttl === 'number' && ttl >= 0 ? ttl : null;
  // Somebody wrote into it: to be replaced as one that is out of date.
  if (reading.entry === null) reading.state = 'dead';
}

function judge(reading: Reading, survey: Survey, tags: TagMemory): void {
  const { entry, key, state } = reading;
  if (state !== 'unknown' || entry === null) return;
  const dead = isDead(entry.head, key, entry.tags, survey);
  if (dead !== true) tags.set(key, entry.tags);
  if (dead !== null) reading.state = dead ? 'dead' : 'hit';
}

/** Leases of dead entries: granted in their place, unless somebody was faster. */
async function replaceDead(
  readings: readonly Reading[],
  lease: { readonly lifeMs: number; readonly waitMs: number },
  deadline: Deadline,
  { calls, shards, layout }: ReadPorts,
): Promise<void> {
  const chunks = chunked(readings, layout.keysPerCall);
  const requests = chunks.map((chunk) =>
    calls.read(
      chunk[0]!.slot,
      chunk.map(({ key, token, versionText }) => ({ key, token, dead: versionText })),
      lease,
    ),
  );
  const outcomes = await shards.execute(requests, deadline, { idempotent: true });
  chunks.forEach((chunk, i) => {
    const outcome = outcomes[i]!;
    chunk.forEach((reading, at) => {
      const reply: Outcome = Array.isArray(outcome) ? outcome[at]! : outcome;
      if (reply instanceof Error || !Array.isArray(reply)) fail(reading, reply);
      else {
        reading.state = 'absent';
        reading.reply = reply;
      }
    });
  });
}

function resultOf(reading: Reading, wantsLease: boolean): ReadResult {
  const { state, entry, ttlMs, reply, token, survey } = reading;
  if (state === 'hit') return { kind: 'hit', value: entry!.value, ttlMs, version: entry!.version };
  if (!wantsLease) return { kind: 'miss', lease: null, waitMs: 0 };
  if (state === 'absent' && Array.isArray(reply) && survey !== null) {
    const [kind, waitMs] = reply;
    if (kind === 2) {
      const { epoch, number } = survey;
      return { kind: 'miss', lease: formatLease({ token, epoch, number }), waitMs: 0 };
    }
    if (kind === 3) return { kind: 'miss', lease: null, waitMs: Math.max(1, Number(waitMs)) };
    // Somebody stored it while we looked: it will be there for the next read.
    if (kind === 1) return { kind: 'miss', lease: null, waitMs: 1 };
  }
  return { kind: 'miss', lease: UNFILLABLE, waitMs: 0 };
}

function fail(reading: Reading, error: Outcome): void {
  reading.state = 'failed';
  reading.error ??= error as BreakwaterError | null;
}

/** Readings of one slot each, at most `most` together. */
function chunked(readings: readonly Reading[], most: number): Reading[][] {
  const chunks: Reading[][] = [];
  let open: Reading[] = [];
  for (const reading of readings) {
    if (open.length > 0 && open.length < most && open[0]!.slot === reading.slot) open.push(reading);
    else {
      open = [reading];
      chunks.push(open);
    }
  }
  return chunks;
}

/** Leases for keys whether they are there or not: one round trip a server. */
export async function leaseAll(
  keys: readonly string[],
  call: LeaseCall,
  deadline: Deadline,
  { shards, calls, layout, newId }: ReadPorts,
): Promise<(string | null)[]> {
  const wanted = keys.map((key) => ({ key, slot: layout.slotOf(key), token: newId() }));
  const sectors = [...new Set(wanted.map(({ slot }) => layout.sectorOf(slot)))];
  const times = leaseTimes(call.leaseMs ?? DEFAULT_LEASE_MS);
  const requests = [
    ...sectors.map((sector) => calls.survey(sector, [])),
    ...wanted.map(({ slot, key, token }) => calls.lease(slot, [{ key, token }], times)),
  ];
  const outcomes = await shards.execute(requests, deadline, { idempotent: true });
  const tables = outcomes.slice(0, sectors.length);
  const replies = outcomes.slice(sectors.length);
  const failed = replies.every((reply) => reply instanceof Error) ? replies : tables;
  if (failed.every((outcome) => outcome instanceof Error)) throw storeError(failed[0], call.signal);
  return wanted.map(({ slot, token }, i) => {
    const reply = replies[i]!;
    const table = tables[sectors.indexOf(layout.sectorOf(slot))]!;
    const said = Array.isArray(reply) ? reply[0] : null;
    const kind = Array.isArray(said) ? said[0] : null;
    if (kind === 3) return null;
    return kind === 2 && !(table instanceof Error) ? formatLease({ token, ...surveyOf(table, []) }) : UNFILLABLE;
  });
}

function leaseTimes(leaseMs: number): { readonly lifeMs: number; readonly waitMs: number } {
  const waitMs = Math.max(1, Math.ceil(leaseMs));
  return { waitMs, lifeMs: Math.max(TOKEN_LIFE_MS, TOKEN_LEASES * waitMs) };
}
