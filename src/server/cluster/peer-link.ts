/**
 * Our link to one peer: the one connection over which we send to it. What it sends to us comes over the one that it made, so each direction breaks, fills up and comes
 * back by itself, and "who dialled whom first" needs no rule.
 *
 *   waiting ---- its time has come ----> dialling ----> greeting ---- both proofs are right ----> open
 *      ^--------------- anything goes wrong: close, and wait longer (50 ms, doubled up to 1 s) ------'
 *
 * It loses messages and says so in `dropped`: what is sent while it is not open, and what waits in it when it is cut. The protocol is made for that; queueing for
 * an absent peer would only deliver what is stale. What may wait in an open link is bounded: a peer that does not read is cut off rather than remembered. Long before that it is *full*, and those are told who have more to send and can wait
 * (copies are filled and caught up later: `cluster/streams.ts`).
 *
 * A half-open connection (a machine that lost its power, a firewall that forgot) looks open for ever: so it is pinged, and cut when pings stay unanswered.
 * No timers of its own: `tick` is called by the driver.
 */
import net from 'node:net';
import { BreakwaterError, messageOf } from '../../base/errors.ts';
import type { Message } from '../../cluster/messages.ts';
import { BROKEN, FRAME, FrameParser } from '../../wire/frame-parser.ts';
import { FrameWriter } from '../../wire/frame-writer.ts';
import type { Form } from '../../wire/hello.ts';
import { readMessage, type WireMessage, writeMessage } from '../../wire/messages.ts';
import { BROKEN as BROKEN_PIPE, PENDING, SENT, type WriteHandle, writeHandleOf } from '../direct-write.ts';
import { type LinkContext, STRANGER_BYTES } from './context.ts';
import { type Exchange, helloOf, isProof, makeNonce, proofOf, refusalOf } from './handshake.ts';
import type { MemberAddress } from './setup.ts';

export type LinkState = 'waiting' | 'dialling' | 'greeting' | 'open' | 'closed';

/** A connection that lasted so long was a good one: the next attempt comes soon. */
const GOOD_MS = 1000;

export class PeerLink {
  peer: MemberAddress;
  state: LinkState = 'waiting';
  /** The last round trip of a ping, ms; NaN before the first. */
  roundTripMs = Number.NaN;
  readonly #context: LinkContext;
  readonly #random: () => number;
  #socket: net.Socket | null = null;
  /** Beneath it. */
  #handle: WriteHandle | null = null;
  /** The kernel has not taken all of them yet. */
  #sendingBytes = 0;
  /** Called when it has. */
  #onSent: () => void = () => {};
  #parser = new FrameParser(STRANGER_BYTES);
  readonly #out = new FrameWriter();
  #nonce = '';
  #greeted = false;
  #nextDialMs = 0;
  #retryMs: number;
  #sinceMs = 0;
  #pingAtMs = 0;
  #pingSentMs = 0;
  #ping = 0;
  #answered = 0;
  #nowMs = 0;
  #isFull = false;

  constructor(peer: MemberAddress, context: LinkContext, random: () => number) {
    this.peer = peer;
    this.#context = context;
    this.#random = random;
    this.#retryMs = context.limits.retryMs;
  }

  get isOpen(): boolean {
    return this.state === 'open';
  }

  /** Bytes that wait to be sent. */
  get waitingBytes(): number {
    return this.#out.length + this.#sendingBytes + (this.#socket?.writableLength ?? 0);
  }

  /** Appends the message to what leaves with the next `flush`. */
  send(message: Message | Form): void {
    const { counters } = this.#context;
    if (this.state !== 'open') {
      counters.dropped += 1;
      return;
    }
    writeMessage(this.#out, message);
    counters.framesSent += 1;
  }

  /** One write for all that was said in this turn. Cuts the link when more than its bound waits. */
  flush(): void {
    this.#write();
    this.#judge();
  }

  #write(): void {
    const socket = this.#socket;
    if (socket === null || this.#out.length === 0) return;
    const { counters, limits } = this.#context;
    if (this.state === 'open' && this.#nowMs >= this.#pingAtMs) this.#addPing();
    if (this.waitingBytes > limits.outputBytes) {
      counters.cutForBuffer += 1;
      this.#drop(`more than ${limits.outputBytes} bytes waited for it to read`);
      return;
    }
    // They leave behind what the kernel has not taken yet.
    if (this.#sendingBytes > 0) return;
    const { bytes } = this.#out;
    counters.bytesSent += bytes.length;
    const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    switch (this.#context.writer.write(socket, this.#handle, view, this.#onSent)) {
      case SENT:
        this.#out.reset();
        return;
      case PENDING:
        this.#sendingBytes = bytes.length;
        this.#out.take();
        return;
      case BROKEN_PIPE:
        this.#drop('the connection is broken');
        return;
      default:
        socket.write(this.#out.take());
    }
  }

  tick(nowMs: number): void {
    this.#nowMs = nowMs;
    const { limits, counters } = this.#context;
    this.#judge();
    switch (this.state) {
      case 'waiting':
        if (nowMs >= this.#nextDialMs) this.#dial();
        return;
      case 'dialling':
      case 'greeting':
        if (nowMs - this.#sinceMs >= limits.helloMs) this.#drop('it did not answer in time');
        return;
      case 'open':
        if (nowMs < this.#pingAtMs) return;
        if (this.#ping - this.#answered >= limits.pings) {
          counters.cutSilent += 1;
          this.#drop('nobody answered at the other end of the link');
          return;
        }
        // Else it rides with what is said anyway (`flush`): a packet less, and a packet is what an idle cluster costs.
        if (nowMs >= this.#pingAtMs + limits.pingMs) {
          this.#addPing();
          this.flush();
        }
        return;
      case 'closed':
        return;
    }
  }

  /** It has another address: dialled there at once, unless a link to the old one is open. */
  move(host: string, linkPort: number): void {
    const { peer } = this;
    if (peer.host.toLowerCase() === host.toLowerCase() && peer.linkPort === linkPort) return;
    this.peer = { ...peer, host, linkPort };
    if (this.state === 'open' || this.state === 'closed') return;
    if (this.state !== 'waiting') this.#drop('it has another address now');
    this.#retryMs = this.#context.limits.retryMs;
    this.#nextDialMs = this.#nowMs;
  }

  close(): void {
    this.state = 'closed';
    this.#socket?.destroy();
    this.#socket = null;
  }

  // -- within

  #dial(): void {
    const { counters } = this.#context;
    counters.dialled += 1;
    this.state = 'dialling';
    this.#sinceMs = this.#nowMs;
    this.#greeted = false;
    this.#parser = new FrameParser(STRANGER_BYTES);
    this.#out.take();
    const { host, linkPort } = this.peer;
    const { input } = this.#context;
    const socket = net.connect({
      host,
      port: linkPort,
      noDelay: true,
      onread: {
        buffer: input,
        callback: (length) => {
          this.#onData(socket, input, length);
          return true;
        },
      },
    });
    this.#socket = socket;
    this.#onSent = () => {
      if (socket !== this.#socket) return;
      this.#sendingBytes = 0;
      this.flush();
    };
    socket.on('connect', () => this.#greet(socket));
    socket.on('drain', () => {
      if (socket === this.#socket) this.#judge();
    });
    socket.on('error', (error) => {
      if (socket === this.#socket) this.#drop(messageOf(error));
    });
    socket.on('close', () => {
      if (socket === this.#socket) this.#drop('it closed the connection');
    });
  }

  #greet(socket: net.Socket): void {
    if (socket !== this.#socket) return;
    this.#handle = writeHandleOf(socket);
    this.state = 'greeting';
    this.#nonce = makeNonce();
    const { setup, cluster, member } = this.#context;
    this.#say(helloOf(setup, cluster, member, this.#nonce, ''));
  }

  #onData(socket: net.Socket, chunk: Uint8Array, length: number): void {
    if (socket !== this.#socket) return;
    const { counters } = this.#context;
    counters.bytesReceived += length;
    const parser = this.#parser;
    parser.push(chunk, 0, length);
    let found = parser.next();
    for (; found === FRAME; found = parser.next()) {
      let message: WireMessage | null;
      try {
        message = readMessage(parser);
      } catch (error) {
        if (!(error instanceof BreakwaterError)) throw error;
        this.#refuse(error.message);
        return;
      }
      counters.framesReceived += 1;
      if (message === null) counters.unknownFrames += 1;
      else this.#take(message);
      if (socket !== this.#socket) return;
    }
    if (found === BROKEN) this.#refuse(parser.error);
  }

  #take(message: WireMessage): void {
    if (message.kind === 'ping' && message.isAnswer && this.state === 'open') {
      if (message.number === this.#ping) this.roundTripMs = performance.now() - this.#pingSentMs;
      this.#answered = Math.max(this.#answered, Math.min(message.number, this.#ping));
      return;
    }
    if (message.kind === 'turned-away' && this.state === 'open') {
      this.#drop(message.reason === 'forgotten' ? 'it says that we were forgotten' : 'it does not know us as a member');
      this.#context.onTurnedAway(this.peer.id, message);
      return;
    }
    if (message.kind !== 'hello' || this.state !== 'greeting' || this.#greeted) {
      this.#refuse(`a ${message.kind} came where none belongs`);
      return;
    }
    this.#greeted = true;
    const context = this.#context;
    const { setup, cluster, member } = context;
    const refusal = refusalOf(message, setup, cluster, this.#context.roster);
    if (refusal !== null) {
      this.#refuseHello(refusal.why);
      return;
    }
    if (message.member.id !== this.peer.id) {
      this.#refuseHello('another member answers at its address');
      return;
    }
    const exchange: Exchange = {
      dialler: setup.self,
      acceptor: this.peer.id,
      diallerNonce: this.#nonce,
      acceptorNonce: message.nonce,
    };
    if (!isProof(message.proof, proofOf(setup.secret, 'acceptor', exchange))) {
      this.#refuseHello('it does not know the secret of the cluster (--cluster-secret)');
      return;
    }
    this.#say(helloOf(setup, cluster, member, this.#nonce, proofOf(setup.secret, 'dialler', exchange)));
    this.state = 'open';
    this.#sinceMs = this.#nowMs;
    this.#ping = 0;
    this.#answered = 0;
    this.#pingAtMs = this.#nowMs;
    context.counters.opened += 1;
    context.onMember(message.member);
    context.onOpen(this.peer.id, message.cluster);
  }

  #addPing(): void {
    this.#pingAtMs = this.#nowMs + this.#context.limits.pingMs;
    this.#ping += 1;
    this.#pingSentMs = performance.now();
    writeMessage(this.#out, { kind: 'ping', number: this.#ping, isAnswer: false });
    this.#context.counters.framesSent += 1;
  }

  /** At once: greetings wait for no turn. */
  #say(message: WireMessage): void {
    writeMessage(this.#out, message);
    this.#context.counters.framesSent += 1;
    this.flush();
  }

  /** Is it full? */
  #judge(): void {
    const { fullBytes } = this.#context.limits;
    const isFull = this.waitingBytes > (this.#isFull ? fullBytes / 4 : fullBytes);
    if (isFull === this.#isFull) return;
    this.#isFull = isFull;
    if (isFull) this.#context.counters.full += 1;
    this.#context.onFull(this.peer.id, isFull);
  }

  #refuse(why: string): void {
    this.#context.counters.refusedFrames += 1;
    this.#drop(why);
  }

  #refuseHello(why: string): void {
    this.#context.counters.refusedHellos += 1;
    this.#drop(why);
  }

  #drop(why: string): void {
    const { counters, limits } = this.#context;
    const socket = this.#socket;
    this.#socket = null;
    this.#handle = null;
    this.#sendingBytes = 0;
    socket?.destroy();
    if (this.state === 'open') {
      counters.closed += 1;
      if (this.#nowMs - this.#sinceMs >= GOOD_MS) this.#retryMs = limits.retryMs;
    }
    if (this.state !== 'closed') this.state = 'waiting';
    this.#out.take();
    this.#judge();
    this.roundTripMs = Number.NaN;
    // Half to whole of it: members that lost the same peer do not come back at one moment.
    this.#nextDialMs = this.#nowMs + this.#retryMs * (0.5 + this.#random() / 2);
    this.#retryMs = Math.min(limits.retryMaxMs, 2 * this.#retryMs);
    this.#context.complain(this.peer.id, why);
  }
}
