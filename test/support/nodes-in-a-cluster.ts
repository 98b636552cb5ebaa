/**
 * Real nodes behind real sockets, and a map that the test makes: what clients of a cluster see, without the protocol by which members agree on it. Each node executes
 * what the map says it owns and sends clients elsewhere for the rest.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { SeededRandom } from '../../src/base/random.ts';
import type { Member } from '../../src/cluster/member.ts';
import { place } from '../../src/cluster/placement.ts';
import { Ranges } from '../../src/cluster/ranges.ts';
import type { OwnershipRecord } from '../../src/cluster/record.ts';
import { SlotMap } from '../../src/cluster/slot-map.ts';
import {
  type ClusterFace,
  COPIED,
  ELSEWHERE,
  FROZEN,
  OWNED,
  UNOWNED,
  UNSURE,
} from '../../src/commands/cluster-face.ts';
import { clusterViewOf } from '../../src/node/cluster-view.ts';
import { Node } from '../../src/node/node.ts';
import { ReplyWriter } from '../../src/resp/writer.ts';

export class ServedMember {
  readonly node: Node;
  readonly member: Member;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(node: Node, member: Member, server: Server) {
    this.node = node;
    this.member = member;
    this.#server = server;
  }

  static async start(number: number, weight = 1): Promise<ServedMember> {
    const id = (Math.imul(number + 1, 0x9e37_79b1) >>> 0).toString(16).padStart(8, '0').repeat(5);
    const node = new Node({
      memoryBytes: 16 * 1024 * 1024,
      eviction: 'tinylfu',
      random: new SeededRandom(number),
      startMs: Date.now(),
      version: '0.0.0',
      nodeId: id,
    });
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const member: Member = {
      id,
      host: '127.0.0.1',
      port,
      httpPort: 0,
      linkPort: (port + 10_000) % 65_536,
      zone: '',
      machine: `machine-${number}`,
      weight,
      incarnation: 1,
    };
    const served = new ServedMember(node, member, server);
    server.on('connection', (socket) => served.#serve(socket));
    return served;
  }

  get port(): number {
    return this.member.port;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    const session = this.node.openSession(Date.now(), { address: 'client:1', kind: 'resp' });
    session.outputLimitBytes = 64 * 1024 * 1024;
    const out = new ReplyWriter();
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#sockets.delete(socket);
      this.node.closeSession(session);
    });
    socket.on('data', (chunk: Buffer) => {
      this.node.onRequest(session, chunk, 0, chunk.length, Date.now(), out);
      socket.write(out.take());
      if (session.closing) socket.end();
    });
  }
}

export class NodesInACluster {
  readonly members: readonly ServedMember[];
  map: SlotMap;
  /** Slots that their owner is handing over. */
  readonly frozen = new Set<number>();
  /** Members without a lease. */
  readonly unsure = new Set<string>();

  private constructor(members: readonly ServedMember[], ranges: Ranges, copies: number) {
    this.members = members;
    const all = members.map(({ member }) => member);
    this.map = SlotMap.empty(ranges, all).withRecords(
      place(all, ranges, [], { copies }).map(
        ({ owner, inSync }, range): OwnershipRecord => ({ range, ballot: { epoch: 1, node: owner! }, owner, inSync }),
      ),
    );
    for (const served of members) served.node.context.cluster = this.#faceOf(served.member.id);
  }

  static async start(
    count: number,
    ranges = new Ranges(64),
    { weights = [], copies = 2 }: { readonly weights?: readonly number[]; readonly copies?: number } = {},
  ): Promise<NodesInACluster> {
    return new NodesInACluster(
      await Promise.all(Array.from({ length: count }, (_, number) => ServedMember.start(number, weights[number]))),
      ranges,
      copies,
    );
  }

  ownerOf(slot: number): ServedMember {
    return this.members.find(({ member }) => member.id === this.map.ownerOf(slot))!;
  }

  /** The range of this slot has a new owner, which has none of its keys (a cache may lose them). */
  move(slot: number, to: ServedMember): void {
    const { range, ballot, inSync } = this.map.recordOf(slot);
    const id = to.member.id;
    this.map = this.map.withRecords([
      {
        range,
        ballot: { epoch: ballot.epoch + 1, node: id },
        owner: id,
        inSync: [id, ...inSync.filter((one) => one !== id)],
      },
    ]);
  }

  async close(): Promise<void> {
    await Promise.all(this.members.map((served) => served.close()));
  }

  #faceOf(self: string): ClusterFace {
    const viewOf = () =>
      clusterViewOf(this.map, () => ({ health: 'online', pingSentMs: 0, pongReceivedMs: Date.now() }), {
        self,
        isOk: !this.unsure.has(self),
        framesSent: 1,
        framesReceived: 1,
      });
    return {
      answerAside: () => false,
      get view() {
        return viewOf();
      },
      member: {
        drain: unasked,
        move: unasked,
        rebalance: unasked,
        forget: unasked,
        pardon: unasked,
        voters: unasked,
      },
      get isVouching() {
        return viewOf().isOk;
      },
      spread: () => {
        throw new Error('these members invalidate nothing together');
      },
      forward: () => {
        throw new Error('these members ask nothing of each other');
      },
      hold: () => false,
      copyLagMs: () => Number.POSITIVE_INFINITY,
      wait: () => {
        throw new Error('these members have no copies');
      },
      replication: { offset: 0, copies: [] },
      stateOf: (slot) => {
        if (this.unsure.has(self)) return UNSURE;
        const { owner, inSync } = this.map.recordOf(slot);
        if (owner === self) return this.frozen.has(slot) ? FROZEN : OWNED;
        if (owner === null) return UNOWNED;
        return inSync.includes(self) ? COPIED : ELSEWHERE;
      },
      ownerOf: (slot) => viewOf().members.find(({ id }) => id === this.map.ownerOf(slot)) ?? null,
    };
  }
}

function unasked(): never {
  throw new Error('these members take no orders');
}
