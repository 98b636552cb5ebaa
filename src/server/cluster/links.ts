/**
 * All links of a member: one to each peer, one from each.
 *
 *   send      a message to a member, if there is a link to it; else it is lost and counted
 *   flush     everything said since the last time leaves, one write a peer
 *   tick      dials, pings, gives up: called by the driver
 */
import type { Member, NodeId } from '../../cluster/member.ts';
import type { Message } from '../../cluster/messages.ts';
import type { Form } from '../../wire/hello.ts';
import { DirectWriter } from '../direct-write.ts';
import { LinkAcceptor } from './acceptor.ts';
import { type LinkContext, type LinkLimits, limitsFor, makeInput } from './context.ts';
import { type LinkCounters, noLinkCounters } from './counters.ts';
import { Deaths } from './deaths.ts';
import type { KnownRoster } from './handshake.ts';
import { type LinkState, PeerLink } from './peer-link.ts';
import type { ClusterSetup, MemberAddress } from './setup.ts';

export interface LinksOptions {
  readonly setup: ClusterSetup;
  /** What we say of ourselves: our ports and life. */
  readonly member: Member;
  readonly random?: () => number;
  readonly limits?: Partial<LinkLimits>;
  /** A refusal or a broken link: for the log. */
  readonly onComplaint?: (peer: string, why: string) => void;
  readonly onMember: (member: Member) => void;
  readonly onForm: (from: NodeId, form: Form) => void;
  readonly onMessage: (from: NodeId, message: Message) => void;
  readonly onOpen: (peer: NodeId, cluster: string) => void;
  /** Default: nobody has anything that can wait. */
  readonly onFull?: LinkContext['onFull'];
  /** The members that are known at the start. Default: the founding ones. */
  readonly peers?: readonly MemberAddress[];
  /** Default: guests are told to come later. */
  readonly onGuest?: LinkContext['onGuest'];
  /** Default: it is in the complaints alone. */
  readonly onTurnedAway?: LinkContext['onTurnedAway'];
  /** Where the crash fast path is on: the process of a peer is gone; a peer has a link to us. */
  readonly onGone?: (peer: NodeId) => void;
  readonly onBack?: (peer: NodeId) => void;
}

export interface LinkStatus {
  readonly state: LinkState;
  readonly roundTripMs: number;
  readonly waitingBytes: number;
  /** It has a link to us. */
  readonly isLinkedToUs: boolean;
}

const NOBODY: KnownRoster = { epoch: 0, ids: new Set(), forgotten: new Set() };
/** Distinct complaints that are remembered, not to be repeated. */
const MAX_COMPLAINTS = 256;

export class Links {
  readonly counters: LinkCounters = noLinkCounters();
  readonly #context: LinkContext;
  readonly #acceptor: LinkAcceptor;
  readonly #peers = new Map<NodeId, PeerLink>();
  /** What the roster said last. */
  readonly #listed = new Map<NodeId, MemberAddress>();
  readonly #random: () => number;
  /** null: the crash fast path is off. */
  readonly #deaths: Deaths | null;
  #isClosing = false;
  readonly #said = new Map<string, Set<string>>();

  constructor(options: LinksOptions) {
    const { setup, member, onMember, onForm, onMessage, onOpen, random = Math.random } = options;
    const complained = options.onComplaint ?? (() => {});
    const { onGone = () => {}, onBack = () => {} } = options;
    this.#deaths = setup.crashFastPath ? new Deaths(onGone) : null;
    this.#context = {
      setup,
      counters: this.counters,
      cluster: '',
      member,
      roster: NOBODY,
      onGuest: options.onGuest ?? ((_member, answer) => answer({ kind: 'turned-away', reason: 'later', epoch: 0 })),
      onTurnedAway: options.onTurnedAway ?? (() => {}),
      onFull: options.onFull ?? (() => {}),
      limits: { ...limitsFor(setup), ...options.limits },
      input: makeInput(),
      writer: new DirectWriter(),
      complain: (peer, why) => {
        if (this.#isNew(peer, why)) complained(peer, why);
      },
      onMember,
      onForm,
      onLinked: (peer) => {
        if (this.#deaths === null) return;
        this.#deaths.onLinked(peer);
        onBack(peer);
      },
      onClosed: (peer) => {
        if (!this.#isClosing) this.#deaths?.onClosed(peer);
      },
      onMessage,
      onOpen: (peer, cluster) => {
        this.#said.delete(peer);
        onOpen(peer, cluster);
      },
    };
    this.#acceptor = new LinkAcceptor(this.#context);
    this.#random = random;
    this.know(options.peers ?? setup.members, [], 0);
  }

  /** These are the members now: who came is dialled, who went is parted from. */
  know(members: readonly MemberAddress[], forgotten: readonly NodeId[], epoch: number): void {
    const context = this.#context;
    const { self } = context.setup;
    const ids = new Set(members.map(({ id }) => id));
    context.roster = { epoch, ids, forgotten: new Set(forgotten) };
    for (const [id, link] of this.#peers) {
      if (ids.has(id)) continue;
      link.close();
      this.#peers.delete(id);
      this.#acceptor.part(id);
    }
    for (const address of members) {
      const { id } = address;
      const before = this.#listed.get(id);
      this.#listed.set(id, address);
      if (id === self) continue;
      if (!this.#peers.has(id)) this.#peers.set(id, new PeerLink(address, context, this.#random));
      else if (before?.host !== address.host || before.linkPort !== address.linkPort) this.move(id, address);
    }
    for (const id of this.#listed.keys()) if (!ids.has(id)) this.#listed.delete(id);
  }

  /** The peer is reached there now. A link that is open stays as long as it does. */
  move(peer: NodeId, { host, linkPort }: Pick<MemberAddress, 'host' | 'linkPort'>): void {
    this.#peers.get(peer)?.move(host, linkPort);
  }

  /** @throws BreakwaterError `LISTEN_FAILED` */
  listen(port: number, host: string): Promise<number> {
    return this.#acceptor.listen(port, host);
  }

  /** The cluster is formed, or was before: from now on peers of another one are refused. */
  set cluster(identity: string) {
    this.#context.cluster = identity;
  }

  send(to: NodeId, message: Message | Form): void {
    const link = this.#peers.get(to);
    if (link === undefined) this.counters.dropped += 1;
    else link.send(message);
  }

  flush(): void {
    for (const link of this.#peers.values()) link.flush();
  }

  tick(nowMs: number): void {
    this.#acceptor.tick(nowMs);
    for (const link of this.#peers.values()) link.tick(nowMs);
  }

  isOpen(peer: NodeId): boolean {
    return this.#peers.get(peer)?.isOpen === true;
  }

  statusOf(peer: NodeId): LinkStatus | null {
    const link = this.#peers.get(peer);
    if (link === undefined) return null;
    const { state, roundTripMs, waitingBytes } = link;
    return { state, roundTripMs, waitingBytes, isLinkedToUs: this.#acceptor.isLinked(peer) };
  }

  /** What peers have open to us. */
  get acceptedCount(): number {
    return this.#acceptor.count;
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    this.#deaths?.close();
    for (const link of this.#peers.values()) link.close();
    await this.#acceptor.close();
  }

  #isNew(peer: string, why: string): boolean {
    let said = this.#said.get(peer);
    if (said === undefined) {
      if (this.#said.size >= MAX_COMPLAINTS) return false;
      said = new Set();
      this.#said.set(peer, said);
    }
    if (said.has(why) || said.size >= MAX_COMPLAINTS) return false;
    said.add(why);
    return true;
  }
}
