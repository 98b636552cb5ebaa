/**
 * The production node machine on a simulated computer: what `src/server/` is to real sockets, without a decision of its own. Bytes go to
 * `onRequest`, replies to the link; what the node wants to say unasked goes out at the end of the turn; `onTick` is called when the node wants it.
 *
 * A crash loses everything. The next start is a new `Node` on a new machine: another seed, another clock, an empty memory, as after SIGKILL.
 */
import { assert } from '../../src/base/assert.ts';
import { SeededRandom } from '../../src/base/random.ts';
import type { LinkEvents } from '../../src/client/link.ts';
import { Node } from '../../src/node/node.ts';
import type { NodeSession } from '../../src/node/node-session.ts';
import { ReplyWriter } from '../../src/resp/writer.ts';
import type { Machine } from './machine.ts';
import type { Listener, Network, ServerLink } from './network.ts';

export interface NodeHostOptions {
  readonly feedRecords: number;
  readonly generationCapacity: number;
  readonly leaseCapacity: number;
  /** How long ago it started, as far as it knows: followers of an earlier life are waited for that long ago, and not now. */
  readonly startedAgoMs: number;
}

/** A follower that has this much unread is not written to until it has read. */
const WINDOW_BYTES = 200;
/** As the server's own ticker (src/server/ticker.ts). */
const LEAST_TICK_MS = 1;
const MOST_TICK_MS = 100;

/** Used within one call only. */
const shared = new ReplyWriter();

interface Connection {
  readonly link: ServerLink;
  readonly session: NodeSession;
  hasPushes: boolean;
}

export class NodeHost implements Listener {
  readonly machine: Machine;
  readonly node: Node;
  readonly #bySession = new Map<NodeSession, Connection>();
  #pushScheduled = false;

  constructor(machine: Machine, network: Network, address: string, seed: number, options: NodeHostOptions) {
    const { startedAgoMs, ...capacities } = options;
    this.machine = machine;
    this.node = new Node({
      memoryBytes: 256 * 1024,
      eviction: 'tinylfu',
      random: new SeededRandom(seed),
      startMs: machine.clock.now() - startedAgoMs,
      version: 'simulated',
      maxKeyBytes: 64,
      maxValueBytes: 1024,
      ...capacities,
    });
    network.listen(address, this);
    this.#tick();
  }

  accept(link: ServerLink, from: string): LinkEvents {
    const session = this.node.openSession(this.#nowMs(), { address: from, kind: 'resp' });
    const connection: Connection = { link, session, hasPushes: false };
    this.#bySession.set(session, connection);
    link.onDrain = () => {
      if (connection.hasPushes) this.#push(connection);
    };
    return {
      onOpen: () => undefined,
      onBytes: (bytes, size) => this.#onBytes(connection, bytes, size),
      onClose: () => this.#forget(connection),
    };
  }

  #onBytes(connection: Connection, bytes: Uint8Array, size: number): void {
    const { session, link } = connection;
    if (session.closing) return;
    const out = shared;
    out.reset();
    this.node.onRequest(session, bytes, 0, size, this.#nowMs(), out);
    assert(out.length < session.outputLimitBytes, 'simulated replies are small');
    if (out.length > 0) link.write(out.bytes.subarray(0, out.length));
    if (session.closing) {
      link.destroy();
      this.#forget(connection);
    }
    if (this.node.hasPushes) this.#schedulePushes();
  }

  #forget(connection: Connection): void {
    if (!this.#bySession.delete(connection.session)) return;
    this.node.closeSession(connection.session);
    if (this.node.hasPushes) this.#schedulePushes();
  }

  #schedulePushes(): void {
    if (this.#pushScheduled) return;
    this.#pushScheduled = true;
    this.machine.scheduler.afterInput(() => {
      this.#pushScheduled = false;
      for (const session of this.node.takePushed()) {
        const connection = this.#bySession.get(session);
        if (connection !== undefined) this.#push(connection);
      }
    });
  }

  #push(connection: Connection): void {
    let hasMore = true;
    while (hasMore) {
      connection.hasPushes = connection.link.unsentBytes > WINDOW_BYTES;
      if (connection.hasPushes) return;
      const out = shared;
      out.reset();
      hasMore = this.node.onPush(connection.session, out);
      if (out.length > 0) connection.link.write(out.bytes.subarray(0, out.length));
    }
  }

  #tick(): void {
    const wantedMs = this.node.onTick(this.#nowMs());
    if (this.node.hasPushes) this.#schedulePushes();
    this.machine.scheduler.setTimer(Math.min(MOST_TICK_MS, Math.max(LEAST_TICK_MS, wantedMs)), () => this.#tick());
  }

  #nowMs(): number {
    return Math.floor(this.machine.clock.now());
  }
}
