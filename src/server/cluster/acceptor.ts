/**
 * The links that peers make to us: what they send, and nothing of ours but greetings and the answers to pings.
 *
 * Whoever connects is a stranger until both proofs were exchanged: few bytes, few of them at a time, and not for long. Then frames are taken as they come. A byte that is no frame, or a
 * frame that cannot be meant, ends the link, and is counted; nothing that arrives here may end the process. A peer that connects again replaces its earlier link.
 */
import net from 'node:net';
import { BreakwaterError } from '../../base/errors.ts';
import type { Member, NodeId } from '../../cluster/member.ts';
import { listenOn } from '../../http/listen.ts';
import { BROKEN, FRAME, FrameParser } from '../../wire/frame-parser.ts';
import { FrameWriter } from '../../wire/frame-writer.ts';
import type { Hello, Join, TurnedAway } from '../../wire/hello.ts';
import { readMessage, type WireMessage, writeMessage } from '../../wire/messages.ts';
import { adoptSocket } from '../adopt.ts';
import { type LinkContext, STRANGER_BYTES } from './context.ts';
import { type Exchange, helloOf, isProof, makeNonce, proofOf, refusalOf } from './handshake.ts';
import { nonsenseIn } from './sense.ts';

const BACKLOG = 256;
/** Answers to pings that a peer does not read are not piled up. */
const ANSWER_BYTES = 64 * 1024;

interface Incoming {
  readonly socket: net.Socket;
  readonly address: string;
  readonly sinceMs: number;
  readonly nonce: string;
  readonly parser: FrameParser;
  bytes: number;
  first: Hello | null;
  /** Set when it has proved who it is. */
  peer: Member | null;
  cluster: string;
  /** It has proved the secret, and is no member: it may ask to be one. */
  isGuest: boolean;
}

export class LinkAcceptor {
  readonly #context: LinkContext;
  readonly #server: net.Server;
  readonly #links = new Set<Incoming>();
  readonly #byPeer = new Map<NodeId, Incoming>();
  /** The newest life that was seen of each. */
  readonly #lives = new Map<NodeId, number>();
  readonly #out = new FrameWriter();
  #nowMs = 0;

  constructor(context: LinkContext) {
    this.#context = context;
    this.#server = net.createServer({ noDelay: true, pauseOnConnect: true, allowHalfOpen: true }, (socket) =>
      this.#accept(socket),
    );
    this.#server.on('error', () => {
      // After it listens: a connection that could not be accepted, of which there will be another.
      context.counters.refusedHellos += 1;
    });
  }

  /** @throws BreakwaterError `LISTEN_FAILED` */
  listen(port: number, host: string): Promise<number> {
    return listenOn(this.#server, port, host, BACKLOG, 'the links of members');
  }

  get count(): number {
    return this.#links.size;
  }

  isLinked(peer: NodeId): boolean {
    return this.#byPeer.has(peer);
  }

  /** It is no member any more. */
  part(peer: NodeId): void {
    const link = this.#byPeer.get(peer);
    if (link !== undefined) this.#turnAway(link, 'forgotten');
    this.#lives.delete(peer);
  }

  tick(nowMs: number): void {
    this.#nowMs = nowMs;
    for (const link of this.#links) {
      if (link.peer === null && nowMs - link.sinceMs >= this.#context.limits.helloMs) {
        this.#refuseHello(link, 'it did not say in time who it is');
      }
    }
  }

  async close(): Promise<void> {
    for (const link of [...this.#links]) this.#end(link);
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  // -- within

  #accept(accepted: net.Socket): void {
    const { counters, limits, input } = this.#context;
    counters.accepted += 1;
    let strangers = 0;
    for (const { peer } of this.#links) if (peer === null) strangers += 1;
    if (strangers >= limits.strangers) {
      counters.refusedHellos += 1;
      accepted.on('error', () => {});
      accepted.destroy();
      return;
    }
    const address = `${accepted.remoteAddress}:${accepted.remotePort}`;
    const socket = adoptSocket(accepted, input, (bytes, length) => {
      this.#onData(link, bytes, length);
      return this.#links.has(link);
    });
    const link: Incoming = {
      socket,
      address,
      sinceMs: this.#nowMs,
      nonce: makeNonce(),
      parser: new FrameParser(),
      bytes: 0,
      first: null,
      peer: null,
      cluster: '',
      isGuest: false,
    };
    this.#links.add(link);
    socket.on('error', () => {});
    socket.on('end', () => this.#end(link));
    socket.on('close', () => this.#end(link));
  }

  #onData(link: Incoming, chunk: Uint8Array, length: number): void {
    const { counters } = this.#context;
    if (!this.#links.has(link)) return;
    counters.bytesReceived += length;
    link.bytes += length;
    // What a peer has sent behind its last hello may be in the same chunk: so the first chunk that passes the bound is still looked at, and is no larger than a read.
    if (link.peer === null && link.bytes - length > STRANGER_BYTES) {
      this.#refuseHello(link, 'it sent too much before it said who it is');
      return;
    }
    const { parser } = link;
    parser.push(chunk, 0, length);
    let found = parser.next();
    for (; found === FRAME; found = parser.next()) {
      let message: WireMessage | null;
      try {
        message = readMessage(parser);
      } catch (error) {
        if (!(error instanceof BreakwaterError)) throw error;
        this.#refuse(link, error.message);
        return;
      }
      counters.framesReceived += 1;
      if (message === null) counters.unknownFrames += 1;
      else this.#take(link, message);
      if (!this.#links.has(link)) return;
    }
    if (found === BROKEN) this.#refuse(link, parser.error);
  }

  #take(link: Incoming, message: WireMessage): void {
    const context = this.#context;
    const { peer } = link;
    if (peer === null) {
      if (message.kind === 'join' && link.isGuest) this.#hear(link, message);
      else if (message.kind === 'hello' && !link.isGuest) this.#greet(link, message);
      else this.#refuse(link, `a ${message.kind} came before a hello`);
      return;
    }
    switch (message.kind) {
      case 'hello':
        this.#refuse(link, 'a hello came on a link that was open');
        return;
      case 'ping':
        if (message.isAnswer) this.#refuse(link, 'an answer came to a ping that was not sent');
        else if (link.socket.writableLength < ANSWER_BYTES)
          this.#say(link, { kind: 'ping', number: message.number, isAnswer: true });
        return;
      case 'form':
        if (context.cluster !== '' && message.cluster !== context.cluster) {
          this.#refuseHello(link, 'it belongs to another forming of the cluster');
          return;
        }
        link.cluster = message.cluster;
        context.onForm(peer.id, message);
        return;
      case 'swim-ping':
      case 'swim-ping-req':
      case 'swim-ack':
      case 'swim-nack':
      case 'swim-gossip':
      case 'swim-sync':
      case 'join':
      case 'welcome':
      case 'turned-away':
      case 'convene':
      case 'convened':
        // Members are agreed upon: nobody is asked for hearsay, and a member need not ask.
        context.counters.unknownFrames += 1;
        return;
      default: {
        // One of us does not belong to the cluster yet: what it says is lost, as on a link that is not open.
        if (context.cluster === '' || link.cluster !== context.cluster) {
          context.counters.dropped += 1;
          return;
        }
        const nonsense = nonsenseIn(message, peer.id, context.setup.rangeCount);
        if (nonsense !== null) this.#refuse(link, nonsense);
        else context.onMessage(peer.id, message);
      }
    }
  }

  #greet(link: Incoming, hello: Hello): void {
    const context = this.#context;
    const { setup, cluster, member } = context;
    // Who has no fingerprint was told nothing yet: it is asked for its proof, and heard.
    const isGuest = hello.setup === '' && hello.cluster === '';
    const refusal = isGuest ? null : refusalOf(hello, setup, cluster, context.roster);
    const exchange: Exchange = {
      dialler: hello.member.id,
      acceptor: setup.self,
      diallerNonce: hello.nonce,
      acceptorNonce: link.nonce,
    };
    if (link.first === null) {
      link.first = hello;
      // Also when it is refused: its log should say why as well as ours.
      this.#say(link, helloOf(setup, cluster, member, link.nonce, proofOf(setup.secret, 'acceptor', exchange)));
      if (refusal !== null) {
        if (refusal.reason === 'forgotten') this.#turnAway(link, 'forgotten');
        else if (refusal.reason === 'member') this.#turnAway(link, 'later');
        this.#refuseHello(link, refusal.why);
      }
      return;
    }
    if (refusal !== null) {
      this.#refuseHello(link, refusal.why);
      return;
    }
    const isSame = hello.nonce === link.first.nonce && hello.member.id === link.first.member.id;
    if (!isSame || !isProof(hello.proof, proofOf(setup.secret, 'dialler', exchange))) {
      this.#refuseHello(link, 'it does not know the secret of the cluster (--cluster-secret)');
      return;
    }
    if (isGuest) {
      link.isGuest = true;
      return;
    }
    const { id, incarnation } = hello.member;
    if (incarnation < (this.#lives.get(id) ?? 0)) {
      this.#refuseHello(
        link,
        'a later life of it was here before: two processes run as this member, or its clock was set back and it has no data directory',
      );
      return;
    }
    this.#lives.set(id, incarnation);
    link.peer = hello.member;
    link.cluster = hello.cluster;
    const earlier = this.#byPeer.get(id);
    this.#byPeer.set(id, link);
    if (earlier !== undefined) this.#end(earlier);
    context.onLinked(id);
    context.onMember(hello.member);
  }

  #hear(link: Incoming, { member }: Join): void {
    if (member.id !== link.first!.member.id) {
      this.#refuse(link, 'it asks for another than itself');
      return;
    }
    this.#context.onGuest(member, (answer) => {
      if (!this.#links.has(link)) return;
      this.#say(link, answer);
      this.#end(link);
    });
  }

  #turnAway(link: Incoming, reason: TurnedAway['reason']): void {
    this.#say(link, { kind: 'turned-away', reason, epoch: this.#context.roster.epoch });
    if (link.peer !== null) this.#end(link);
  }

  #say(link: Incoming, message: WireMessage): void {
    const { counters } = this.#context;
    writeMessage(this.#out, message);
    const bytes = this.#out.take();
    counters.framesSent += 1;
    counters.bytesSent += bytes.length;
    link.socket.write(bytes);
  }

  #refuse(link: Incoming, why: string): void {
    this.#context.counters.refusedFrames += 1;
    this.#context.complain(link.peer?.id ?? link.address, why);
    this.#end(link);
  }

  #refuseHello(link: Incoming, why: string): void {
    this.#context.counters.refusedHellos += 1;
    // Strangers are many: one line for all of them.
    const id = link.first?.member.id ?? '';
    this.#context.complain(this.#context.roster.ids.has(id) ? id : 'a stranger', why);
    this.#end(link);
  }

  #end(link: Incoming): void {
    if (!this.#links.delete(link)) return;
    // What was said to it (our hello) may leave first.
    link.socket.destroySoon();
    if (link.peer === null || this.#byPeer.get(link.peer.id) !== link) return;
    this.#byPeer.delete(link.peer.id);
    this.#context.onClosed(link.peer);
  }
}
