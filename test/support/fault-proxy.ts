/**
 * A TCP proxy that misbehaves on demand, for tests of whoever stands on either side: it stands between a client and a server and
 * delays, throttles, swallows, cuts or resets what passes. Faults apply to connections that exist and to those to come,
 * until `heal()`.
 *
 *   const proxy = await FaultProxy.start({ host: '127.0.0.1', port });
 *   connect to proxy.port ...
 *   proxy.blackhole();            // half-open: connections stay, nothing passes, nothing is told
 *   proxy.reset();                // every connection ends with RST
 *   proxy.cutAfter('down', 100, 'rst')  // each connection dies when 100 more bytes went to its client
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { resetSocket } from '../../src/cli/bench/correctness/reset.ts';

export type Direction = /** client to server */ 'up' | /** server to client */ 'down';
export type Ending = 'fin' | 'rst';

interface Link {
  readonly client: Socket;
  readonly server: Socket;
  /** Pieces on their way, in order. */
  readonly queue: Record<Direction, { readonly dueMs: number; readonly act: () => void }[]>;
  readonly timer: Record<Direction, NodeJS.Timeout | null>;
  /** Bytes that may still pass before the link is cut. */
  readonly budget: Record<Direction, number>;
  ending: Ending;
  /** Bytes of this direction were swallowed: none of it passes any more, since TCP delivers what follows only after them. */
  readonly lost: Record<Direction, boolean>;
  /** When the last piece of each direction is due. */
  readonly dueMs: Record<Direction, number>;
}

export class FaultProxy {
  readonly #server: Server;
  readonly #target: { readonly host: string; readonly port: number };
  readonly #links = new Set<Link>();
  #delayMs: Record<Direction, number> = { up: 0, down: 0 };
  #bytesPerSecond = Number.POSITIVE_INFINITY;
  #swallow: Record<Direction, boolean> = { up: false, down: false };
  #refuse = false;
  #silent = false;
  /** Connections accepted so far. */
  accepted = 0;
  /** Bytes that came from each side, swallowed ones included. */
  readonly bytes: Record<Direction, number> = { up: 0, down: 0 };

  private constructor(server: Server, target: { readonly host: string; readonly port: number }) {
    this.#server = server;
    this.#target = target;
  }

  /** Listens on a port of the system's choice. */
  static async start(target: { readonly host: string; readonly port: number }): Promise<FaultProxy> {
    const server = createServer({ allowHalfOpen: true });
    const proxy = new FaultProxy(server, target);
    server.on('connection', (socket) => proxy.#accept(socket));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    return proxy;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the fault proxy is not listening');
    return address.port;
  }

  /** Connections open now. */
  get connections(): number {
    return this.#links.size;
  }

  /** Every piece arrives `ms` later (default in both directions). */
  delay(ms: number, direction?: Direction): void {
    if (direction !== 'down') this.#delayMs.up = ms;
    if (direction !== 'up') this.#delayMs.down = ms;
  }

  /** What comes in `direction` (default both) waits, in order, until `release()`. */
  hold(direction?: Direction): void {
    this.delay(Number.POSITIVE_INFINITY, direction);
  }

  /** All that was held back or delayed arrives now; what comes from now on is not delayed. */
  release(): void {
    this.#delayMs = { up: 0, down: 0 };
    for (const link of [...this.#links]) {
      for (const direction of ['up', 'down'] as const) {
        const timer = link.timer[direction];
        if (timer !== null) clearTimeout(timer);
        link.timer[direction] = null;
        link.dueMs[direction] = 0;
        for (const { act } of link.queue[direction].splice(0)) if (this.#links.has(link)) act();
      }
    }
  }

  /** Every connection passes at most so many bytes a second in each direction. */
  throttle(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Half-open: what is sent in `direction` (default both) vanishes; the connections stay, and ends are not passed on. */
  blackhole(direction?: Direction): void {
    if (direction !== 'down') this.#swallow.up = true;
    if (direction !== 'up') this.#swallow.down = true;
  }

  /** New connections are reset at once. */
  refuse(): void {
    this.#refuse = true;
  }

  /** New connections are accepted, and then nothing ever happens. */
  acceptSilently(): void {
    this.#silent = true;
  }

  /** Each present connection is ended when `bytes` more have passed in `direction`. */
  cutAfter(direction: Direction, bytes: number, ending: Ending = 'rst'): void {
    for (const link of this.#links) {
      link.budget[direction] = bytes;
      link.ending = ending;
    }
  }

  /** Ends every present connection with a RST to both sides. */
  reset(): void {
    for (const link of [...this.#links]) this.#end(link, 'rst');
  }

  /** Ends every present connection in order (FIN). */
  cut(): void {
    for (const link of [...this.#links]) this.#end(link, 'fin');
  }

  /**
   * Connections pass again, new ones and those that lost nothing. Where something was swallowed the connection stays half-open, as behind a firewall that has
   * forgotten it: TCP never delivers what follows a gap, and a client that was shown that would be tested against what cannot happen.
   */
  heal(): void {
    if (Object.values(this.#delayMs).includes(Number.POSITIVE_INFINITY)) this.release();
    this.#delayMs = { up: 0, down: 0 };
    this.#bytesPerSecond = Number.POSITIVE_INFINITY;
    this.#swallow = { up: false, down: false };
    this.#refuse = false;
    this.#silent = false;
  }

  async close(): Promise<void> {
    for (const link of [...this.#links]) this.#end(link, 'rst');
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #accept(client: Socket): void {
    this.accepted += 1;
    if (this.#refuse) {
      client.on('error', () => {});
      resetSocket(client);
      return;
    }
    const server = connect({ ...this.#target, allowHalfOpen: true });
    const link: Link = {
      client,
      server,
      queue: { up: [], down: [] },
      timer: { up: null, down: null },
      budget: { up: Number.POSITIVE_INFINITY, down: Number.POSITIVE_INFINITY },
      ending: 'rst',
      lost: { up: false, down: false },
      dueMs: { up: 0, down: 0 },
    };
    this.#links.add(link);
    client.setNoDelay(true);
    server.setNoDelay(true);
    client.on('error', () => this.#end(link, 'rst'));
    server.on('error', () => this.#end(link, 'rst'));
    if (this.#silent) {
      client.resume();
      return;
    }
    this.#pump(link, client, server, 'up');
    this.#pump(link, server, client, 'down');
  }

  #pump(link: Link, from: Socket, to: Socket, direction: Direction): void {
    from.on('data', (piece: Buffer) => {
      this.bytes[direction] += piece.length;
      if (this.#swallow[direction] || link.lost[direction]) {
        link.lost[direction] = true;
        return;
      }
      const budget = link.budget[direction];
      const passed = piece.length < budget ? piece : piece.subarray(0, budget);
      link.budget[direction] = budget - passed.length;
      // A throttled link trickles: slices of 5 ms each, not one burst at the end.
      const sliceBytes = Math.max(1, Math.min(passed.length, Math.ceil(this.#bytesPerSecond / 200)));
      for (let at = 0; at < passed.length; at += sliceBytes) {
        const slice = passed.subarray(at, at + sliceBytes);
        this.#later(link, direction, slice.length, () => {
          if (!to.destroyed) to.write(slice);
        });
      }
      if (link.budget[direction] <= 0) this.#later(link, direction, 0, () => this.#end(link, link.ending));
      if (this.#bytesPerSecond !== Number.POSITIVE_INFINITY) {
        from.pause();
        this.#later(link, direction, 0, () => from.resume());
      }
    });
    from.on('end', () => {
      if (!this.#swallow[direction]) this.#later(link, direction, 0, () => to.end());
    });
    from.on('close', () => {
      if (!this.#swallow[direction]) this.#later(link, direction, 0, () => this.#end(link, 'fin'));
    });
  }

  /** Runs `act` when a piece of `size` bytes has got through, in the order of the calls. */
  #later(link: Link, direction: Direction, size: number, act: () => void): void {
    const nowMs = performance.now();
    const sendMs = this.#bytesPerSecond === Number.POSITIVE_INFINITY ? 0 : (size / this.#bytesPerSecond) * 1000;
    const dueMs = Math.max(nowMs + this.#delayMs[direction], link.dueMs[direction]) + sendMs;
    link.dueMs[direction] = dueMs;
    if (dueMs <= nowMs && link.queue[direction].length === 0) {
      act();
      return;
    }
    link.queue[direction].push({ dueMs, act });
    this.#arm(link, direction);
  }

  #arm(link: Link, direction: Direction): void {
    const next = link.queue[direction][0];
    if (next === undefined || next.dueMs === Number.POSITIVE_INFINITY) return;
    if (link.timer[direction] !== null || !this.#links.has(link)) return;
    link.timer[direction] = setTimeout(
      () => {
        link.timer[direction] = null;
        link.queue[direction].shift();
        next.act();
        this.#arm(link, direction);
      },
      Math.max(0, next.dueMs - performance.now()),
    );
  }

  #end(link: Link, ending: Ending): void {
    if (!this.#links.delete(link)) return;
    for (const timer of Object.values(link.timer)) if (timer !== null) clearTimeout(timer);
    for (const socket of [link.client, link.server]) {
      if (ending === 'rst' && !socket.connecting) resetSocket(socket);
      else {
        socket.end();
        socket.destroySoon();
      }
    }
  }
}
