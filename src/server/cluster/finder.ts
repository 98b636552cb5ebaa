/**
 * A member of a running cluster goes on looking where it was told to look, for two reasons. Members come back elsewhere (a pod has another address, and so may all of them at once): whoever answers at an address that was found says which
 * member it is, and is dialled there. And somebody may have formed another cluster beside this one: that is said, in the log and in the status, for as long as it is seen.
 *
 * It decides nothing: who is a member says the roster, and every link begins with its proofs.
 */
import type { Log } from '../../base/log.ts';
import type { Member } from '../../cluster/member.ts';
import type { Discovery } from './discovery.ts';
import { converse } from './joining.ts';
import type { Links } from './links.ts';
import { type Address, shown } from './sources.ts';

export interface FinderOptions {
  readonly discovery: Discovery;
  readonly links: Pick<Links, 'isOpen' | 'move'>;
  /** Ourselves, as hellos say it. */
  readonly self: Member;
  readonly secret: string;
  /** Who the members are and where they were last. */
  readonly members: () => Iterable<Member>;
  /** Identity of our cluster; '' while it is being formed. */
  readonly cluster: () => string;
  readonly log: Log;
}

export interface FinderStatus {
  /** Addresses that the sources name now. */
  readonly found: readonly string[];
  /** One sentence each: sources that fail, members of other clusters. */
  readonly problems: readonly string[];
}

const URGENT_MS = 2000;
const CALM_MS = 30_000;
const MOST_AT_ONCE = 16;
const ASK_MS = 5000;

export class Finder {
  readonly #options: FinderOptions;
  readonly #askAtMs = new Map<string, number>();
  /** By address: another cluster's identity. */
  readonly #strangers = new Map<string, string>();
  #underWay = 0;
  #isStopped = false;

  constructor(options: FinderOptions) {
    this.#options = options;
  }

  get status(): FinderStatus {
    const { discovery } = this.#options;
    const strangers = [...this.#strangers].map(
      ([name, cluster]) => `${name} is of another cluster (${cluster.slice(0, 8)}): two were formed`,
    );
    return { found: discovery.found.map(shown), problems: [...discovery.problems, ...strangers] };
  }

  tick(nowMs: number): void {
    const { discovery, links, self, members } = this.#options;
    const linked = new Set<string>([shown(self)]);
    let isMissing = false;
    for (const { id, host, linkPort } of members()) {
      if (id === self.id) continue;
      if (links.isOpen(id)) linked.add(shown({ host, linkPort }));
      else isMissing = true;
    }
    discovery.isUrgent = isMissing;
    discovery.tick(nowMs);
    const names = new Set(discovery.found.map(shown));
    for (const known of [this.#askAtMs, this.#strangers]) {
      for (const name of known.keys()) if (!names.has(name)) known.delete(name);
    }
    for (const address of discovery.found) {
      const name = shown(address);
      if (linked.has(name) || nowMs < (this.#askAtMs.get(name) ?? 0) || this.#underWay >= MOST_AT_ONCE) continue;
      this.#askAtMs.set(name, nowMs + (isMissing ? URGENT_MS : CALM_MS));
      this.#underWay += 1;
      void this.#ask(address).finally(() => {
        this.#underWay -= 1;
      });
    }
  }

  stop(): void {
    this.#isStopped = true;
    this.#options.discovery.stop();
  }

  async #ask(address: Address): Promise<void> {
    const { links, self, secret, members, cluster, log } = this.#options;
    const name = shown(address);
    try {
      const answer = await converse(address, { secret, member: self }, () => null, ASK_MS);
      if (answer.kind !== 'hello' || this.#isStopped) return;
      const { member } = answer;
      const isOther = answer.cluster !== '' && cluster() !== '' && answer.cluster !== cluster();
      if (!isOther) this.#strangers.delete(name);
      else if (this.#strangers.get(name) !== answer.cluster) {
        this.#strangers.set(name, answer.cluster);
        log.error('there is another cluster where this one looks for its members: two were formed', {
          address: name,
          cluster: answer.cluster,
          ours: cluster(),
        });
      }
      const isMember = !isOther && [...members()].some(({ id }) => id === member.id);
      if (isMember && member.id !== self.id && !links.isOpen(member.id)) links.move(member.id, address);
    } catch {
      // Nobody is there, or it is not for us: it is asked again.
    }
  }
}
