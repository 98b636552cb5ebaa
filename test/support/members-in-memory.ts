/** Members of a cluster in one process, over a network that is a queue and a clock that the test turns; and clients whose replies come when they come. */
import assert from 'node:assert/strict';
import { SeededRandom } from '../../src/base/random.ts';
import type { Member, NodeId } from '../../src/cluster/member.ts';
import type { Message } from '../../src/cluster/messages.ts';
import { slotOf } from '../../src/hash/slot.ts';
import { ClusterNode } from '../../src/node/cluster-node.ts';
import type { MinorityMode } from '../../src/node/gutter.ts';
import type { NodeSession } from '../../src/node/node-session.ts';
import type { WriteMode } from '../../src/node/write-modes.ts';
import { type Reply, ReplyError, replyText } from '../../src/resp/reply.ts';
import { REPLY, ReplyParser } from '../../src/resp/reply-parser.ts';
import { type Command, RequestWriter } from '../../src/resp/request-writer.ts';
import { ReplyWriter } from '../../src/resp/writer.ts';

const NOTHING = new Uint8Array(0);
export const START = 1_700_000_000_000;
export const RANGES = 16;

export function idOf(index: number): NodeId {
  return (index + 1).toString(16).padStart(40, '0');
}

export class Client {
  readonly replies: unknown[] = [];
  /** What it was told unasked (RESP3). */
  readonly pushes: unknown[][] = [];
  readonly #cluster: Cluster;
  readonly node: ClusterNode;
  readonly session: NodeSession;
  readonly #parser = new ReplyParser((kind, items) => this.pushes.push([kind, ...items.map(plain)]));

  constructor(cluster: Cluster, index: number, isProxied = false) {
    this.#cluster = cluster;
    this.node = cluster.nodes[index]!;
    this.session = this.node.openSession(cluster.nowMs, { address: 'test:1', kind: 'resp', isProxied });
    cluster.clients.push(this);
  }

  /** Sends all of them in one piece. What is answered by now is in `replies`. */
  send(...commands: Command[]): void {
    const request = new RequestWriter();
    for (const command of commands) request.command(command);
    const out = new ReplyWriter();
    this.node.onRequest(this.session, request.bytes, 0, request.length, this.#cluster.nowMs, out);
    this.read(out);
  }

  read(out: ReplyWriter): void {
    this.#parser.begin(out.bytes, 0, out.length);
    while (this.#parser.next() === REPLY) this.replies.push(plain(this.#parser.value));
    this.#parser.finish();
  }

  /** Sends one, lets time pass until it is answered, and returns the answer. */
  call(...command: Command): unknown {
    assert.equal(this.replies.length, 0, 'what was asked before is answered');
    this.send(command);
    for (let ms = 0; ms < 5000 && this.replies.length === 0; ms += 5) this.#cluster.pass(5);
    assert.equal(this.replies.length, 1, `${String(command[0])} is answered`);
    return this.replies.pop();
  }
}

/** Text for text, `-` before an error. */
function plain(reply: Reply): unknown {
  if (reply instanceof ReplyError) return `-${reply.message}`;
  if (Array.isArray(reply)) return reply.map(plain);
  return replyText(reply) ?? reply;
}

export class Cluster {
  nowMs = START;
  readonly nodes: ClusterNode[];
  readonly clients: Client[] = [];
  /** `from to` of members that do not hear each other. */
  readonly cuts = new Set<string>();
  readonly dead = new Set<number>();
  /** What is on its way and this says yes to stays there until `release`. */
  holds: (message: Message, from: number, to: number) => boolean = () => false;
  readonly held: { readonly from: number; readonly to: number; readonly message: Message }[] = [];
  readonly #queue: { readonly from: number; readonly to: number; readonly message: Message }[] = [];
  readonly #members: readonly Member[];
  readonly #copies: number;
  readonly #voters: readonly NodeId[];
  readonly #writeModes: Readonly<Record<string, WriteMode>>;
  readonly #minorityModes: Readonly<Record<string, MinorityMode>>;
  readonly #lives = new Map<number, number>();

  constructor(
    size = 3,
    copies = 2,
    writeModes: Readonly<Record<string, WriteMode>> = {},
    zones: readonly string[] = [],
    /** How many vote at first. */
    voters = size,
    minorityModes: Readonly<Record<string, MinorityMode>> = {},
  ) {
    const members = Array.from({ length: size }, (_, index): Member => {
      const host = `10.0.0.${index + 1}`;
      return {
        id: idOf(index),
        host,
        port: 7379,
        httpPort: 0,
        linkPort: 17_379,
        zone: zones[index] ?? '',
        machine: '',
        weight: 1,
        incarnation: 1,
      };
    });
    this.#voters = members.slice(0, voters).map(({ id }) => id);
    this.#members = members;
    this.#copies = copies;
    this.#writeModes = writeModes;
    this.#minorityModes = minorityModes;
    this.nodes = members.map((_, index) => this.#make(index, false));
    // Founding, first records, reigns, copies in sync.
    this.pass(4000);
    for (const node of this.nodes) assert.equal(node.isOk, true);
    assert.equal(
      this.nodes.reduce((sum, node) => sum + node.ownedCount, 0),
      RANGES,
    );
  }

  /** It begins anew with nothing, and what was on its way to it is lost. Its clients' connections are closed. */
  restart(index: number): void {
    const old = this.nodes[index];
    this.#lives.set(index, (this.#lives.get(index) ?? 1) + 1);
    this.nodes[index] = this.#make(index, true);
    this.clients.splice(0, this.clients.length, ...this.clients.filter(({ node }) => node !== old));
    this.held.splice(0, this.held.length, ...this.held.filter(({ to }) => to !== index));
  }

  #make(index: number, hasForgotten: boolean): ClusterNode {
    const life = this.#lives.get(index) ?? 1;
    return new ClusterNode({
      node: {
        memoryBytes: 1024 * 1024,
        eviction: 'tinylfu',
        random: new SeededRandom(1000 * (life - 1) + index + 1),
        startMs: this.nowMs,
        version: '0.0.0',
        leaseCapacity: 256,
        generationCapacity: 256,
        onInternalError: (error) => {
          throw error;
        },
      },
      cluster: {
        self: idOf(index),
        members: this.#members.map((member, n) => (n === index ? { ...member, incarnation: life } : member)),
        voters: this.#voters,
        rangeCount: RANGES,
        copies: this.#copies,
        writeModes: this.#writeModes,
        minorityModes: this.#minorityModes,
        isFounder: index === 0,
        isDurable: false,
        restored: null,
        hasForgotten,
      },
    });
  }

  cut(index: number): void {
    for (let other = 0; other < this.nodes.length; other += 1) {
      this.cuts.add(`${index} ${other}`);
      this.cuts.add(`${other} ${index}`);
    }
  }

  pass(ms: number): void {
    const untilMs = this.nowMs + ms;
    while (this.nowMs < untilMs) {
      this.nowMs += 5;
      this.nodes.forEach((node, index) => {
        if (!this.dead.has(index)) node.onTick(this.nowMs);
      });
      this.settle();
    }
  }

  /** Delivers everything that is on its way, and what comes of it. */
  settle(): void {
    for (let again = true; again; ) {
      this.nodes.forEach((node, from) => {
        for (const effect of node.takeEffects()) {
          if (effect.kind !== 'send' || this.dead.has(from)) continue;
          const to = this.nodes.findIndex(({ core }) => core.self === effect.to);
          this.#queue.push({ from, to, message: effect.message });
        }
      });
      again = this.#queue.length > 0;
      for (const { from, to, message } of this.#queue.splice(0)) {
        if (this.dead.has(to) || this.cuts.has(`${from} ${to}`)) continue;
        if (this.holds(message, from, to)) {
          this.held.push({ from, to, message });
          continue;
        }
        this.nodes[to]!.onMessage(idOf(from), message, this.nowMs);
      }
    }
    for (const node of this.nodes) {
      if (!node.hasPushes) continue;
      for (const session of node.takePushed()) {
        const client = this.clients.find((each) => each.session === session);
        const out = new ReplyWriter();
        while (node.onPush(session, out));
        // What a listener does: nothing of a session that is halted is read, and then it goes on.
        if (!session.halted) node.onRequest(session, NOTHING, 0, 0, this.nowMs, out);
        client?.read(out);
      }
    }
  }

  /** What was held arrives. */
  release(): void {
    this.holds = () => false;
    for (const { from, to, message } of this.held.splice(0)) this.nodes[to]!.onMessage(idOf(from), message, this.nowMs);
    this.settle();
  }

  ownerOf(key: string): number {
    const bytes = new TextEncoder().encode(key);
    const range = Math.floor(slotOf(bytes, 0, bytes.length) / (16_384 / RANGES));
    return this.nodes.findIndex((node, index) => !this.dead.has(index) && node.guard.isOwned(range));
  }

  copyOf(key: string): number {
    const bytes = new TextEncoder().encode(key);
    const range = Math.floor(slotOf(bytes, 0, bytes.length) / (16_384 / RANGES));
    const { owner, inSync } = this.nodes[this.ownerOf(key)]!.core.views.chosen[range]!;
    return this.nodes.findIndex(({ core }) => core.self === inSync.find((id) => id !== owner));
  }

  at(key: string): Client {
    return new Client(this, this.ownerOf(key));
  }
}
