/**
 * A wire that can be held and cut: a TCP proxy on loopback between one instance and its server.
 *
 *   hold      what the server says stays here (a slow network, one way) until `release`
 *   cut       connections are reset and new ones refused at once, until `restore`
 */
import { connect, createServer, type Server, type Socket } from 'node:net';

export class Link {
  /** Bytes from the server that were passed on, and that are held. */
  passedBytes = 0;
  heldBytes = 0;
  readonly #server: Server;
  readonly #pairs = new Set<{ near: Socket; far: Socket; held: Buffer[] }>();
  #isHeld = false;
  #isCut = false;

  private constructor(targetPort: number) {
    this.#server = createServer((near) => {
      near.on('error', () => {});
      if (this.#isCut) {
        near.destroy();
        return;
      }
      const far = connect({ host: '127.0.0.1', port: targetPort });
      const pair = { near, far, held: [] as Buffer[] };
      this.#pairs.add(pair);
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
        this.#pairs.delete(pair);
      });
    });
  }

  static async to(targetPort: number): Promise<Link> {
    const link = new Link(targetPort);
    await new Promise<void>((resolve, reject) => {
      link.#server.once('error', reject);
      link.#server.listen(0, '127.0.0.1', resolve);
    });
    return link;
  }

  get port(): number {
    const address = this.#server.address();
    return address !== null && typeof address === 'object' ? address.port : 0;
  }

  hold(): void {
    this.#isHeld = true;
  }

  release(): void {
    this.#isHeld = false;
    for (const pair of this.#pairs) for (const chunk of pair.held.splice(0)) pair.near.write(chunk);
    this.heldBytes = 0;
  }

  cut(): void {
    this.#isCut = true;
    for (const { near, far } of this.#pairs) {
      near.resetAndDestroy();
      far.destroy();
    }
  }

  restore(): void {
    this.#isCut = false;
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
