/**
 * How a cluster begins, once.
 *
 * A member that remembers its cluster (data directory) is in it from its first moment. Every other one comes as a stranger to itself: it may be new, or it may have voted a second ago
 * and been killed. It cannot know, and a voter that forgot what it promised must not vote as if it had promised nothing. So the others tell it:
 *
 *   1. It dials everybody, belonging to none ('').
 *   2. The first member of the list, when it has open links to *all* voters and none of them belongs to a cluster, invents an identity and sends `form` to everybody: the identity, and which
 *      life of each member it has seen. It is in the cluster itself from then on.
 *   3. Who receives `form` is in the cluster. If the life that it is in stands there, it has promised nothing in this cluster: it votes at once. Else an earlier life of it may have: it has
 *      forgotten, and recovers as the protocol says (T, then the tables of the others).
 *   4. Whoever is in it sends `form` to every peer, over each link that opens.
 *
 * So a cluster forms only with all voters there, and never beside one that somebody remembers. Were all of them to lose their memory at once, they form a new one, empty, with
 * another identity; who still remembers the old one is parted from it (`handshake.ts`) and says so.
 *
 * Pure but for the identity, which is drawn by chance.
 */
import type { NodeId } from '../../cluster/member.ts';
import type { FirstLife, Form } from '../../wire/hello.ts';
import type { ClusterSetup } from './setup.ts';

export interface Formed {
  readonly cluster: string;
  readonly lives: readonly FirstLife[];
  /** This member may have voted in a life that it remembers nothing of. */
  readonly hasForgotten: boolean;
}

export interface FormationPorts {
  /** Is our link to this peer open? */
  isOpen(peer: NodeId): boolean;
  send(to: NodeId, form: Form): void;
  /** 32 hexadecimal digits, never the same twice. */
  makeIdentity(): string;
  /** Called once, before anything is sent about it. */
  onFormed(formed: Formed): void;
}

/** Members that do not vote are waited for this long when the voters are there: so that the first owners are all alive. */
const PATIENCE_MS = 5000;

export class Formation {
  readonly #setup: ClusterSetup;
  readonly #incarnation: number;
  readonly #ports: FormationPorts;
  /** Of peers whose link is open: the life and the cluster that they said. */
  readonly #peers = new Map<NodeId, { readonly incarnation: number; readonly cluster: string }>();
  readonly #lives = new Map<NodeId, number>();
  #formed: Formed | null;
  #votersSinceMs = -1;

  /** @param formed what the member remembers; null: nothing */
  constructor(setup: ClusterSetup, incarnation: number, formed: Formed | null, ports: FormationPorts) {
    this.#setup = setup;
    this.#incarnation = incarnation;
    this.#formed = formed;
    this.#ports = ports;
  }

  get formed(): Formed | null {
    return this.#formed;
  }

  /** A peer has said which life it is in, on a link of either direction. */
  onMember(id: NodeId, incarnation: number): void {
    this.#lives.set(id, incarnation);
  }

  /** Our link to the peer is open, and this is what it said to belong to. */
  onOpen(id: NodeId, cluster: string): void {
    this.#peers.set(id, { incarnation: this.#lives.get(id) ?? 0, cluster });
    if (this.#formed !== null) this.#tell(id, this.#formed);
  }

  onForm(form: Form): void {
    if (this.#formed !== null) return;
    const { self } = this.#setup;
    const isFirst = form.lives.some(({ id, incarnation }) => id === self && incarnation === this.#incarnation);
    this.#become({ cluster: form.cluster, lives: form.lives, hasForgotten: !isFirst });
  }

  /** Is it time, and are we the one? */
  tick(nowMs: number): void {
    const { members, voters, self } = this.#setup;
    if (this.#formed !== null || members[0]!.id !== self) return;
    const isThere = (id: NodeId): boolean => {
      return id === self || (this.#ports.isOpen(id) && this.#peers.get(id)?.cluster === '');
    };
    // Somebody remembers a cluster: it will tell us.
    for (const [id, { cluster }] of this.#peers) if (cluster !== '' && this.#ports.isOpen(id)) return;
    if (!voters.every(isThere)) {
      this.#votersSinceMs = -1;
      return;
    }
    if (this.#votersSinceMs < 0) this.#votersSinceMs = nowMs;
    if (!members.every(({ id }) => isThere(id)) && nowMs - this.#votersSinceMs < PATIENCE_MS) return;
    const lives = members
      .filter(({ id }) => isThere(id))
      .map(({ id }) => ({ id, incarnation: id === self ? this.#incarnation : this.#peers.get(id)!.incarnation }));
    this.#become({ cluster: this.#ports.makeIdentity(), lives, hasForgotten: false });
  }

  #become(formed: Formed): void {
    this.#formed = formed;
    this.#ports.onFormed(formed);
    for (const { id } of this.#setup.members) if (this.#ports.isOpen(id)) this.#tell(id, formed);
  }

  #tell(id: NodeId, { cluster, lives }: Formed): void {
    this.#ports.send(id, { kind: 'form', cluster, lives });
  }
}
