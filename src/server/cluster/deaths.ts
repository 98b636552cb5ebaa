/**
 * The crash fast path's eyes: when a peer's link to us closes, its port is dialled, and what comes of it is told to the judgement that says whether its process is gone (`cluster/refusals.ts`, where the rule stands).
 *
 * The dials are made for nothing else: what is accepted is closed at once, and the links dial by themselves (`peer-link.ts`). They wait for no tick, since it is about milliseconds. At most eight a closed link, one at a
 * time, each given up after a second; only "connection refused" counts as refused.
 */
import net from 'node:net';
import type { Member, NodeId } from '../../cluster/member.ts';
import { Refusals } from '../../cluster/refusals.ts';

const GIVEN_UP_MS = 1000;

type Listener = Pick<Member, 'id' | 'host' | 'linkPort'>;

interface Dialling {
  readonly socket: net.Socket | null;
  readonly timer: NodeJS.Timeout;
}

export class Deaths {
  readonly #refusals = new Refusals();
  readonly #onGone: (id: NodeId) => void;
  readonly #dialling = new Map<NodeId, Dialling>();

  /** @param onGone its process is gone */
  constructor(onGone: (id: NodeId) => void) {
    this.#onGone = onGone;
  }

  /** Its link to us has closed. It is dialled where it said over that link that it listens: what others say of its address may be of another life. */
  onClosed(peer: Listener): void {
    this.#stop(peer.id);
    this.#refusals.onClosed(peer.id);
    this.#dial(peer);
  }

  /** It has a link to us. */
  onLinked(id: NodeId): void {
    this.#refusals.onLinked(id);
    this.#stop(id);
  }

  close(): void {
    for (const id of [...this.#dialling.keys()]) this.#stop(id);
  }

  #dial(peer: Listener): void {
    const { id, host, linkPort } = peer;
    const socket = net.connect({ host, port: linkPort });
    let isOver = false;
    const end = (outcome: 'refused' | 'accepted' | 'nothing'): void => {
      if (isOver) return;
      isOver = true;
      socket.destroy();
      if (this.#dialling.get(id)?.socket === socket) this.#dialled(peer, outcome);
    };
    socket.on('connect', () => end('accepted'));
    socket.on('error', (error) => end(isRefusal(error) ? 'refused' : 'nothing'));
    this.#wait(id, GIVEN_UP_MS, socket, () => end('nothing'));
  }

  #dialled(peer: Listener, outcome: 'refused' | 'accepted' | 'nothing'): void {
    const { id } = peer;
    this.#stop(id);
    const next = this.#refusals.onDialled(id, outcome);
    if (next === 'gone') this.#onGone(id);
    else if (next !== null) this.#wait(id, next, null, () => this.#dial(peer));
  }

  #wait(id: NodeId, ms: number, socket: net.Socket | null, then: () => void): void {
    const before = this.#dialling.get(id);
    if (before !== undefined) clearTimeout(before.timer);
    const timer = setTimeout(then, ms);
    timer.unref();
    this.#dialling.set(id, { socket, timer });
  }

  #stop(id: NodeId): void {
    const dialling = this.#dialling.get(id);
    if (dialling === undefined) return;
    this.#dialling.delete(id);
    clearTimeout(dialling.timer);
    dialling.socket?.destroy();
  }
}

/** A name may stand for several addresses: then each of them has refused. */
function isRefusal(error: Error): boolean {
  if (error instanceof AggregateError) return error.errors.length > 0 && error.errors.every(isRefusal);
  return (error as NodeJS.ErrnoException).code === 'ECONNREFUSED';
}
