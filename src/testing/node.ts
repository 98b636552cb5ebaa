/**
 * A node for tests, twice. {@link TestNode} is the deterministic machine of a real node in this process's memory: no socket, no port, its time the test's clock; several
 * Breakwaters that are given the same one are several processes of a service. {@link startTestNode} is the whole server on ports of the loopback, for what
 * speaks RESP or HTTP itself.
 */

import { SeededRandom } from '../base/random.ts';
import type { DialTarget, Link, LinkEvents } from '../client/link.ts';
import { Node } from '../node/node.ts';
import type { NodeSession } from '../node/node-session.ts';
import { ReplyWriter } from '../resp/writer.ts';
import { TestClock } from './clock.ts';

export interface TestNodeOptions {
  readonly clock?: TestClock;
  readonly memoryBytes?: number;
  readonly seed?: number;
}

const MEMORY_BYTES = 16 * 1024 ** 2;

export class TestNode {
  readonly clock: TestClock;
  readonly #node: Node;
  readonly #links = new Map<NodeSession, MemoryLink>();

  constructor({ clock = new TestClock(), memoryBytes = MEMORY_BYTES, seed = 1 }: TestNodeOptions = {}) {
    this.clock = clock;
    this.#node = new Node({
      memoryBytes,
      eviction: 'tinylfu',
      random: new SeededRandom(seed),
      startMs: clock.now(),
      version: 'test',
    });
    this.#tick();
  }

  /** Entries that it holds, those expired and not yet removed included. */
  get entries(): number {
    return this.#node.stats().store.entries;
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#links.size;
  }

  /** Ends every connection, as a restart of a proxy would. The library connects anew by itself. */
  disconnect(): void {
    for (const link of [...this.#links.values()]) link.end();
  }

  /** @internal The way to it. */
  readonly dial = (_: DialTarget, events: LinkEvents): Link => {
    const session = this.#node.openSession(this.clock.now(), { address: 'memory', kind: 'resp' });
    const link: MemoryLink = new MemoryLink(events, {
      send: (bytes) => this.#receive(session, link, bytes),
      over: () => {
        this.#links.delete(session);
        this.#node.closeSession(session);
        this.#push();
      },
    });
    this.#links.set(session, link);
    return link;
  };

  #receive(session: NodeSession, link: MemoryLink, bytes: Uint8Array): void {
    const out = new ReplyWriter();
    let input = bytes;
    do {
      out.reset();
      this.#node.onRequest(session, input, 0, input.length, this.clock.now(), out);
      link.deliver(new Uint8Array(out.bytes.subarray(0, out.length)));
      input = NOTHING;
    } while (out.length >= session.outputLimitBytes);
    this.#push();
    if (session.closing) link.end();
  }

  #push(): void {
    while (this.#node.hasPushes) {
      for (const session of this.#node.takePushed()) {
        const link = this.#links.get(session);
        let hasMore = link !== undefined;
        while (hasMore) {
          const out = new ReplyWriter();
          hasMore = this.#node.onPush(session, out);
          link?.deliver(new Uint8Array(out.bytes.subarray(0, out.length)));
        }
      }
    }
  }

  #tick(): void {
    const wantedMs = this.#node.onTick(this.clock.now());
    this.#push();
    this.clock.scheduler.setTimer(Math.max(1, wantedMs), () => this.#tick());
  }
}

const NOTHING = new Uint8Array(0);

interface Far {
  send(bytes: Uint8Array): void;
  over(): void;
}

/** Both directions in the order of sending, each a turn of the microtasks later: nothing is called within `write`. */
class MemoryLink implements Link {
  readonly unsentBytes = 0;
  readonly #events: LinkEvents;
  readonly #far: Far;
  #isOver = false;

  constructor(events: LinkEvents, far: Far) {
    this.#events = events;
    this.#far = far;
    queueMicrotask(() => {
      if (!this.#isOver) events.onOpen();
    });
  }

  write(bytes: Uint8Array): boolean {
    // Not `slice`: a Buffer's would be a view of what the caller writes over.
    const copy = new Uint8Array(bytes);
    queueMicrotask(() => {
      if (!this.#isOver) this.#far.send(copy);
    });
    return true;
  }

  destroy(): void {
    this.#over();
  }

  deliver(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    queueMicrotask(() => {
      if (!this.#isOver) this.#events.onBytes(bytes, bytes.length);
    });
  }

  /** From the node's side. */
  end(): void {
    if (this.#isOver) return;
    // Behind what was delivered.
    queueMicrotask(() => {
      this.#over();
      this.#events.onClose(null);
    });
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#far.over();
  }
}

/** A whole server in this process. */
export interface RunningTestNode {
  readonly url: `breakwater://${string}`;
  /** For clients of Redis, and for HTTP (`http://127.0.0.1:<httpPort>/cache/...`, the status page at `/`). */
  readonly port: number;
  readonly httpPort: number;
  close(): Promise<void>;
}

/** Starts a node on ports of the loopback that the system picks, with the system's clock. Close it when the tests are over. */
export async function startTestNode(options: { readonly memory?: string } = {}): Promise<RunningTestNode> {
  // Loaded here: who tests without sockets loads no server.
  const [{ resolveConfig }, { startServer }] = await Promise.all([
    import('../server/config.ts'),
    import('../server/serve.ts'),
  ]);
  const flags = { port: '0', 'http-port': '0', memory: options.memory ?? '32mb' };
  const { config } = resolveConfig({ flags, env: {}, file: null });
  const running = await startServer(config, { version: 'test' });
  const { respPort, httpPort } = running;
  return { url: `breakwater://127.0.0.1:${respPort}`, port: respPort, httpPort, close: () => running.close() };
}
