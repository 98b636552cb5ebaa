/**
 * How two members come to believe each other. Three frames open a link:
 *
 *   dialler    hello (who I am, of which cluster, a nonce)
 *   acceptor   hello (who I am, my nonce, my proof)
 *   dialler    hello (as before, my proof)                     then frames flow, from the dialler to the acceptor
 *
 * A proof is HMAC-SHA-256 under the cluster's secret over both nonces, both names and the role of its maker: it shows the secret without telling it, and that of one link is good
 * for no other, nor for the other direction. What it does not do: the frames behind it are neither encrypted nor signed, so whoever can write into the
 * connection itself is not stopped. Links belong into a network of their own, or into a tunnel. Without a secret the proofs are made with none, and show nothing.
 *
 * Refused, each for a reason that is counted and logged: another founding list (fingerprint), another cluster, a name that is not in the roster, a wrong proof, a life
 * that is older than one that was here before. Who belongs to no cluster and has no fingerprint wants to join: it is a guest (`acceptor.ts`).
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { messageOf } from '../../base/errors.ts';
import { checkMember, type Member, type NodeId } from '../../cluster/member.ts';
import { WIRE_VERSION } from '../../wire/frame.ts';
import type { Hello } from '../../wire/hello.ts';
import type { ClusterSetup } from './setup.ts';

export type HelloRefusal = 'member' | 'forgotten' | 'setup' | 'cluster' | 'secret' | 'life';

/** Whom a member knows as members, itself included, and as such that were. */
export interface KnownRoster {
  readonly epoch: number;
  readonly ids: ReadonlySet<NodeId>;
  readonly forgotten: ReadonlySet<NodeId>;
}

export function makeNonce(): string {
  return randomBytes(16).toString('hex');
}

export function helloOf(
  setup: Pick<ClusterSetup, 'fingerprint'>,
  cluster: string,
  member: Member,
  nonce: string,
  proof: string,
): Hello {
  return { kind: 'hello', cluster, version: WIRE_VERSION, member, setup: setup.fingerprint, nonce, proof };
}

/** What both sides have said, and who is who. */
export interface Exchange {
  readonly dialler: NodeId;
  readonly acceptor: NodeId;
  readonly diallerNonce: string;
  readonly acceptorNonce: string;
}

export function proofOf(secret: string, role: 'dialler' | 'acceptor', exchange: Exchange): string {
  const { dialler, acceptor, diallerNonce, acceptorNonce } = exchange;
  return createHmac('sha256', `breakwater link\0${secret}`)
    .update(JSON.stringify([role, dialler, acceptor, diallerNonce, acceptorNonce]))
    .digest('hex');
}

export function isProof(text: string, expected: string): boolean {
  const [a, b] = [Buffer.from(text), Buffer.from(expected)];
  return a.length === b.length && timingSafeEqual(a, b);
}

/** Why this hello is not taken, or null. Proofs are looked at by the caller. `cluster`: ours; '' = we have none yet. `roster`: whom we know as members. */
export function refusalOf(
  hello: Hello,
  setup: ClusterSetup,
  cluster: string,
  roster: KnownRoster,
): { readonly reason: HelloRefusal; readonly why: string } | null {
  const { member } = hello;
  if (hello.setup === '' && hello.cluster === '') {
    return { reason: 'setup', why: 'it was started anew, and has not asked yet to be let in' };
  }
  if (hello.setup !== setup.fingerprint) {
    return {
      reason: 'setup',
      why: 'it was started with another cluster name, list of members, number of voters (or etcd in their place), ranges or replicas, takeover time or crash fast path; they must be the same everywhere',
    };
  }
  try {
    checkMember(member);
  } catch (error) {
    return { reason: 'member', why: messageOf(error) };
  }
  if (roster.forgotten.has(member.id)) {
    return { reason: 'forgotten', why: 'it was forgotten; "breakwater forget --undo" lets it come back' };
  }
  if (!roster.ids.has(member.id) || member.id === setup.self) {
    return { reason: 'member', why: `it says to be ${member.id}, which is no other member` };
  }
  if (hello.cluster !== '' && cluster !== '' && hello.cluster !== cluster) {
    return {
      reason: 'cluster',
      why: 'the cluster was formed anew while one of the two was away: restart the one that is alone, without its data directory',
    };
  }
  return null;
}
