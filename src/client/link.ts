/**
 * What a connection needs of the network, as a port: bytes go out, bytes come in, and once it is over. Everything else about TCP
 * (names, handshakes, buffers, options) stays behind `Dial`.
 *
 * Why a port and not a `net.Socket` made to look like one: a socket has a hundred methods and two event systems, and the simulator must say
 * exactly *when* each byte arrives and which end notices a dead peer. Here that is three calls one way and three the other.
 *
 * The contract:
 *  - no event is called within `dial`, `write` or `destroy`;
 *  - `onOpen` at most once, then any number of `onBytes`, in the order in which the peer wrote them, whole or in pieces;
 *  - `onClose` at most once and last: a dead network tells nobody. After `destroy` it may come still, and nothing else does;
 *  - what is written before `onOpen`, or after the end, is lost.
 */
import type { ConnectionOptions as TlsOptions } from 'node:tls';

/** Where to. */
export interface DialTarget {
  readonly host: string;
  readonly port: number;
  /** TLS options, or null for plain TCP. */
  readonly tls: TlsOptions | null;
}

/** What the link tells. */
export interface LinkEvents {
  /** Connected, TLS included. */
  onOpen(): void;
  /** `bytes[0 .. size)`; the buffer belongs to the link and is used again after the call. */
  onBytes(bytes: Uint8Array, size: number): void;
  /** Over. `error` null: the peer closed it. */
  onClose(error: Error | null): void;
}

export interface Link {
  /** Bytes written that the network has not taken yet. */
  readonly unsentBytes: number;
  /** Sends `bytes`. True: they were taken, the buffer is the caller's again. False: the link reads from it until they have left. */
  write(bytes: Uint8Array): boolean;
  /** Ends it, without waiting for what was not sent. Idempotent. */
  destroy(): void;
}

export type Dial = (target: DialTarget, events: LinkEvents) => Link;
