/** What the links of a member have in common. */
import type { Member, NodeId } from '../../cluster/member.ts';
import type { Message } from '../../cluster/messages.ts';
import type { RosterMember } from '../../cluster/roster.ts';
import type { Form, TurnedAway, Welcome } from '../../wire/hello.ts';
import type { DirectWriter } from '../direct-write.ts';
import type { LinkCounters } from './counters.ts';
import type { KnownRoster } from './handshake.ts';
import type { ClusterSetup } from './setup.ts';

export interface LinkContext {
  readonly setup: ClusterSetup;
  readonly counters: LinkCounters;
  /** What we say of ourselves; changes with the cluster's forming. */
  cluster: string;
  readonly member: Member;
  /** Swapped whole when the roster changes. */
  roster: KnownRoster;
  readonly limits: LinkLimits;
  /** What all links read into: what arrives is looked at to its end before anything else is read. */
  readonly input: Uint8Array;
  /** What they write by. */
  readonly writer: DirectWriter;
  /** Something worth a line in the log: a refusal, a link that was cut. Said once until that peer's link is open again. */
  complain(peer: string, why: string): void;
  /** What a peer said of itself. */
  onMember(member: Member): void;
  /** A stranger who knows the secret wants to be a member. */
  onGuest(member: RosterMember, answer: (message: Welcome | TurnedAway) => void): void;
  /** A peer says that we are no member. */
  onTurnedAway(peer: NodeId, message: TurnedAway): void;
  onForm(from: NodeId, form: Form): void;
  /** A peer's link to us is open; it is not any more, and there is none instead. */
  onLinked(peer: NodeId): void;
  /** As it named itself over that link. */
  onClosed(peer: Member): void;
  /** Bytes in it are views: who keeps them copies them. */
  onMessage(from: NodeId, message: Message): void;
  /** Much waits in our link to the peer, because it reads slowly; or not any more. */
  onFull(peer: NodeId, isFull: boolean): void;
  /** A link of ours to the peer is open; `cluster`: what it said to belong to. */
  onOpen(peer: NodeId, cluster: string): void;
}

export interface LinkLimits {
  /** What may wait in one link to be sent, bytes. */
  readonly outputBytes: number;
  /** From so many on, who can wait is told to send nothing more into it: `onFull`. Until a quarter of it waits. */
  readonly fullBytes: number;
  /** A link that is not open so long after its beginning is given up. */
  readonly helloMs: number;
  /** Between two pings over an open link; one rides with what is said anyway, or goes alone when nothing was for as long again. */
  readonly pingMs: number;
  /** A link with so many pings unanswered is cut: half-open, or nobody reads. Counted in pings and not in time, so that a pause of our own proves nothing. */
  readonly pings: number;
  /** The first pause between two attempts to connect; doubled each time up to `retryMaxMs`. */
  readonly retryMs: number;
  readonly retryMaxMs: number;
  /** Connections that have not proved yet who they are. */
  readonly strangers: number;
}

export function limitsFor({ timing }: ClusterSetup): LinkLimits {
  const pingMs = 2 * timing.heartbeatMs;
  return {
    outputBytes: 64 * 1024 * 1024,
    fullBytes: 1024 * 1024,
    helloMs: Math.max(2000, 2 * timing.takeoverMs),
    pingMs,
    pings: Math.ceil(timing.takeoverMs / pingMs) + 1,
    retryMs: 50,
    retryMaxMs: 1000,
    strangers: 64,
  };
}

/** Bytes that a peer may send before it has proved who it is. */
export const STRANGER_BYTES = 8192;

/** As much as one read takes. */
const INPUT_BYTES = 64 * 1024;

export const makeInput = (): Uint8Array => Buffer.allocUnsafeSlow(INPUT_BYTES);
