/**
 * etcd as far as the cluster asks anything of it: keys with the revision that wrote each, and transactions, done one after the other and each at one moment. `test/server/cluster/etcd-server.test.ts` asks it and Debian's etcd the same questions,
 * and compares the answers.
 *
 * As there: one transaction is one revision, however many keys it writes; which branches of transactions within a transaction are taken is decided before anything is written; a look sees what was written before
 * it in its own transaction.
 */
import type { EtcdAnswer, EtcdCompare, EtcdEntry, EtcdOp, EtcdResult, EtcdTxn } from '../../src/cluster/etcd.ts';

interface Stored {
  readonly value: string;
  readonly mod: number;
}

/** The branch that is taken, and those within it. */
interface Path {
  readonly isSuccess: boolean;
  readonly within: readonly (Path | null)[];
}

/** Of a transaction; those within it share what is left. */
const MOST_OPS = 128;

/** The keys that it may write, whatever holds. */
function check({ compare, success, failure }: EtcdTxn, most: number): Set<string> {
  const ops = Math.max(compare.length, success.length, failure.length);
  if (ops > most) throw new Error('etcdserver: too many operations in txn request');
  const written = new Set<string>();
  for (const branch of [success, failure]) {
    const here = new Set<string>();
    for (const op of branch) {
      const keys = op.kind === 'put' ? [op.key] : op.kind === 'txn' ? check(op.txn, most - ops) : [];
      for (const key of keys) {
        if (here.has(key)) throw new Error('etcdserver: duplicate key given in txn request');
        here.add(key);
      }
    }
    for (const key of here) written.add(key);
  }
  return written;
}

export class FakeEtcd {
  clusterId: string;
  revision = 1;
  onPut: (key: string, value: string) => void = () => {};
  readonly #entries = new Map<string, Stored>();

  constructor(clusterId = '1') {
    this.clusterId = clusterId;
  }

  /** @throws Error for what etcd refuses: a key that could be written twice, more operations than it allows */
  run(txn: EtcdTxn): EtcdAnswer {
    check(txn, MOST_OPS);
    const path = this.#pathOf(txn);
    const revision = this.revision + 1;
    let writes = 0;
    const doOne = (op: EtcdOp, path: Path | null): EtcdResult => {
      switch (op.kind) {
        case 'put':
          writes += 1;
          this.#entries.set(op.key, { value: op.value, mod: revision });
          this.onPut(op.key, op.value);
          return { kind: 'put' };
        case 'range':
          return { kind: 'range', entries: this.range(op.key, op.end, op.since) };
        case 'txn': {
          const { isSuccess, within } = path!;
          return { kind: 'txn', isSuccess, results: doAll(isSuccess ? op.txn.success : op.txn.failure, within) };
        }
      }
    };
    const doAll = (ops: readonly EtcdOp[], within: readonly (Path | null)[]): EtcdResult[] =>
      ops.map((op, index) => doOne(op, within[index]!));
    const results = doAll(path.isSuccess ? txn.success : txn.failure, path.within);
    if (writes > 0) this.revision = revision;
    return { clusterId: this.clusterId, revision: this.revision, isSuccess: path.isSuccess, results };
  }

  range(key: string, end: string | null, since: number): EtcdEntry[] {
    const found: EtcdEntry[] = [];
    for (const [name, { value, mod }] of this.#entries) {
      const isIn = end === null ? name === key : name >= key && name < end;
      if (isIn && mod >= since) found.push({ key: name, value, modRevision: mod });
    }
    return found.sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  delete(key: string): void {
    if (this.#entries.delete(key)) this.revision += 1;
  }

  /** Everything in it, to be restored: as a backup. */
  snapshot(): FakeEtcd {
    const copy = new FakeEtcd(this.clusterId);
    copy.revision = this.revision;
    for (const [key, stored] of this.#entries) copy.#entries.set(key, stored);
    return copy;
  }

  #pathOf({ compare, success, failure }: EtcdTxn): Path {
    const isSuccess = compare.every((each) => this.#holds(each));
    const within = (isSuccess ? success : failure).map((op) => (op.kind === 'txn' ? this.#pathOf(op.txn) : null));
    return { isSuccess, within };
  }

  #holds(compare: EtcdCompare): boolean {
    const stored = this.#entries.get(compare.key);
    if ('value' in compare) {
      if (stored === undefined) return false;
      return compare.is === 'equal' ? stored.value === compare.value : stored.value < compare.value;
    }
    const mod = stored?.mod ?? 0;
    switch (compare.mod) {
      case 'equal':
        return mod === compare.revision;
      case 'less':
        return mod < compare.revision;
      case 'greater':
        return mod > compare.revision;
    }
  }
}
