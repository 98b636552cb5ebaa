/**
 * A session of the node for the server's own use: the HTTP face speaks RESP to it in memory, through the same three doors as
 * everyone. One call, one reply, nothing awaited: the node is a plain function.
 */
import type { Clock } from '../base/clock.ts';
import { type Reply, ReplyError } from '../resp/reply.ts';
import { REPLY, ReplyParser } from '../resp/reply-parser.ts';
import { type Command, RequestWriter } from '../resp/request-writer.ts';
import { ReplyWriter } from '../resp/writer.ts';
import type { ListenedNode, ListenedSession } from './resp-listener.ts';

export class LocalSession {
  readonly #run: (request: RequestWriter, out: ReplyWriter) => void;
  readonly #close: () => void;
  readonly #request = new RequestWriter();
  readonly #out = new ReplyWriter();
  readonly #parser = new ReplyParser();

  /** Opens a session of `node`, named `address` in CLIENT LIST. `onCalled`: after each command, for what it has to tell others. */
  static open<S extends ListenedSession>(
    node: ListenedNode<S>,
    clock: Clock,
    kind: 'http' | 'internal',
    address: string,
    onCalled: () => void = () => {},
  ): LocalSession {
    const session = node.openSession(Math.floor(clock.now()), { address, kind });
    session.outputLimitBytes = Number.MAX_SAFE_INTEGER;
    return new LocalSession(
      (request, out) => {
        node.onRequest(session, request.bytes, 0, request.length, Math.floor(clock.now()), out);
        onCalled();
      },
      () => node.closeSession(session),
    );
  }

  private constructor(run: (request: RequestWriter, out: ReplyWriter) => void, close: () => void) {
    this.#run = run;
    this.#close = close;
  }

  /** Runs one command and returns its reply; an error reply is returned, not thrown. */
  call(command: Command): Reply {
    const out = this.#out;
    this.#request.reset();
    this.#request.command(command);
    out.reset();
    this.#run(this.#request, out);
    this.#parser.begin(out.bytes, 0, out.length);
    const state = this.#parser.next();
    const reply = state === REPLY ? this.#parser.value : new ReplyError('ERR the node gave no reply');
    this.#parser.next();
    this.#parser.finish();
    return reply;
  }

  close(): void {
    this.#close();
  }
}

/** Code and text of an error reply; null for any other. */
export function failureOf(reply: unknown): { readonly code: string; readonly text: string } | null {
  if (!(reply instanceof ReplyError)) return null;
  const space = reply.message.indexOf(' ');
  return { code: reply.code, text: space === -1 ? reply.message : reply.message.slice(space + 1) };
}
