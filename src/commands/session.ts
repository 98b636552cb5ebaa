/**
 * One client's conversation with the node: what its commands remember from one to the next. The connection itself (socket, buffers)
 * is the server's.
 */

import type { Subscriber } from '../freshness/feed.ts';
import type { LeaseEnd } from '../freshness/leases.ts';

/** Who opened it: a RESP connection, the node's own HTTP face, or the node itself. */
export type SessionKind = 'resp' | 'http' | 'internal';

export interface SessionInfo {
  /** `ip:port` of the client. */
  readonly address: string;
  /** `ip:port` it connected to. */
  readonly localAddress?: string;
  readonly kind: SessionKind;
  /** Its client knows nothing of clusters: it is never sent elsewhere. Default false. */
  readonly isProxied?: boolean;
}

/** What a session is told unasked, beside records of the feed. */
export type Notice =
  | { readonly kind: 'everywhere'; readonly id: number }
  | { readonly kind: 'lease'; readonly key: Uint8Array; readonly end: LeaseEnd };

/** Replies of one client waiting to be sent may reach this size before the node stops executing for it. */
export const DEFAULT_OUTPUT_LIMIT_BYTES = 1024 * 1024;

export class Session {
  readonly id: number;
  readonly kind: SessionKind;
  readonly address: string;
  readonly localAddress: string;
  /** In a cluster: what other members own is asked of them, and the client is told their answer. */
  readonly isProxied: boolean;
  readonly openedMs: number;
  /** When the last request was read. */
  activeMs: number;
  protocol: 2 | 3 = 2;
  /** As set by CLIENT SETNAME; '' = none. Printable ASCII without blanks. */
  name = '';
  libraryName = '';
  libraryVersion = '';
  /** Asked not to be dropped for memory, or not to touch recency. Noted for CLIENT LIST only. */
  noEvict = false;
  noTouch = false;
  /** To be closed once its replies are sent: QUIT or a protocol error. */
  closing = false;
  /** The node stops executing for it while more reply bytes than this wait. */
  outputLimitBytes = DEFAULT_OUTPUT_LIMIT_BYTES;
  /** It said READONLY: it takes answers from in-sync copies. */
  readsCopies = false;
  /** Its command waits until a slot has its owner, at most until then; 0: none does. Set by the node. */
  heldUntilMs = 0;
  /** Row of the last command in the command table; -1 = none yet. */
  lastCommand = -1;
  /** Bytes of requests not executed yet; kept up to date by the node. */
  inputBytes = 0;
  /** Bytes of replies not sent yet; kept up to date by the node. */
  outputBytes = 0;
  requests = 0;
  /** Its place in the invalidation feed; null = it does not follow. */
  follower: Subscriber | null = null;
  /** It was told that it was too slow for the feed. */
  toldGap = false;
  /** It was granted leases, which end with its connection. */
  hasLeases = false;
  /** What it is to be told when its connection has room; at most as many as it asked for. */
  readonly notices: Notice[] = [];

  constructor(id: number, info: SessionInfo, nowMs: number) {
    this.id = id;
    this.kind = info.kind;
    this.address = info.address;
    this.localAddress = info.localAddress ?? '';
    this.isProxied = info.isProxied ?? false;
    this.openedMs = nowMs;
    this.activeMs = nowMs;
  }
}
