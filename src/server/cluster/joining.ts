/**
 * How a newcomer gets into a running cluster: it knows the link address of a member or two (seeds) and the secret, and nothing else.
 *
 *   newcomer   hello: of no cluster, without a fingerprint, a nonce
 *   member     hello: who I am, my nonce, my proof
 *   newcomer   hello: as before, my proof; join: who I want to be
 *   member     welcome: the cluster's identity, what all must have the same, the roster; or turned-away, and why
 *
 * The member that was asked proposes a roster with the newcomer in it, and answers when a majority of the voters has accepted that. The newcomer asks one seed after the other until one says yes, or no for ever. Asking twice does no
 * harm: who is in the roster is welcome. So a member without a data directory comes back by the same door.
 */
import net from 'node:net';
import { BreakwaterError, messageOf } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import type { Member } from '../../cluster/member.ts';
import type { RosterMember } from '../../cluster/roster.ts';
import { FRAME, FrameParser } from '../../wire/frame-parser.ts';
import { FrameWriter } from '../../wire/frame-writer.ts';
import type { Convene, Convened, Hello, Join, TurnedAway, Welcome } from '../../wire/hello.ts';
import { readMessage, type WireMessage, writeMessage } from '../../wire/messages.ts';
import { helloOf, isProof, makeNonce, proofOf } from './handshake.ts';
import type { Address } from './sources.ts';

export interface JoinRequest {
  readonly seeds: readonly Address[];
  readonly secret: string;
  /** Ourselves, as hellos say it. */
  readonly member: Member;
  readonly log: Log;
}

/** One seed has so long to answer: a change of the roster takes two round trips to the voters, at most 2 F each. */
const ANSWER_MS = 5000;
const RETRY_MS = 300;
const SAY_MS = 5000;
/** A welcome has the roster in it, with a home for each range and copy. */
const WELCOME_BYTES = 4 * 1024 * 1024;

const FOREVER: { readonly [R in Exclude<TurnedAway['reason'], 'later'>]: string } = {
  forgotten:
    'it was forgotten there ("breakwater forget"); "breakwater forget --undo" lets it come back, and another address makes another member of it',
  full: 'it has as many members as it can have',
  name: 'it is another one than --cluster-name says, or this node has another address there than --announce and --link-port say',
  zone: 'it is a member already, in another zone than --zone says, of a version that cannot change that; it is to be forgotten first',
};

/**
 * Resolves when it is a member.
 * @throws BreakwaterError `MEMBER_REFUSED`: it never will be, as things are
 */
export async function askToJoin({ seeds, secret, member, log }: JoinRequest): Promise<Welcome> {
  let saidMs = performance.now();
  for (let attempt = 0; ; attempt += 1) {
    const seed = seeds[attempt % seeds.length]!;
    let why: string;
    try {
      const answer = await converse(seed, { secret, member }, () => ({ kind: 'join', member: asked(member) }));
      // Of the list of one that is about to be formed: it is no member yet, and neither are we.
      if (answer.kind === 'welcome' && answer.cluster !== '') return answer;
      if (answer.kind === 'turned-away') throwIfForEver(seed, answer);
      why = 'it cannot say yes now: it has no majority of the voters, or another change is under way';
    } catch (error) {
      if (error instanceof BreakwaterError && error.code === 'MEMBER_REFUSED') throw error;
      why = messageOf(error);
    }
    if (performance.now() - saidMs >= SAY_MS) {
      saidMs = performance.now();
      log.info('waiting to be let into the cluster', { seed: `${seed.host}:${seed.linkPort}`, why });
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** @throws BreakwaterError `MEMBER_REFUSED` unless it may be let in later */
export function throwIfForEver({ host, linkPort }: Address, { reason }: TurnedAway): void {
  if (reason === 'later') return;
  throw new BreakwaterError('MEMBER_REFUSED', `cannot join the cluster of ${host}:${linkPort}: ${FOREVER[reason]}`);
}

/**
 * A conversation with whoever listens at the address, as a guest: greetings, then what `ask` makes of the other side's, and its answer. Resolves with that, or with the greeting itself where nothing is asked.
 * @param ask what to say to who has proved to know the secret; null: nothing
 * @throws Error why there is no answer; of a connection that was refused the system's own (`ECONNREFUSED`)
 */
export function converse(
  { host, linkPort }: Address,
  { secret, member }: Pick<JoinRequest, 'secret' | 'member'>,
  ask: (theirs: Hello) => Join | Convene | null,
  timeoutMs = ANSWER_MS,
): Promise<Hello | Welcome | TurnedAway | Convened> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port: linkPort, noDelay: true });
    const parser = new FrameParser(WELCOME_BYTES);
    const out = new FrameWriter();
    const nonce = makeNonce();
    const timer = setTimeout(() => end(new Error('it did not answer in time')), timeoutMs);
    let isGreeted = false;
    const end = (result: Hello | Welcome | TurnedAway | Convened | Error): void => {
      clearTimeout(timer);
      socket.destroy();
      if (result instanceof Error) reject(result);
      else resolve(result);
    };
    const say = (message: WireMessage): void => {
      writeMessage(out, message);
      socket.write(out.take());
    };
    const take = (message: WireMessage): void => {
      if (message.kind === 'welcome' || message.kind === 'turned-away' || message.kind === 'convened') {
        // Before the greeting nobody has proved anything: what it says is no reason to give up.
        end(isGreeted ? whole(message) : new Error('it turned us away before it said who it is'));
        return;
      }
      if (message.kind !== 'hello' || isGreeted) {
        end(new Error(`a ${message.kind} came where none belongs`));
        return;
      }
      const exchange = {
        dialler: member.id,
        acceptor: message.member.id,
        diallerNonce: nonce,
        acceptorNonce: message.nonce,
      };
      if (!isProof(message.proof, proofOf(secret, 'acceptor', exchange))) {
        end(new Error('it does not know the secret of the cluster (--cluster-secret)'));
        return;
      }
      isGreeted = true;
      const next = ask(message);
      if (next === null) {
        end(message);
        return;
      }
      say(helloOf(NO_SETUP, '', member, nonce, proofOf(secret, 'dialler', exchange)));
      say(next);
    };
    socket.on('connect', () => say(helloOf(NO_SETUP, '', member, nonce, '')));
    socket.on('error', (error) => end(error));
    socket.on('close', () => end(new Error('it closed the connection')));
    socket.on('data', (chunk) => {
      parser.push(chunk);
      try {
        for (let found = parser.next(); found === FRAME; found = parser.next()) {
          const message = readMessage(parser);
          if (message !== null) take(message);
          if (socket.destroyed) return;
        }
        if (parser.error !== '') end(new Error(parser.error));
      } catch (error) {
        end(error as Error);
      }
    });
  });
}

/** A welcome's topology is one of its facts. */
function whole<M extends Welcome | TurnedAway | Convened>(message: M): M {
  if (message.kind !== 'welcome' || message.topology === 'sharded') return message;
  return { ...message, facts: { ...message.facts, topology: message.topology } };
}

export const NO_SETUP = { fingerprint: '' };

/** What a newcomer asks, and how it is known to others. */
export function asked({ id, host, linkPort, zone, machine, weight }: Member): RosterMember {
  return { id, host, linkPort, zone, ...(machine === '' ? {} : { machine }), weight };
}
