/**
 * What is said before the first command: HELLO 3 with the credentials, or for a server that does not know RESP3 plain AUTH. The
 * connection's name and the library's name are sent along, and whatever the server thinks of them is ignored.
 */
import { BreakwaterError } from '../base/errors.ts';
import { type Reply, ReplyError, replyMap, replyText } from '../resp/reply.ts';
import type { Command } from '../resp/request-writer.ts';

export interface HandshakeOptions {
  readonly protocol: 2 | 3;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly name: string | undefined;
}

/** What was agreed on, and what the server said of itself. */
export interface Greeting {
  readonly protocol: 2 | 3;
  /** It said that it is a member of a cluster; only HELLO tells. */
  readonly isCluster: boolean;
}

/** Sends commands in one write; resolves with all replies, errors included. */
export type SendAll = (commands: readonly Command[]) => Promise<Reply[]>;

/**
 * Introduces the client: one round trip, two when RESP3 is refused. Resolves with what was agreed on.
 * @throws BreakwaterError `CLIENT_AUTH_FAILED`, `CLIENT_CONNECT_FAILED` (the server refuses for another reason)
 */
export async function handshake(send: SendAll, options: HandshakeOptions): Promise<Greeting> {
  const courtesies: Command[] = [['CLIENT', 'SETINFO', 'LIB-NAME', 'breakwater']];
  if (options.name !== undefined) courtesies.push(['CLIENT', 'SETNAME', options.name]);

  if (options.protocol === 3) {
    const auth = options.password === undefined ? [] : ['AUTH', options.username ?? 'default', options.password];
    const [answer] = await send([['HELLO', '3', ...auth], ...courtesies]);
    if (!(answer instanceof ReplyError)) return { protocol: 3, isCluster: isOfACluster(answer) };
    if (answer.code !== 'NOPROTO' && answer.code !== 'ERR') throw refusal(answer);
  }
  const auth =
    options.password === undefined
      ? ['PING']
      : options.username === undefined
        ? ['AUTH', options.password]
        : ['AUTH', options.username, options.password];
  const [answer] = await send([auth, ...courtesies]);
  if (answer instanceof ReplyError) throw refusal(answer, options.password !== undefined);
  return { protocol: 2, isCluster: false };
}

function isOfACluster(hello: Reply | undefined): boolean {
  return hello !== undefined && replyText(replyMap(hello)?.get('mode')) === 'cluster';
}

function refusal(answer: ReplyError, wasAuth = false): BreakwaterError {
  const auth = wasAuth || answer.code === 'WRONGPASS' || answer.code === 'NOAUTH' || answer.code === 'NOPERM';
  return auth
    ? new BreakwaterError('CLIENT_AUTH_FAILED', `cannot log in: the server replied "${answer.message}"`)
    : new BreakwaterError('CLIENT_CONNECT_FAILED', `cannot use the server: it replied "${answer.message}"`);
}
