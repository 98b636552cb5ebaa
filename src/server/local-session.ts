/**
 * Sessions of the node for the server's own use: the HTTP face speaks RESP to it in memory, through the same doors as everyone.
 *
 * A node of its own answers at once, and one session is enough. In a cluster a command may wait, for copies or for the member that owns its key, and what is asked behind it in the same session waits as
 * well; so each command that is under way has a session to itself, taken from those that are free.
 */
import type { Clock } from '../base/clock.ts';
import { type Reply, ReplyError } from '../resp/reply.ts';
import { REPLY, ReplyParser } from '../resp/reply-parser.ts';
import { type Command, RequestWriter } from '../resp/request-writer.ts';
import { ReplyWriter } from '../resp/writer.ts';
import type { ListenedNode, ListenedSession } from './resp-listener.ts';

/** Commands under way at the same time; one more is refused. */
export const MAX_UNDER_WAY = 1024;

const NOTHING = new Uint8Array(0);
const GONE = 'TRYAGAIN The node is shutting down';
const TOO_MANY = 'TRYAGAIN Too many requests of this member wait for others';

export class LocalSession<S extends ListenedSession = ListenedSession> {
  readonly #node: ListenedNode<S>;
  readonly #clock: Clock;
  readonly #kind: 'http' | 'internal';
  readonly #address: string;
  readonly #onCalled: () => void;
  readonly #request = new RequestWriter();
  readonly #out = new ReplyWriter();
  readonly #free: S[] = [];
  readonly #waiting = new Map<S, (reply: Reply) => void>();
  #isClosed = false;

  /** Opens a session of `node`, named `address` in CLIENT LIST. `onCalled`: after each command, for what it has to tell others. */
  static open<S extends ListenedSession>(
    node: ListenedNode<S>,
    clock: Clock,
    kind: 'http' | 'internal',
    address: string,
    onCalled: () => void = () => {},
  ): LocalSession<S> {
    const local = new LocalSession(node, clock, kind, address, onCalled);
    local.#free.push(local.#openOne());
    return local;
  }

  private constructor(
    node: ListenedNode<S>,
    clock: Clock,
    kind: 'http' | 'internal',
    address: string,
    onCalled: () => void,
  ) {
    this.#node = node;
    this.#clock = clock;
    this.#kind = kind;
    this.#address = address;
    this.#onCalled = onCalled;
  }

  /** Runs one command and resolves with its reply; an error reply is its value, and nothing is thrown. In a cluster the owner of its keys is asked. */
  call(command: Command): Promise<Reply> {
    if (this.#isClosed) return Promise.resolve(new ReplyError(GONE));
    if (this.#waiting.size >= MAX_UNDER_WAY) return Promise.resolve(new ReplyError(TOO_MANY));
    const session = this.#free.pop() ?? this.#openOne();
    const out = this.#out;
    const request = this.#request;
    request.reset();
    request.command(command);
    out.reset();
    this.#node.onRequest(session, request.bytes, 0, request.length, Math.floor(this.#clock.now()), out);
    const hasReply = out.length > 0;
    const reply = hasReply ? replyIn(out) : null;
    if (hasReply) this.#free.push(session);
    this.#onCalled();
    if (hasReply) return Promise.resolve(reply);
    if (!isUnderWay(session)) {
      this.#free.push(session);
      return Promise.resolve(new ReplyError('ERR the node gave no reply'));
    }
    return new Promise((resolve) => this.#waiting.set(session, resolve));
  }

  /** The node has something to say to this session, which is perhaps one of these. */
  onPushed(session: S): void {
    const resolve = this.#waiting.get(session);
    if (resolve === undefined) return;
    const out = this.#out;
    out.reset();
    const wasHalted = session.halted === true;
    this.#node.onPush(session, out);
    // Its command waited until a slot had its owner, and may be executed now.
    const goesOn = wasHalted && session.halted !== true && out.length === 0;
    if (goesOn) this.#node.onRequest(session, NOTHING, 0, 0, Math.floor(this.#clock.now()), out);
    if (out.length > 0 || !isUnderWay(session)) {
      this.#waiting.delete(session);
      this.#free.push(session);
      resolve(replyIn(out));
    }
    if (goesOn) this.#onCalled();
  }

  /** What waits is answered with an error. */
  close(): void {
    this.#isClosed = true;
    for (const session of [...this.#free, ...this.#waiting.keys()]) this.#node.closeSession(session);
    for (const resolve of this.#waiting.values()) resolve(new ReplyError(GONE));
    this.#waiting.clear();
  }

  #openOne(): S {
    const session = this.#node.openSession(Math.floor(this.#clock.now()), {
      address: this.#address,
      kind: this.#kind,
      // Nobody can be sent elsewhere over HTTP.
      isProxied: true,
    });
    session.outputLimitBytes = Number.MAX_SAFE_INTEGER;
    return session;
  }
}

/** Is there a reply of it to come? */
function isUnderWay({ parked, halted }: ListenedSession): boolean {
  return (parked?.count ?? 0) > 0 || halted === true;
}

function replyIn(out: ReplyWriter): Reply {
  const parser = new ReplyParser();
  parser.begin(out.bytes, 0, out.length);
  return parser.next() === REPLY ? parser.value : new ReplyError('ERR the node gave no reply');
}

/** Code and text of an error reply; null for any other. */
export function failureOf(reply: unknown): { readonly code: string; readonly text: string } | null {
  if (!(reply instanceof ReplyError)) return null;
  const space = reply.message.indexOf(' ');
  return { code: reply.code, text: space === -1 ? reply.message : reply.message.slice(space + 1) };
}
