/**
 * The member before it is one, where it was told where to look and not whom to find: its link port is open to others that gather, and it asks whom it finds, until a cluster has let it in or a list stands. What is decided is decided in
 * `gathering.ts`; here are the sockets.
 */
import net from 'node:net';
import { BreakwaterError, messageOf } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { checkMember, type Member } from '../../cluster/member.ts';
import type { Topology } from '../../cluster/topology.ts';
import { listenOn } from '../../http/listen.ts';
import { FRAME, FrameParser } from '../../wire/frame-parser.ts';
import { FrameWriter } from '../../wire/frame-writer.ts';
import type { Facts, Hello, Welcome } from '../../wire/hello.ts';
import { readMessage, type WireMessage, writeMessage } from '../../wire/messages.ts';
import type { Discovery } from './discovery.ts';
import { type Answer, type Convocation, Gathering, listOf, PLEDGE_MS } from './gathering.ts';
import { helloOf, isProof, makeNonce, proofOf } from './handshake.ts';
import { asked, converse, NO_SETUP, throwIfForEver } from './joining.ts';
import { defaultReplicas, factsOf, makeSetup, type SetupWishes } from './setup.ts';
import { type Address, shown } from './sources.ts';

/** What a cluster that we form is to be. */
export type Wishes = Pick<SetupWishes, 'voters' | 'ranges' | 'takeoverMs' | 'crashFastPath'> & {
  readonly topology: Topology;
  /** null: `defaultReplicas`. */
  readonly replicas: number | null;
};

export interface GatherRequest {
  readonly discovery: Discovery;
  readonly name: string;
  readonly secret: string;
  readonly wishes: Wishes;
  /** Members that are to be there before a cluster is formed; null: we only join one. */
  readonly expect: number | null;
  /** Ourselves, as hellos say it. */
  readonly member: Member;
  readonly bind: string;
  readonly log: Log;
  /** What is waited for, whenever it is something else. */
  readonly onWaiting: (why: string) => void;
}

/** Let into a cluster, or of a list that stands. */
export type GatherEnd =
  | { readonly kind: 'joined'; readonly welcome: Welcome }
  | { readonly kind: 'listed'; readonly facts: Facts };

const TURN_MS = 100;
const ASK_AGAIN_MS = 1000;
const SAY_AGAIN_MS = 30_000;
const BACKLOG = 128;
const MOST_STRANGERS = 64;
const STRANGER_MS = 5000;
const STRANGER_BYTES = 128 * 1024;

/** @throws BreakwaterError `LISTEN_FAILED`, `MEMBER_REFUSED`, `CONFIG_INVALID` */
export async function gather(request: GatherRequest): Promise<GatherEnd> {
  const gatherer = new Gatherer(request);
  try {
    return await gatherer.run();
  } finally {
    await gatherer.close();
  }
}

class Gatherer {
  readonly #request: GatherRequest;
  readonly #gathering: Gathering;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  /** When each address may be asked again; Infinity: it is being asked. */
  readonly #askAtMs = new Map<string, number>();
  #end: GatherEnd | null = null;
  #failure: unknown = null;
  #isConvening = false;
  #said = '';
  #saidMs = 0;

  constructor(request: GatherRequest) {
    this.#request = request;
    const { member, expect } = request;
    this.#gathering = new Gathering({
      self: member,
      expect,
      setupOf: (members) => this.#setupOf(members).fingerprint,
    });
    this.#server = net.createServer({ noDelay: true }, (socket) => this.#accept(socket));
    // After it listens: a connection that could not be accepted, of which there will be another.
    this.#server.on('error', () => {});
  }

  async run(): Promise<GatherEnd> {
    const { member, bind, discovery } = this.#request;
    await listenOn(this.#server, member.linkPort, bind, BACKLOG, 'the links of members');
    for (;;) {
      const nowMs = performance.now();
      discovery.tick(nowMs);
      this.#gathering.onFound(discovery.found, discovery.isWhole, discovery.problems);
      this.#askAll(nowMs);
      this.#turn(nowMs);
      if (this.#failure !== null) throw this.#failure;
      if (this.#end !== null) return this.#end;
      await new Promise((resolve) => setTimeout(resolve, TURN_MS));
    }
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  // -- asking

  #askAll(nowMs: number): void {
    for (const address of this.#request.discovery.found) {
      const name = shown(address);
      if (nowMs < (this.#askAtMs.get(name) ?? 0)) continue;
      this.#askAtMs.set(name, Number.POSITIVE_INFINITY);
      void this.#ask(address).then((answer) => {
        this.#askAtMs.set(name, performance.now() + ASK_AGAIN_MS);
        if (answer !== null) this.#gathering.onAnswer(address, answer, performance.now());
      });
    }
  }

  /** null: it is the end. */
  async #ask(address: Address): Promise<Answer | null> {
    const { member } = this.#request;
    try {
      const answer = await converse(address, this.#request, (theirs) =>
        isGathering(theirs) ? null : { kind: 'join', member: asked(member) },
      );
      if (answer.kind === 'hello') {
        checkMember(answer.member);
        return { kind: 'gathers', member: answer.member };
      }
      if (answer.kind === 'welcome') {
        const { cluster, facts } = answer;
        this.#end ??= cluster === '' ? { kind: 'listed', facts } : { kind: 'joined', welcome: answer };
        return null;
      }
      if (answer.kind === 'turned-away') {
        throwIfForEver(address, answer);
        return { kind: 'doubt', why: 'it is of a cluster, and cannot let anybody in now' };
      }
      return { kind: 'doubt', why: `a ${answer.kind} came where none belongs` };
    } catch (error) {
      if (error instanceof BreakwaterError && error.code === 'MEMBER_REFUSED') {
        this.#failure = error;
        return null;
      }
      if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') return { kind: 'nobody' };
      return { kind: 'doubt', why: messageOf(error) };
    }
  }

  // -- the list

  #turn(nowMs: number): void {
    if (this.#isConvening) return;
    try {
      const plan = this.#gathering.plan(nowMs);
      if (plan.kind === 'wait') this.#say(plan.why, nowMs);
      else {
        this.#isConvening = true;
        void this.#convene(plan.members).finally(() => {
          this.#isConvening = false;
        });
      }
    } catch (error) {
      this.#failure = error;
    }
  }

  async #convene(members: readonly Member[]): Promise<void> {
    const { member } = this.#request;
    const setup = this.#setupOf(members);
    const convocation: Convocation = { setup: setup.fingerprint, members: setup.members.map(({ id }) => id) };
    const own = this.#gathering.onConvened(convocation, performance.now());
    if (own !== null) return;
    const answers = await Promise.all(
      members.map(async (each): Promise<string | null> => {
        if (each.id === member.id) return null;
        try {
          const answer = await converse(
            each,
            this.#request,
            (theirs) =>
              isGathering(theirs) && theirs.member.id === each.id ? { kind: 'convene', ...convocation } : null,
            PLEDGE_MS / 3,
          );
          if (answer.kind !== 'convened') return `${shown(each)} gathers no more`;
          return answer.isAgreed ? null : `${shown(each)} does not agree: ${answer.why}`;
        } catch (error) {
          return `${shown(each)}: ${messageOf(error)}`;
        }
      }),
    );
    const why = answers.find((answer) => answer !== null);
    if (why === undefined) this.#end ??= { kind: 'listed', facts: factsOf(setup) };
    else this.#say(why, performance.now());
  }

  #setupOf(members: readonly Member[]) {
    const { name, secret, wishes, member } = this.#request;
    const able = members.filter(({ weight }) => weight > 0).length;
    return makeSetup({
      ...wishes,
      replicas: wishes.replicas ?? defaultReplicas(able, wishes.topology),
      name,
      secret,
      members: listOf(members),
      self: { host: member.host, linkPort: member.linkPort, id: member.id },
    });
  }

  /** Who asks us. */
  #accept(socket: net.Socket): void {
    if (this.#sockets.size >= MOST_STRANGERS) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    const { secret, member } = this.#request;
    const parser = new FrameParser(STRANGER_BYTES);
    const out = new FrameWriter();
    const nonce = makeNonce();
    let first: Hello | null = null;
    let isProved = false;
    socket.setTimeout(STRANGER_MS, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
    const say = (message: WireMessage): void => {
      writeMessage(out, message);
      socket.write(out.take());
    };
    const exchangeOf = (hello: Hello) => ({
      dialler: hello.member.id,
      acceptor: member.id,
      diallerNonce: hello.nonce,
      acceptorNonce: nonce,
    });
    const take = (message: WireMessage): void => {
      if (message.kind === 'hello' && first === null) {
        first = message;
        // To members of a cluster too: they see that somebody is here who is of none.
        say(helloOf(NO_SETUP, '', member, nonce, proofOf(secret, 'acceptor', exchangeOf(message))));
      } else if (
        message.kind === 'hello' &&
        !isProved &&
        isProof(message.proof, proofOf(secret, 'dialler', exchangeOf(first!)))
      ) {
        isProved = true;
      } else if (message.kind === 'convene' && isProved) {
        const why = this.#end === null ? this.#gathering.onConvened(message, performance.now()) : 'it gathers no more';
        say({ kind: 'convened', isAgreed: why === null, why: why === null ? '' : why.slice(0, 500) });
        socket.end();
      } else if (message.kind === 'join' && isProved) {
        say({ kind: 'turned-away', reason: 'later', epoch: 0 });
        socket.end();
      } else socket.destroy();
    };
    socket.on('data', (chunk) => {
      parser.push(chunk);
      try {
        for (let found = parser.next(); found === FRAME; found = parser.next()) {
          const message = readMessage(parser);
          if (message !== null) take(message);
          if (socket.destroyed) return;
        }
        if (parser.error !== '') socket.destroy();
      } catch {
        // Bytes that are no frame, from whoever they are.
        socket.destroy();
      }
    });
  }

  #say(why: string, nowMs: number): void {
    if (why === this.#said && nowMs - this.#saidMs < SAY_AGAIN_MS) return;
    // "is being asked" between two answers is no news.
    if (this.#said !== '' && why.endsWith('is being asked')) return;
    this.#said = why;
    this.#saidMs = nowMs;
    this.#request.log.info('waiting for a cluster', { why });
    this.#request.onWaiting(why);
  }
}

/** Of no cluster and of no list. */
function isGathering({ cluster, setup }: Hello): boolean {
  return cluster === '' && setup === '';
}
