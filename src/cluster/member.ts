/**
 * A member: one node as the others know it. A plain value: what a member says of itself, under the id that it keeps for life.
 *
 * Nothing here says whether it is alive (that is each member's own judgement and changes by the second) or what it owns (that is in records).
 * Keeping the three apart is what lets everybody agree on two of them.
 */
import { BreakwaterError } from '../base/errors.ts';

/** 40 lower-case hexadecimal digits, drawn once and kept as long as the member has a data directory. */
export type NodeId = string;

export interface Member {
  readonly id: NodeId;
  /** Where clients and other members reach it; as announced, which may differ from where it listens. Without brackets for IPv6. */
  readonly host: string;
  /** RESP. */
  readonly port: number;
  readonly httpPort: number;
  /** The link between members. */
  readonly linkPort: number;
  /** What fails together on the large scale (an availability zone, a room); '' when nobody said. */
  readonly zone: string;
  /** What fails together on the small scale (a host with several members); '' = by its `host`. */
  readonly machine: string;
  /** Its share of the ranges relative to the others'. 0: it is to own and copy nothing (a witness, a member being drained). */
  readonly weight: number;
  /** Grows with each start of the process: what it said in an earlier life is void. */
  readonly incarnation: number;
}

const NODE_ID = /^[0-9a-f]{40}$/;
const HOST = /^[A-Za-z0-9._:%-]{1,253}$/;
const LABEL = /^[A-Za-z0-9._:/-]{0,64}$/;
/** Weights are ratios; above this one member's unit is lost in another's rounding. */
export const MAX_WEIGHT = 1_000_000;

export function isNodeId(text: unknown): text is NodeId {
  return typeof text === 'string' && NODE_ID.test(text);
}

/** What fails together with it: the label, or its host where there is none. */
export function machineOf(member: Member): string {
  return member.machine === '' ? member.host : member.machine;
}

export function compareIds(a: NodeId, b: NodeId): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** `host:port` of its RESP port, with brackets around IPv6. For people; MOVED writes none. */
export function addressOf(member: Member): string {
  return member.host.includes(':') ? `[${member.host}]:${member.port}` : `${member.host}:${member.port}`;
}

/** Do both say the same? */
export function sameMember(a: Member, b: Member): boolean {
  return (
    a.id === b.id &&
    a.incarnation === b.incarnation &&
    a.weight === b.weight &&
    a.host === b.host &&
    a.port === b.port &&
    a.httpPort === b.httpPort &&
    a.linkPort === b.linkPort &&
    a.zone === b.zone &&
    a.machine === b.machine
  );
}

/** @throws BreakwaterError `MEMBER_INVALID`, naming the field */
export function checkMember(member: Member): void {
  if (!isNodeId(member.id)) refuse('its id must be 40 lower-case hexadecimal digits', member.id);
  if (!HOST.test(member.host)) refuse('its host must be a name or an address', member.host);
  for (const field of ['port', 'httpPort', 'linkPort'] as const) {
    const port = member[field];
    // 0: it does not offer this one (a witness serves no clients).
    if (!(Number.isInteger(port) && port >= 0 && port <= 65_535))
      refuse(`its ${field} must be a port from 0 to 65535`, port);
  }
  for (const field of ['zone', 'machine'] as const) {
    if (!LABEL.test(member[field]))
      refuse(`its ${field} must be at most 64 letters, digits and . _ : / -`, member[field]);
  }
  if (!(member.weight >= 0 && member.weight <= MAX_WEIGHT))
    refuse(`its weight must be from 0 to ${MAX_WEIGHT}`, member.weight);
  if (!(Number.isSafeInteger(member.incarnation) && member.incarnation >= 0)) {
    refuse('its incarnation must be a whole number from 0', member.incarnation);
  }
}

function refuse(what: string, received: unknown): never {
  throw new BreakwaterError(
    'MEMBER_INVALID',
    `cannot take the member: ${what}, received ${JSON.stringify(received)?.slice(0, 300)}`,
  );
}
