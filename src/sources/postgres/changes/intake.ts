/**
 * From messages to batches of names: what of the stream is kept until it is invalidated. Pure.
 *
 *     messages --apply--> the batch that grows --take()--> the batch that is invalidated, one at a time
 *
 * Batches make themselves: while one is on its way to the store, the next one grows, so the busier the database the larger they are, as with group commit. A batch may
 * end in the middle of a transaction, which has been committed before its first message came; only its position waits for the end.
 *
 * Memory is bounded twice. A batch that {@link Intake.isFull} is the caller's sign to read no further. And a transaction that has changed more than `foldAbove` rows of one
 * table is not told row by row any more: its namespaces are invalidated, and since nobody can see less of a transaction than all of it, the rest of its
 * rows need no look at all.
 *
 * What cannot be read (a row of a relation that was never described, bytes that are no message) makes all namespaces doubtful. Nothing is skipped.
 */
import { messageOf } from '../../../base/errors.ts';
import type { Lsn } from './lsn.ts';
import { type Mapping, type Names, Plan } from './mapping.ts';
import { decode, type Message, type Relation, type RowChange } from './pgoutput.ts';

/** What is to be invalidated together. */
export interface Batch extends Names {
  /** Transactions that it has rows of, by the low 32 bits of their number: none may be invalidated for before it can be seen. */
  readonly xids: Set<number>;
  /** Oids of tables that are neither mapped nor known not to be: new partitions, perhaps. */
  readonly strangers: Set<number>;
  /** When the first transaction of it was committed, ms, by the database's clock; null = none has names. */
  firstCommitMs: number | null;
  /** Commits whose end lies in it and that have names, for the delay. */
  readonly commitsMs: number[];
  /** Everything up to here is in this batch or an earlier one; null = no transaction ends in it. */
  endLsn: Lsn | null;
}

export interface IntakeCounts {
  rows: number;
  transactions: number;
  unmappedRows: number;
  mappingFailures: number;
  unknownValues: number;
  folded: number;
  truncated: number;
  schemaChanges: number;
  unreadable: number;
}

export function noIntake(): IntakeCounts {
  return {
    rows: 0,
    transactions: 0,
    unmappedRows: 0,
    mappingFailures: 0,
    unknownValues: 0,
    folded: 0,
    truncated: 0,
    schemaChanges: 0,
    unreadable: 0,
  };
}

/** Something to tell people. */
export interface Doubt {
  readonly what: 'folded' | 'mapping' | 'gap';
  readonly namespaces: readonly string[];
  readonly reason: string;
  readonly error: unknown;
}

/** Who knows which table has which mapping; null = nobody mapped it; undefined = it is not known. */
export type MappingOf = (relation: Relation) => Mapping | null | undefined;

interface Known {
  readonly relation: Relation;
  readonly plan: Plan | null | undefined;
  /** Its columns in words: whether a table was changed. */
  readonly shape: string;
}

/** Names of one batch at which it is full: one or two calls of the store. */
const FULL_NAMES = 2_000;

export class Intake {
  readonly counts = noIntake();
  readonly #mappingOf: MappingOf;
  readonly #namespaces: readonly string[];
  readonly #foldAbove: number;
  readonly #tell: (doubt: Doubt) => void;
  readonly #relations = new Map<number, Known>();
  #batch = emptyBatch();
  /** The transaction whose messages are coming; null between two. */
  #transaction: { readonly xid: number; readonly commitMs: number; hasNames: boolean } | null = null;
  /** Of the transaction: rows by table. */
  readonly #rowsOf = new Map<Mapping, number>();

  /** @param namespaces all that may be invalidated at all */
  constructor(mappingOf: MappingOf, namespaces: readonly string[], foldAbove: number, tell: (doubt: Doubt) => void) {
    this.#mappingOf = mappingOf;
    this.#namespaces = namespaces;
    this.#foldAbove = foldAbove;
    this.#tell = tell;
  }

  /** True: what is there should be taken before more is read. */
  get isFull(): boolean {
    const { keys, tags, xids, commitsMs } = this.#batch;
    return keys.size + tags.size >= FULL_NAMES || xids.size + commitsMs.length >= FULL_NAMES;
  }

  /** Nothing is to be taken, not even a position. */
  get isEmpty(): boolean {
    return this.#batch.endLsn === null && !hasNames(this.#batch);
  }

  /** Whether the messages of a transaction have begun and not ended. */
  get isWithin(): boolean {
    return this.#transaction !== null;
  }

  get firstCommitMs(): number | null {
    return this.#batch.firstCommitMs;
  }

  /** What has come together; from here on the next batch grows. */
  take(): Batch {
    const batch = this.#batch;
    this.#batch = emptyBatch();
    return batch;
  }

  /** The server has nothing more up to here. Only between two transactions. */
  reached(lsn: Lsn): void {
    const { endLsn } = this.#batch;
    if (endLsn === null || lsn > endLsn) this.#batch.endLsn = lsn;
  }

  /** One message as it came. Never throws, except for a beginning or an end that cannot be read: then nobody knows where in the stream this is. */
  apply(bytes: Uint8Array): void {
    let message: Message;
    try {
      message = decode(bytes);
    } catch (error) {
      if (bytes[0] === 0x42 || bytes[0] === 0x43) throw error;
      this.counts.unreadable += 1;
      this.#doubt(this.#namespaces, `a message could not be read: ${messageOf(error)}`, error);
      return;
    }
    switch (message.kind) {
      case 'begin':
        this.#transaction = { xid: message.xid, commitMs: message.commitMs, hasNames: false };
        this.#rowsOf.clear();
        return;
      case 'commit':
        this.counts.transactions += 1;
        if (this.#transaction?.hasNames === true) this.#batch.commitsMs.push(message.commitMs);
        this.#transaction = null;
        this.#batch.endLsn = message.endLsn;
        return;
      case 'relation':
        this.#describe(message);
        return;
      case 'truncate':
        for (const oid of message.relations) this.#truncate(oid);
        return;
      case 'other':
        return;
      default:
        this.#row(message);
    }
  }

  /** What is known of tables has changed: whose mapping they have is asked anew. */
  learn(): void {
    for (const [oid, { relation, shape }] of this.#relations) {
      this.#relations.set(oid, { relation, plan: this.#planOf(relation), shape });
    }
  }

  #planOf(relation: Relation): Plan | null | undefined {
    const mapping = this.#mappingOf(relation);
    return mapping === null || mapping === undefined ? mapping : new Plan(mapping, relation);
  }

  #describe(relation: Relation): void {
    const shape = JSON.stringify([relation.schema, relation.table, relation.identity, relation.columns]);
    const before = this.#relations.get(relation.oid);
    if (before?.shape === shape && before.plan !== undefined) return;
    const plan = this.#planOf(relation);
    this.#relations.set(relation.oid, { relation, plan, shape });
    if (before === undefined || before.shape === shape) return;
    // A column may have been rewritten, and that is in no message.
    const namespaces = plan?.mapping.namespaces ?? before.plan?.mapping.namespaces;
    if (namespaces === undefined) return;
    this.counts.schemaChanges += 1;
    this.#doubt(namespaces, `table ${relation.schema}.${relation.table} was changed`, undefined);
  }

  #row(row: RowChange): void {
    const known = this.#relations.get(row.relation);
    if (known === undefined) {
      this.counts.unreadable += 1;
      this.#doubt(this.#namespaces, `a row of a table that was not described (${row.relation})`, undefined);
      return;
    }
    const { plan, relation } = known;
    if (plan === null) {
      this.counts.unmappedRows += 1;
      return;
    }
    if (plan === undefined) {
      this.counts.unmappedRows += 1;
      this.#batch.strangers.add(relation.oid);
      this.#touched();
      return;
    }
    const { mapping } = plan;
    this.counts.rows += 1;
    const rows = (this.#rowsOf.get(mapping) ?? 0) + 1;
    this.#rowsOf.set(mapping, rows);
    if (rows > this.#foldAbove) {
      if (rows === this.#foldAbove + 1) this.#fold(mapping);
      return;
    }
    this.#touched();
    const mapped = plan.map(row, this.#batch);
    if (mapped.kind === 'unknown') this.#unknown(mapping, relation, row, mapped.column);
    else if (mapped.kind === 'failed') this.#failed(mapping, mapped.error);
  }

  #unknown({ namespaces, table }: Mapping, relation: Relation, row: RowChange, column: string): void {
    this.counts.unknownValues += 1;
    const reason = `the change of a row of ${table} (${row.kind}, replica identity ${identityOf(relation)}) does not tell column "${column}", which its mapping reads; ALTER TABLE ${table} REPLICA IDENTITY FULL makes it tell`;
    this.#tell({ what: 'mapping', namespaces, reason, error: undefined });
  }

  #failed({ namespaces, table }: Mapping, error: unknown): void {
    this.counts.mappingFailures += 1;
    const reason = `the mapping of ${table} failed: ${messageOf(error)}`;
    this.#tell({ what: 'mapping', namespaces, reason, error });
  }

  #fold({ namespaces, table }: Mapping): void {
    this.counts.folded += 1;
    this.#touched();
    for (const namespace of namespaces) this.#batch.namespaces.add(namespace);
    const reason = `one transaction changed more than ${this.#foldAbove} rows of ${table}`;
    this.#tell({ what: 'folded', namespaces, reason, error: undefined });
  }

  #truncate(oid: number): void {
    const known = this.#relations.get(oid);
    if (known === undefined) {
      this.#doubt(this.#namespaces, `a table that was not described (${oid}) was truncated`, undefined);
      return;
    }
    if (known.plan === null) {
      this.counts.unmappedRows += 1;
      return;
    }
    this.#touched();
    if (known.plan === undefined) {
      this.#batch.strangers.add(oid);
      return;
    }
    this.counts.truncated += 1;
    for (const namespace of known.plan.mapping.namespaces) this.#batch.namespaces.add(namespace);
  }

  #doubt(namespaces: readonly string[], reason: string, error: unknown): void {
    this.#touched();
    for (const namespace of namespaces) this.#batch.namespaces.add(namespace);
    this.#tell({ what: 'gap', namespaces, reason, error });
  }

  /** The batch is about this transaction. */
  #touched(): void {
    const transaction = this.#transaction;
    if (transaction === null) return;
    transaction.hasNames = true;
    this.#batch.xids.add(transaction.xid);
    this.#batch.firstCommitMs ??= transaction.commitMs;
  }
}

export function hasNames({ keys, tags, namespaces, strangers }: Batch): boolean {
  return keys.size + tags.size + namespaces.size + strangers.size > 0;
}

function emptyBatch(): Batch {
  return {
    keys: new Set(),
    tags: new Set(),
    namespaces: new Set(),
    xids: new Set(),
    strangers: new Set(),
    commitsMs: [],
    firstCommitMs: null,
    endLsn: null,
  };
}

function identityOf({ identity }: Relation): string {
  return { d: 'DEFAULT', n: 'NOTHING', f: 'FULL', i: 'an index' }[identity] ?? identity;
}
