/**
 * Connections as TCP makes them, and the ways in which they fail.
 *
 * Within one connection and direction bytes arrive in order and whole, or not at all; what is drawn by chance is when, and in how many pieces. Nothing is lost
 * in the middle, because nothing is in TCP: "loss" is a connection that breaks, or one that stands still.
 *
 *   slow    everything between two machines takes longer
 *   cut     one way or both: what is sent stays with the sender, as it does in a kernel that keeps sending it again. Healed, it arrives, *late*, if the
 *           connection still stands at the other end; also when its sender has given up meanwhile. Neither end is told anything: the connection is half-open
 *   break   a RST from nowhere: each end is told, each at its own time, and what was under way is lost
 *   refuse  nobody listens
 *
 * Machines are named; a cut is between two names and in one direction, so that the same network serves a library with one node and a cluster.
 */
import type { Dial, Link, LinkEvents } from '../../src/client/link.ts';
import type { Machine } from './machine.ts';
import { hashOf } from './trace.ts';
import type { World } from './world.ts';

export interface NetworkOptions {
  /** Of every piece, one way. */
  readonly delayMs: readonly [number, number];
  /** How many of the writes arrive in two pieces. */
  readonly splits: number;
}

/** What a server is told. */
export interface Listener {
  readonly machine: Machine;
  /** Somebody connects: the server's end of the link, and its events. */
  accept(link: ServerLink, from: string): LinkEvents;
}

/** A server may want to know when a link has room again. */
export interface ServerLink extends Link {
  onDrain: (() => void) | null;
}

const SENT = 1;
const ARRIVED = 2;
const OPENED = 3;
const CLOSED = 4;

type Item = Uint8Array | null;

/** One end. What it sends goes through its own pipe. */
class End implements ServerLink {
  readonly machine: Machine;
  readonly network: Network;
  readonly to: string;
  events: LinkEvents | null = null;
  peer: End | null = null;
  onDrain: (() => void) | null = null;
  /** No event comes here any more. */
  isOver = false;
  isBroken = false;
  unsentBytes = 0;
  held: Item[] = [];
  lastArrivalMs = 0;

  constructor(network: Network, machine: Machine, to: string) {
    this.network = network;
    this.machine = machine;
    this.to = to;
  }

  write(bytes: Uint8Array): boolean {
    if (!this.isOver && this.peer !== null) this.network.send(this, new Uint8Array(bytes)); // a copy: a Buffer's own `slice` is none
    return true;
  }

  destroy(): void {
    if (this.isOver) return;
    this.isOver = true;
    // What was written goes first, then the end.
    if (this.peer !== null) this.network.send(this, null);
    this.network.forget(this);
  }

  take(item: Item): void {
    if (this.isOver) return;
    if (item !== null) {
      this.events?.onBytes(item, item.length);
      return;
    }
    this.close(null);
  }

  close(error: Error | null): void {
    if (this.isOver) return;
    this.isOver = true;
    this.network.forget(this);
    this.events?.onClose(error);
  }
}

interface Waiting {
  readonly end: End;
  readonly address: string;
}

export class Network {
  readonly #world: World;
  readonly #options: NetworkOptions;
  readonly #listeners = new Map<string, Listener>();
  /** `from>to`. */
  readonly #cuts = new Set<string>();
  readonly #slow = new Map<string, number>();
  readonly #ends = new Set<End>();
  /** By then all has arrived that was sent so far and is not held by a cut. */
  lastArrivalMs = 0;
  #dials: Waiting[] = [];

  constructor(world: World, options: NetworkOptions) {
    this.#world = world;
    this.#options = options;
  }

  /** `address` is `host:port`, the host being the listener's machine. */
  listen(address: string, listener: Listener): void {
    this.#listeners.set(address, listener);
  }

  unlisten(address: string): void {
    this.#listeners.delete(address);
  }

  /** The production client's way out of `machine`. */
  dialOf(machine: Machine): Dial {
    return ({ host, port }, events) => {
      const end = new End(this, machine, host);
      end.events = events;
      this.#ends.add(end);
      const waiting = { end, address: `${host}:${port}` };
      this.#world.after(this.#delay(machine.name, host), () => this.#connect(waiting));
      return end;
    };
  }

  // -- faults

  cut(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`);
  }

  heal(from: string, to: string): void {
    if (!this.#cuts.delete(`${from}>${to}`)) return;
    const dials = this.#dials;
    this.#dials = [];
    for (const waiting of dials) this.#world.after(this.#delay(from, to), () => this.#connect(waiting));
    for (const end of [...this.#ends]) {
      if (end.machine.name !== from || end.to !== to) continue;
      const { held } = end;
      end.held = [];
      end.unsentBytes = 0;
      for (const item of held) this.#schedule(end, item);
      if (end.isOver) this.#ends.delete(end);
      else if (end.onDrain !== null) end.machine.deliver(end.onDrain);
    }
  }

  healAll(): void {
    this.#slow.clear();
    for (const cut of [...this.#cuts]) {
      const [from, to] = cut.split('>');
      this.heal(from!, to!);
    }
  }

  /** Up to `extraMs` more between these two, both ways; 0 = as before. */
  slow(a: string, b: string, extraMs: number): void {
    for (const way of [`${a}>${b}`, `${b}>${a}`]) {
      if (extraMs === 0) this.#slow.delete(way);
      else this.#slow.set(way, extraMs);
    }
  }

  /** Every connection between these two ends with a RST. */
  break(a: string, b: string): void {
    for (const end of [...this.#ends]) {
      if (end.machine.name === a && end.to === b) this.#break(end);
    }
  }

  /**
   * The program on `machine` is gone. Its kernel closes its connections, or (`silently`) the whole computer is gone and nobody is told.
   */
  died(machine: Machine, silently: boolean): void {
    for (const end of [...this.#ends]) {
      if (end.machine !== machine) continue;
      if (silently) {
        end.isOver = true;
        this.forget(end);
      } else end.destroy();
    }
  }

  /** The computer that went silently is back, and answers old connections with a RST. */
  cameBack(name: string): void {
    for (const end of [...this.#ends]) {
      const { peer } = end;
      if (end.to === name && peer !== null && peer.isOver && peer.machine.state === 'dead') this.#tell(end);
    }
  }

  // -- within

  send(from: End, item: Item): void {
    const { peer } = from;
    if (peer === null || from.isBroken) return;
    this.#world.trace.note(SENT, hashOf(from.machine.name), item?.length ?? -1);
    const isCut = this.#cuts.has(`${from.machine.name}>${from.to}`);
    this.#world.trace.say(
      () =>
        `    ${from.machine.name} -> ${from.to}${isCut ? ' (cut)' : ''}: ${item === null ? 'end' : printable(item)}`,
    );
    if (isCut) {
      from.held.push(item);
      from.unsentBytes += item?.length ?? 0;
      return;
    }
    this.#schedule(from, item);
  }

  forget(end: End): void {
    if (end.held.length === 0) this.#ends.delete(end);
  }

  #connect(waiting: Waiting): void {
    const { end, address } = waiting;
    if (end.isOver || end.machine.state === 'dead') return;
    const { name } = end.machine;
    if (this.#cuts.has(`${name}>${end.to}`) || this.#cuts.has(`${end.to}>${name}`)) {
      this.#dials.push(waiting);
      return;
    }
    const listener = this.#listeners.get(address);
    if (listener === undefined) {
      this.#world.after(this.#delay(end.to, name), () => end.machine.deliver(() => end.close(failure('ECONNREFUSED'))));
      return;
    }
    const server = new End(this, listener.machine, name);
    server.peer = end;
    end.peer = server;
    this.#ends.add(server);
    // The kernel accepts, whatever the program is doing.
    listener.machine.deliver(() => {
      if (!server.isOver) server.events = listener.accept(server, name);
    });
    this.#world.after(this.#delay(end.to, name), () =>
      end.machine.deliver(() => {
        if (end.isOver) return;
        this.#world.trace.note(OPENED, hashOf(name));
        end.events?.onOpen();
      }),
    );
  }

  #schedule(from: End, item: Item): void {
    if (item !== null && item.length > 1 && this.#world.chance(this.#options.splits)) {
      const at = 1 + Math.floor(this.#world.random.nextFloat() * (item.length - 1));
      this.#arrive(from, item.subarray(0, at));
      this.#arrive(from, item.subarray(at));
    } else this.#arrive(from, item);
  }

  #arrive(from: End, item: Item): void {
    const to = from.peer!;
    const atMs = Math.max(from.lastArrivalMs, this.#world.nowMs + this.#delay(from.machine.name, from.to));
    from.lastArrivalMs = atMs;
    this.lastArrivalMs = Math.max(this.lastArrivalMs, atMs);
    this.#world.at(atMs, () => {
      if (from.isBroken) return;
      to.machine.deliver(() => {
        this.#world.trace.note(item === null ? CLOSED : ARRIVED, hashOf(to.machine.name), item?.length ?? 0);
        to.take(item);
      });
    });
  }

  #break(end: End): void {
    const { peer } = end;
    end.isBroken = true;
    this.#tell(end);
    if (peer === null) return;
    peer.isBroken = true;
    this.#tell(peer);
  }

  #tell(end: End): void {
    this.#world.after(this.#delay(end.to, end.machine.name), () =>
      end.machine.deliver(() => end.close(failure('ECONNRESET'))),
    );
  }

  #delay(from: string, to: string): number {
    const [least, most] = this.#options.delayMs;
    const extraMs = this.#slow.get(`${from}>${to}`) ?? 0;
    return this.#world.between(least, most + extraMs);
  }
}

/** RESP for people: what stands behind the lengths. */
function printable(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  const shown = text
    .replace(/[$*]\d+\r\n/g, '')
    .replace(/\r\n/g, ' ')
    .replace(/[^\x20-\x7e]+/g, '.');
  return shown.length > 300 ? `${shown.slice(0, 300)} ...` : shown;
}

function failure(code: string): Error {
  return Object.assign(new Error(code), { code });
}
