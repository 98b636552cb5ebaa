/**
 * How members that know nothing but where to look agree upon the list that a cluster is formed with.
 *
 * With a list in everybody's hands there is nothing to agree upon. Found by DNS or in a file, each member may have found others, at another moment. Two lists would be two clusters. So:
 *
 *   1. Everybody looks, and asks each address that it found who is there. Who answers is in a cluster (then it is asked to let us in), or gathers as we do, or is in doubt: it does not answer, or not as a member does. A connection
 *      that is refused is nobody.
 *   2. Nobody forms anything while an address is in doubt, a source fails, or fewer than `--expect` members gather: behind a doubt there may be a cluster that we do not see.
 *   3. The one with the least id *convenes*: it tells all the list. Each agrees if it has itself found exactly these, in no doubt, was started with the same settings, and has not agreed to another list within `PLEDGE_MS`.
 *   4. When *all* have agreed, the list stands, and the convener goes on as if it had been started with it (`formation.ts`). The others ask it to let them in, as anybody, and are told the list.
 *
 * So two lists have no member in common, and two clusters need a discovery that shows two groups, each of them whole, to two sets of members who cannot see each other. Members that run go on looking, and say so when they
 * find a member of another cluster (`finder.ts`).
 *
 * Pure: time and what was heard are arguments.
 */
import type { Member, NodeId } from '../../cluster/member.ts';
import type { ListedMember } from '../../wire/hello.ts';
import { type Address, shown } from './sources.ts';

/** What was heard from an address. */
export type Answer =
  | { readonly kind: 'gathers'; readonly member: Member }
  /** Nobody listens there. */
  | { readonly kind: 'nobody' }
  | { readonly kind: 'doubt'; readonly why: string };

export interface Convocation {
  /** Fingerprint of it all. */
  readonly setup: string;
  readonly members: readonly NodeId[];
}

export type Gathered =
  | { readonly kind: 'wait'; readonly why: string }
  | { readonly kind: 'convene'; readonly members: readonly Member[] };

export interface GatheringOptions {
  readonly self: Member;
  /** Fingerprint of the list of these, with what we were started with. */
  readonly setupOf: (members: readonly Member[]) => string;
  /** Members that are to be there; null: it forms no cluster, and waits to be let into one. */
  readonly expect: number | null;
}

/** An answer counts for so long. */
export const FRESH_MS = 4000;
/** Who has agreed to a list agrees to no other for so long; a convener hears all answers, or gives up, within a third of it. */
export const PLEDGE_MS = 15_000;

export class Gathering {
  readonly #options: GatheringOptions;
  #found: readonly Address[] = [];
  #isWhole = false;
  #problems: readonly string[] = [];
  readonly #answers = new Map<string, { readonly answer: Answer; readonly atMs: number }>();
  #pledge: { readonly setup: string; readonly untilMs: number } | null = null;

  constructor(options: GatheringOptions) {
    this.#options = options;
  }

  /** @param isWhole every source was asked with success */
  onFound(found: readonly Address[], isWhole: boolean, problems: readonly string[]): void {
    this.#found = found;
    this.#isWhole = isWhole;
    this.#problems = problems;
    const names = new Set(found.map(shown));
    for (const name of this.#answers.keys()) if (!names.has(name)) this.#answers.delete(name);
  }

  onAnswer(address: Address, answer: Answer, nowMs: number): void {
    this.#answers.set(shown(address), { answer, atMs: nowMs });
  }

  /** What is to be done now, or what is waited for. */
  plan(nowMs: number): Gathered {
    const view = this.#view(nowMs);
    if (typeof view === 'string') return { kind: 'wait', why: view };
    const [first] = [...view.keys()].sort();
    if (first !== this.#options.self.id) {
      const { host, linkPort } = view.get(first!)!;
      return {
        kind: 'wait',
        why: `${view.size} members are there; the cluster is formed by ${shown({ host, linkPort })}`,
      };
    }
    return { kind: 'convene', members: [...view.values()] };
  }

  /** Somebody (or we ourselves) would form a cluster of these. null: agreed; else why not. */
  onConvened({ setup, members }: Convocation, nowMs: number): string | null {
    if (this.#pledge !== null && this.#pledge.setup !== setup && nowMs < this.#pledge.untilMs) {
      return 'it has agreed to another list a moment ago';
    }
    const view = this.#view(nowMs);
    if (typeof view === 'string') return view;
    if (members.length !== view.size || !members.every((id) => view.has(id))) {
      return `it has found others: ${[...view.values()].map(shown).join(' ')}`;
    }
    if (setup !== this.#options.setupOf([...view.values()])) {
      return 'it was started with another cluster name, number of voters, ranges or replicas, takeover time or topology';
    }
    this.#pledge = { setup, untilMs: nowMs + PLEDGE_MS };
    return null;
  }

  /** Who is there, ourselves included, if nothing is in doubt; else what is waited for. */
  #view(nowMs: number): Map<NodeId, Member> | string {
    const { self, expect } = this.#options;
    if (!this.#isWhole) return this.#problems[0] ?? 'members are being looked up';
    const there = new Map<NodeId, Member>([[self.id, self]]);
    for (const address of this.#found) {
      const heard = this.#answers.get(shown(address));
      if (heard === undefined || nowMs - heard.atMs > FRESH_MS) return `${shown(address)} is being asked`;
      if (heard.answer.kind === 'doubt') return `${shown(address)}: ${heard.answer.why}`;
      if (heard.answer.kind === 'gathers') there.set(heard.answer.member.id, heard.answer.member);
    }
    if (expect === null) {
      return `none of ${this.#found.map(shown).join(' ')} is in a cluster, and without --expect none is formed`;
    }
    return there.size < expect ? `${there.size} of ${expect} members are there` : there;
  }
}

/**
 * The order in which a list is written: the first of it vote, so zones take turns, and no zone has a majority of them where there are three or more. Within a zone by name, numbers as numbers: `cache-2` before `cache-10`.
 */
export function listOf(members: readonly Member[]): readonly (ListedMember & { readonly id: NodeId })[] {
  const byName = [...members].sort(
    (a, b) => a.host.localeCompare(b.host, 'en', { numeric: true }) || a.linkPort - b.linkPort,
  );
  const zones = new Map<string, Member[]>();
  for (const member of byName) zones.set(member.zone, [...(zones.get(member.zone) ?? []), member]);
  const listed: Member[] = [];
  for (let row = 0; listed.length < members.length; row += 1) {
    for (const each of zones.values()) if (each[row] !== undefined) listed.push(each[row]!);
  }
  return listed.map(({ id, host, linkPort, zone, machine, weight }) => ({
    id,
    host,
    linkPort,
    zone,
    ...(machine === '' ? {} : { machine }),
    ...(weight === 1 ? {} : { weight }),
  }));
}
