/**
 * What is asked of etcd, as plain values: transactions that compare, put and look, and what they answer. One kind of question for everything: `server/` says it to etcd's JSON gateway, the simulator to a pretended
 * etcd, and a test asks both the same.
 *
 *   PREFIX/cluster            which cluster this is: made once, by whoever came first; never written again
 *   PREFIX/record/00017       the record of range 17; written only by a transaction that compares its mod_revision
 *   PREFIX/changed            written with every record: who knows its revision knows whether to look for records
 *   PREFIX/roster             who the members are; not there before the first change
 *   PREFIX/life/ID            in which life the member is: what an earlier life asked, and etcd has not done yet, is not done any more
 *   PREFIX/heartbeat/ID       what the member said last; each writes its own
 *
 * etcd numbers every change by one *revision*, and remembers of each key the one that wrote it (mod_revision; 0: it is not there). A transaction is one change, and its answer says at which revision it saw what it saw.
 *
 * Keys and values are ASCII: ids, numbers and what JSON makes of names.
 */
import type { Ballot } from '../base/ballot.ts';
import { BreakwaterError } from '../base/errors.ts';
import type { NodeId } from './member.ts';
import type { Stance } from './messages.ts';
import { checkRecord, type OwnershipRecord } from './record.ts';
import { checkRoster, type Roster } from './roster.ts';

/** The only voter of a cluster that etcd coordinates. No member has this id: theirs are hashes. */
export const ETCD: NodeId = 'e7cd'.repeat(10);

export interface EtcdEntry {
  readonly key: string;
  readonly value: string;
  readonly modRevision: number;
}

export type EtcdCompare =
  | {
      readonly key: string;
      /** Of its mod_revision; a key that is not there has 0. */
      readonly mod: 'equal' | 'less' | 'greater';
      readonly revision: number;
    }
  /** Of its value, as text; nothing holds of a key that is not there. */
  | { readonly key: string; readonly value: string; readonly is: 'equal' | 'less' };

export type EtcdOp =
  | { readonly kind: 'put'; readonly key: string; readonly value: string }
  /** From `key` to before `end` (null: that key alone), what was written at revision `since` or later. */
  | { readonly kind: 'range'; readonly key: string; readonly end: string | null; readonly since: number }
  | { readonly kind: 'txn'; readonly txn: EtcdTxn };

/** All or nothing, and at one moment: `success` if all of `compare` holds, else `failure`. */
export interface EtcdTxn {
  readonly compare: readonly EtcdCompare[];
  readonly success: readonly EtcdOp[];
  readonly failure: readonly EtcdOp[];
}

export type EtcdResult =
  | { readonly kind: 'put' }
  | { readonly kind: 'range'; readonly entries: readonly EtcdEntry[] }
  | { readonly kind: 'txn'; readonly isSuccess: boolean; readonly results: readonly EtcdResult[] };

export interface EtcdAnswer {
  /** etcd's name of itself; another one after it was restored from a backup. */
  readonly clusterId: string;
  /** As of which the answer is; what it changed has this one. */
  readonly revision: number;
  readonly isSuccess: boolean;
  /** Of the operations of the branch that was taken, in their order. */
  readonly results: readonly EtcdResult[];
}

/** What a member says with each heartbeat. */
export interface Beat {
  readonly incarnation: number;
  readonly stance: Stance;
}

/** What `PREFIX/cluster` says. */
export interface ClusterMark {
  /** Drawn by chance by whoever made it. */
  readonly cluster: string;
  /** Of everything that must be the same everywhere. */
  readonly setup: string;
}

const DIGITS = 5;
const STANCES: readonly Stance[] = ['here', 'leaving', 'drained'];

export class EtcdKeys {
  readonly cluster: string;
  readonly changed: string;
  readonly roster: string;
  readonly #prefix: string;

  /** @param prefix without a slash at its end */
  constructor(prefix: string) {
    this.#prefix = prefix;
    this.cluster = `${prefix}/cluster`;
    this.changed = `${prefix}/changed`;
    this.roster = `${prefix}/roster`;
  }

  record(range: number): string {
    return `${this.#prefix}/record/${String(range).padStart(DIGITS, '0')}`;
  }

  heartbeat(id: NodeId): string {
    return `${this.#prefix}/heartbeat/${id}`;
  }

  life(id: NodeId): string {
    return `${this.#prefix}/life/${id}`;
  }

  /** Every record that was written at `since` or later. '0' is what follows '/'. */
  records(since: number): EtcdOp {
    return { kind: 'range', key: `${this.#prefix}/record/`, end: `${this.#prefix}/record0`, since };
  }

  heartbeats(since: number): EtcdOp {
    return { kind: 'range', key: `${this.#prefix}/heartbeat/`, end: `${this.#prefix}/heartbeat0`, since };
  }
}

/** What it was, in one look. */
export function lookAt(key: string): EtcdOp {
  return { kind: 'range', key, end: null, since: 0 };
}

export function writeRecord({ ballot, owner, inSync }: OwnershipRecord): string {
  return JSON.stringify({ epoch: ballot.epoch, node: ballot.node, owner, inSync });
}

/** @throws BreakwaterError `ETCD_FOREIGN`: nobody of us wrote that */
export function readRecord({ key, value }: EtcdEntry, rangeCount: number): OwnershipRecord {
  return reading(key, () => {
    const found = JSON.parse(value) as { epoch: number; node: string; owner: string | null; inSync: string[] };
    const ballot: Ballot = { epoch: found.epoch, node: found.node };
    const record = { range: Number(key.slice(-DIGITS)), ballot, owner: found.owner, inSync: found.inSync };
    checkRecord(record, rangeCount);
    return record;
  });
}

export function writeRoster(roster: Roster): string {
  return JSON.stringify(roster);
}

/** @throws BreakwaterError `ETCD_FOREIGN` */
export function readRoster({ key, value }: EtcdEntry, rangeCount: number): Roster {
  return reading(key, () => {
    const roster = JSON.parse(value) as Roster;
    checkRoster(roster);
    if (roster.homes.length !== rangeCount) throw new Error(`it has homes for ${roster.homes.length} ranges`);
    return roster;
  });
}

export function writeBeat({ incarnation, stance }: Beat): string {
  return JSON.stringify({ incarnation, stance });
}

/** @throws BreakwaterError `ETCD_FOREIGN` */
export function readBeat({ key, value }: EtcdEntry): Beat {
  return reading(key, () => {
    const { incarnation, stance } = JSON.parse(value) as Beat;
    if (!Number.isSafeInteger(incarnation) || !STANCES.includes(stance)) throw new Error('it is no heartbeat');
    return { incarnation, stance };
  });
}

/** Later lives are greater as text, too. */
export function writeLife(life: number): string {
  return String(life).padStart(16, '0');
}

export function writeMark({ cluster, setup }: ClusterMark): string {
  return JSON.stringify({ format: 1, cluster, setup });
}

/** @throws BreakwaterError `ETCD_FOREIGN` */
export function readMark({ key, value }: EtcdEntry): ClusterMark {
  return reading(key, () => {
    const { format, cluster, setup } = JSON.parse(value) as ClusterMark & { format: number };
    if (format !== 1 || !/^[0-9a-f]{32}$/.test(cluster) || typeof setup !== 'string') throw new Error('it is no mark');
    return { cluster, setup };
  });
}

function reading<T>(key: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new BreakwaterError('ETCD_FOREIGN', `cannot take what etcd has at ${key}: ${why}; no member wrote that`);
  }
}
