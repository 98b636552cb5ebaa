/**
 * What the cache knows of the stream, kept in the store itself: up to which position of which database it has been invalidated, and for which tables as they were. Pure.
 *
 * Why in the store. A slot remembers how far it was read and not by whom, and has no birth date: one that was dropped and made again looks like one that is all caught up.
 * The store knows what was told to *it*: written there before the database hears of it, the remembered position is never behind the slot's. So
 *
 *     slot confirmed <= remembered   nothing is missing: what comes again is invalidated again
 *     slot confirmed >  remembered   somebody else moved the slot, or it is another one: changes were lost
 *     nothing remembered             the store is new, was emptied, or has evicted it: then who knows
 *     another system or timeline     another database, a restored one, a promoted replica: what was committed may be undone
 *     a table is not as remembered   it was changed, truncated or exchanged while nobody looked, or its mapping says something else now
 *
 * and each of them but the first invalidates namespaces. A file or table of our own would know the stream as well and the store not at all.
 */
import { formatLsn, type Lsn, parseLsn } from './lsn.ts';

export interface Memory {
  /** As `IDENTIFY_SYSTEM` says. */
  readonly system: string;
  readonly timeline: number;
  readonly lsn: Lsn;
  /** By table: its definition and mapping, as one word. A table that is not there, or is `""`, is in doubt. */
  readonly tables: Readonly<Record<string, string>>;
}

export function writeMemory({ system, timeline, lsn, tables }: Memory): string {
  return JSON.stringify({ v: 1, system, timeline, lsn: formatLsn(lsn), tables });
}

/** Null for whatever is not one. */
export function readMemory(text: string | null): Memory | null {
  if (text === null) return null;
  try {
    const { v, system, timeline, lsn, tables } = JSON.parse(text) as Record<string, unknown>;
    if (v !== 1 || typeof system !== 'string' || typeof timeline !== 'number') return null;
    if (typeof tables !== 'object' || tables === null) return null;
    if (!Object.values(tables).every((one) => typeof one === 'string')) return null;
    return { system, timeline, lsn: parseLsn(lsn), tables: tables as Record<string, string> };
  } catch {
    return null;
  }
}

/** What is true now. */
export interface Present extends Omit<Memory, 'lsn'> {
  /** The slot's confirmed position; null = it was made just now. */
  readonly confirmed: Lsn | null;
}

/** Why which tables are in doubt; null = none is. */
export function doubts(
  memory: Memory | null,
  now: Present,
): { readonly tables: string[]; readonly reason: string } | null {
  const all = Object.keys(now.tables);
  const whole = reasonForAll(memory, now);
  if (whole !== null) return { tables: all, reason: whole };
  const changed = all.filter((table) => !isCovered(memory, table, now.tables[table]!));
  if (changed.length === 0) return null;
  return { tables: changed, reason: `not as they were when they were last read: ${changed.join(', ')}` };
}

function reasonForAll(memory: Memory | null, now: Present): string | null {
  if (now.confirmed === null) return 'the slot was made just now: what changed before it is not known';
  if (memory === null) return 'the store does not remember how far it has been invalidated';
  if (memory.system !== now.system) return `another database system: ${now.system}, it was ${memory.system}`;
  if (memory.timeline !== now.timeline) {
    return `another timeline: ${now.timeline}, it was ${memory.timeline} (a replica was promoted, or a backup restored)`;
  }
  if (now.confirmed > memory.lsn) {
    return `the slot is at ${formatLsn(now.confirmed)}, and what the store knows ends at ${formatLsn(memory.lsn)}`;
  }
  return null;
}

function isCovered(memory: Memory | null, table: string, definition: string): boolean {
  return (
    definition !== '' && memory !== null && Object.hasOwn(memory.tables, table) && memory.tables[table] === definition
  );
}

/** Does who wrote `memory` invalidate everything that `tables` stand for? */
export function covers(memory: Memory | null, tables: Readonly<Record<string, string>>): boolean {
  return Object.entries(tables).every(([table, definition]) => isCovered(memory, table, definition));
}
