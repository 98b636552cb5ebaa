/**
 * A wire that can be held and cut: TCP proxies on loopback between one instance and its server, or its servers where it has several.
 *
 *   hold      what the servers say stays here (a slow network, one way) until `release`
 *   cut       connections are reset and new ones refused at once, until `restore`; of all servers, or of one
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { resetSocket } from './reset.ts';

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
  readonly held: Buffer[];
}

interface Strand {
  readonly server: Server;
  readonly pairs: Set<Pair>;
  isCut: boolean;
}

export class Link {
  /** Bytes from the servers that were passed on, and that are held. */
  passedBytes = 0;
  heldBytes = 0;
  readonly #strands: Strand[];
  #isHeld = false;

  private constructor(targetPorts: readonly number[]) {
    this.#strands = targetPorts.map((port) => this.#strand(port));
  }

  static async to(...targetPorts: number[]): Promise<Link> {
    const link = new Link(targetPorts);
    for (const { server } of link.#strands) {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(0, '127.0.0.1', resolve);
      });
    }
    return link;
  }

  /** In the order of the servers. */
  get ports(): readonly number[] {
    return this.#strands.map(({ server }) => {
      const address = server.address();
      return address !== null && typeof address === 'object' ? address.port : 0;
    });
  }

  /** It keeps no process from ending that has nothing else to do. */
  unref(): void {
    for (const { server } of this.#strands) server.unref();
  }

  hold(): void {
    this.#isHeld = true;
  }

  release(): void {
    this.#isHeld = false;
    for (const { pairs } of this.#strands) {
      for (const pair of pairs) for (const chunk of pair.held.splice(0)) pair.near.write(chunk);
    }
    this.heldBytes = 0;
  }

  /** @param only the number of one server; default all */
  cut(only?: number): void {
    for (const strand of only === undefined ? this.#strands : this.#strands.slice(only, only + 1)) {
      strand.isCut = true;
      for (const { near, far } of strand.pairs) {
        resetSocket(near);
        far.destroy();
      }
    }
  }

  restore(): void {
    for (const strand of this.#strands) strand.isCut = false;
  }

  async close(): Promise<void> {
    this.cut();
    for (const { server } of this.#strands) await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  #strand(targetPort: number): Strand {
    const pairs = new Set<Pair>();
    const server = createServer((near) => {
      near.on('error', () => {});
      if (strand.isCut) {
        near.destroy();
        return;
      }
      const far = connect({ host: '127.0.0.1', port: targetPort });
      const pair: Pair = { near, far, held: [] };
      pairs.add(pair);
      near.setNoDelay(true);
      far.setNoDelay(true);
      far.on('error', () => {});
      near.on('data', (chunk) => far.write(chunk));
      far.on('data', (chunk) => {
        if (this.#isHeld) {
          pair.held.push(chunk);
          this.heldBytes += chunk.length;
        } else {
          this.passedBytes += chunk.length;
          near.write(chunk);
        }
      });
      near.on('close', () => far.destroy());
      far.on('close', () => {
        near.destroy();
        pairs.delete(pair);
      });
    });
    const strand: Strand = { server, pairs, isCut: false };
    return strand;
  }
}
