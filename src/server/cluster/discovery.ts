/**
 * The addresses behind `--join`, looked up again and again: names change their addresses, files are edited, pods come back elsewhere.
 *
 * Each source is looked up by itself. One that fails is tried again after half a second, doubled up to 30 s, and what it said last stays in use: a name server that is away makes nobody disappear. Each problem is
 * said once in the log when it begins and when it ends, and stands in `problems` as long as it lasts. What is found is sorted and without repetition, so that the same answers in another order are no news.
 *
 * Time is the caller's: `tick` starts what is due. No timers but the deadline of a question.
 */
import { messageOf } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import type { Resolver } from './resolver.ts';
import { type Address, addressesIn, nameOf, type Source, shown } from './sources.ts';

export interface DiscoveryOptions {
  readonly sources: readonly Source[];
  /** For names without a port. */
  readonly linkPort: number;
  readonly resolver: Resolver;
  readonly log: Log;
}

interface Lookup {
  readonly source: Source;
  /** What it said last; null: nothing yet. */
  found: readonly Address[] | null;
  problem: string;
  failures: number;
  dueMs: number;
  isUnderWay: boolean;
}

/** Between two lookups that went well: while somebody is missing, and when nobody is. */
const URGENT_MS = 1000;
const CALM_MS = 10_000;
const FIRST_RETRY_MS = 500;
const MOST_RETRY_MS = 30_000;
/** A resolver that answers nothing has failed. */
const DEADLINE_MS = 15_000;
/** Of each source; a name with more is not that of a cluster. */
const MOST_ADDRESSES = 1024;

export class Discovery {
  /** Is somebody missing? Then it is looked more often. */
  isUrgent = true;
  readonly #options: DiscoveryOptions;
  readonly #lookups: readonly Lookup[];
  #found: readonly Address[] = [];
  #isStopped = false;

  constructor(options: DiscoveryOptions) {
    this.#options = options;
    this.#lookups = options.sources.map((source) => ({
      source,
      found: null,
      problem: '',
      failures: 0,
      dueMs: Number.NEGATIVE_INFINITY,
      isUnderWay: false,
    }));
  }

  /** All that is known, by host and port. */
  get found(): readonly Address[] {
    return this.#found;
  }

  /** One sentence for each source that fails. */
  get problems(): readonly string[] {
    return this.#lookups.flatMap(({ source, problem }) => (problem === '' ? [] : [`${nameOf(source)}: ${problem}`]));
  }

  /** Has every source said something, and does none of them fail now? */
  get isWhole(): boolean {
    return this.#lookups.every(({ found, problem }) => found !== null && problem === '');
  }

  tick(nowMs: number): void {
    for (const lookup of this.#lookups) {
      if (nowMs < lookup.dueMs || lookup.isUnderWay || this.#isStopped) continue;
      lookup.isUnderWay = true;
      void this.#look(lookup, nowMs);
    }
  }

  stop(): void {
    this.#isStopped = true;
  }

  async #look(lookup: Lookup, nowMs: number): Promise<void> {
    const { log } = this.#options;
    try {
      const found = await inTime(this.#ask(lookup.source));
      if (found.length === 0) throw new Error('it names no address');
      if (found.length > MOST_ADDRESSES) throw new Error(`it names ${found.length} addresses`);
      if (lookup.problem !== '') log.info('members are looked up again', { source: nameOf(lookup.source) });
      lookup.found = found;
      lookup.failures = 0;
      lookup.problem = '';
      // From the moment at which it was asked: time goes on by ticks.
      lookup.dueMs = nowMs + (this.isUrgent || lookup.source.kind === 'file' ? URGENT_MS : CALM_MS);
    } catch (error) {
      const problem = messageOf(error);
      const retryMs = Math.min(MOST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(lookup.failures, 10));
      if (problem !== lookup.problem && !this.#isStopped) {
        log.warn('cannot look members up', { source: nameOf(lookup.source), why: problem, againInMs: retryMs });
      }
      lookup.failures += 1;
      lookup.problem = problem;
      lookup.dueMs = nowMs + retryMs;
    }
    lookup.isUnderWay = false;
    this.#gather();
  }

  async #ask(source: Source): Promise<readonly Address[]> {
    const { resolver, linkPort } = this.#options;
    switch (source.kind) {
      case 'address':
        return [source.address];
      case 'dns': {
        const hosts = await resolver.addresses(source.name);
        return hosts.map((host) => ({ host, linkPort: source.linkPort ?? linkPort }));
      }
      case 'srv':
        return (await resolver.services(source.name)).map(({ host, port }) => ({ host, linkPort: port }));
      case 'file':
        return addressesIn(await resolver.file(source.path), linkPort);
    }
  }

  #gather(): void {
    const byName = new Map<string, Address>();
    for (const { found } of this.#lookups) for (const address of found ?? []) byName.set(shown(address), address);
    const names = [...byName.keys()].sort();
    if (names.join() === this.#found.map(shown).join()) return;
    this.#found = names.map((name) => byName.get(name)!);
    if (!this.#isStopped) this.#options.log.info('addresses of members', { found: names.join(' ') });
  }
}

function inTime<T>(promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('it was not answered in time')), DEADLINE_MS);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
