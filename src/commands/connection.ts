/**
 * The connection: greeting, identity, liveness, and the list of who is connected.
 */
import type { Args } from '../resp/parser.ts';
import { REPLY_OK, REPLY_PONG, type ReplyWriter } from '../resp/writer.ts';
import { REDIS_VERSION } from './compatibility.ts';
import type { Context } from './context.ts';
import { errorShowing } from './echo.ts';
import { NOT_INTEGER, SYNTAX, wrongArity } from './errors.ts';
import { integerAt } from './numbers.ts';
import type { Session } from './session.ts';
import { argIs, latinOf, textOf, word } from './words.ts';

const AUTH = word('auth');
const SETNAME = word('setname');
const DEFAULT = word('default');
const ON = word('on');
const OFF = word('off');

const WRONG_PASSWORD = 'WRONGPASS invalid username-password pair or user is disabled.';
const NOT_INT32 = 'ERR value is out of range, value must between -2147483648 and 2147483647';
const BAD_NAME = 'ERR Client names cannot contain spaces, newlines or special characters.';

/** PING [message] */
export function ping(_context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  if (args.count === 1) out.raw(REPLY_PONG);
  else if (args.count === 2) out.bulk(args.bytes, args.start[1]!, args.length[1]!);
  else out.error(wrongArity('ping'));
}

/** ECHO message */
export function echo(_context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  out.bulk(args.bytes, args.start[1]!, args.length[1]!);
}

/** QUIT */
export function quit(_context: Context, session: Session, _args: Args, out: ReplyWriter): void {
  session.closing = true;
  out.raw(REPLY_OK);
}

/** RESET: back to the state of a new connection. */
export function reset(_context: Context, session: Session, _args: Args, out: ReplyWriter): void {
  session.protocol = 2;
  out.protocol = 2;
  session.name = '';
  session.noEvict = false;
  session.noTouch = false;
  session.readsCopies = false;
  out.simple('RESET');
}

/** SELECT index: there is one keyspace. */
export function select(_context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  const index = integerAt(args.bytes, args.start[1]!, args.length[1]!);
  if (Number.isNaN(index)) out.error(NOT_INTEGER);
  else if (index > 0x7fff_ffff || index < -0x8000_0000) out.error(NOT_INT32);
  else if (index !== 0) out.error('ERR DB index is out of range');
  else out.raw(REPLY_OK);
}

/** AUTH [username] password: no password can be set yet, so the default user takes any and there is no other. */
export function auth(_context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  if (args.count > 3) {
    out.error(SYNTAX);
  } else if (args.count === 2) {
    out.error(
      'ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?',
    );
  } else if (isDefaultUser(args, 1)) {
    out.raw(REPLY_OK);
  } else {
    out.error(WRONG_PASSWORD);
  }
}

/** HELLO [2 | 3 [AUTH username password] [SETNAME name]] */
export function hello(context: Context, session: Session, args: Args, out: ReplyWriter): void {
  let protocol = 0;
  if (args.count >= 2) {
    const version = integerAt(args.bytes, args.start[1]!, args.length[1]!);
    if (Number.isNaN(version)) {
      out.error('ERR Protocol version is not an integer or out of range');
      return;
    }
    if (version !== 2 && version !== 3) {
      out.error('NOPROTO unsupported protocol version');
      return;
    }
    protocol = version;
  }
  // As in Redis, what stands before a wrong option has taken effect.
  for (let i = 2; i < args.count; i += 1) {
    const more = args.count - 1 - i;
    if (argIs(args, i, AUTH) && more >= 2) {
      if (!isDefaultUser(args, i + 1)) {
        out.error(WRONG_PASSWORD);
        return;
      }
      i += 2;
    } else if (argIs(args, i, SETNAME) && more >= 1) {
      i += 1;
      if (!isPrintable(args, i)) {
        out.error(BAD_NAME);
        return;
      }
      session.name = latinOf(args, i);
    } else {
      errorShowing("ERR Syntax error in HELLO option '", args, i, "'", out);
      return;
    }
  }
  if (protocol === 2 || protocol === 3) {
    session.protocol = protocol;
    out.protocol = protocol;
  }
  out.map(7);
  out.bulkText('server');
  out.bulkText('breakwater');
  out.bulkText('version');
  out.bulkText(REDIS_VERSION);
  out.bulkText('proto');
  out.integer(session.protocol);
  out.bulkText('id');
  out.integer(session.id);
  out.bulkText('mode');
  out.bulkText(context.cluster === null ? 'standalone' : 'cluster');
  out.bulkText('role');
  out.bulkText('master');
  out.bulkText('modules');
  out.array(0);
}

/** User names are compared exactly, unlike commands. */
function isDefaultUser(args: Args, index: number): boolean {
  return argIs(args, index, DEFAULT) && latinOf(args, index) === 'default';
}

/** `!` to `~` only, as Redis asks of names: they are shown in lists separated by blanks. */
function isPrintable(args: Args, index: number): boolean {
  const start = args.start[index]!;
  for (let i = 0; i < args.length[index]!; i += 1) {
    const byte = args.bytes[start + i]!;
    if (byte < 33 || byte > 126) return false;
  }
  return true;
}

// -- CLIENT

export function clientId(_context: Context, session: Session, _args: Args, out: ReplyWriter): void {
  out.integer(session.id);
}

/** CLIENT SETNAME name: the empty one removes it. */
export function clientSetname(_context: Context, session: Session, args: Args, out: ReplyWriter): void {
  if (!isPrintable(args, 2)) {
    out.error(BAD_NAME);
    return;
  }
  session.name = latinOf(args, 2);
  out.raw(REPLY_OK);
}

export function clientGetname(_context: Context, session: Session, _args: Args, out: ReplyWriter): void {
  if (session.name === '') out.nullBulk();
  else out.bulkText(session.name);
}

const LIB_NAME = word('lib-name');
const LIB_VER = word('lib-ver');

/** CLIENT SETINFO LIB-NAME name | LIB-VER version, with the texts of Redis 7.2, which introduced it. */
export function clientSetinfo(_context: Context, session: Session, args: Args, out: ReplyWriter): void {
  const isName = argIs(args, 2, LIB_NAME);
  if (!isName && !argIs(args, 2, LIB_VER)) {
    errorShowing("ERR Unrecognized option '", args, 2, "'", out);
    return;
  }
  if (!isPrintable(args, 3)) {
    out.error(`ERR ${isName ? 'lib-name' : 'lib-ver'} cannot contain spaces, newlines or special characters.`);
    return;
  }
  if (isName) session.libraryName = latinOf(args, 3);
  else session.libraryVersion = latinOf(args, 3);
  out.raw(REPLY_OK);
}

/** CLIENT NO-EVICT ON | OFF, CLIENT NO-TOUCH ON | OFF */
export function clientNoEvict(_context: Context, session: Session, args: Args, out: ReplyWriter): void {
  const on = argIs(args, 2, ON);
  if (!on && !argIs(args, 2, OFF)) {
    out.error(SYNTAX);
    return;
  }
  session.noEvict = on;
  out.raw(REPLY_OK);
}

export function clientNoTouch(_context: Context, session: Session, args: Args, out: ReplyWriter): void {
  const on = argIs(args, 2, ON);
  if (!on && !argIs(args, 2, OFF)) {
    out.error(SYNTAX);
    return;
  }
  session.noTouch = on;
  out.raw(REPLY_OK);
}

export type NameOfCommand = (row: number) => string;

/** One line about a session, in the format of Redis's CLIENT LIST: clients take it apart at blanks and `=`. */
export function describeSession(session: Session, nowMs: number, nameOf: NameOfCommand): string {
  const age = Math.max(0, Math.floor((nowMs - session.openedMs) / 1000));
  const idle = Math.max(0, Math.floor((nowMs - session.activeMs) / 1000));
  const flags = session.noEvict ? 'e' : session.noTouch ? 'T' : 'N';
  return (
    `id=${session.id} addr=${session.address} laddr=${session.localAddress} fd=-1 name=${session.name} age=${age} idle=${idle} ` +
    `flags=${flags} db=0 sub=0 psub=0 ssub=0 multi=-1 qbuf=${session.inputBytes} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 ` +
    `obl=${session.outputBytes} oll=0 omem=0 tot-mem=${session.inputBytes + session.outputBytes} events=r ` +
    `cmd=${session.lastCommand < 0 ? 'NULL' : nameOf(session.lastCommand)} user=default redir=-1 resp=${session.protocol} ` +
    `lib-name=${session.libraryName} lib-ver=${session.libraryVersion}`
  );
}

const TYPE = word('type');
const ID = word('id');
const CLIENT_TYPES = ['normal', 'master', 'replica', 'slave', 'pubsub'];

/** CLIENT INFO */
export function clientInfo(context: Context, session: Session, out: ReplyWriter, nameOf: NameOfCommand): void {
  out.verbatim(`${describeSession(session, context.nowMs, nameOf)}\n`);
}

/** CLIENT LIST [TYPE type] [ID id ...] */
export function clientList(context: Context, args: Args, out: ReplyWriter, nameOf: NameOfCommand): void {
  let wanted: Iterable<Session | undefined> = context.sessions.values();
  if (args.count === 4 && argIs(args, 2, TYPE)) {
    const name = textOf(args, 3);
    if (!CLIENT_TYPES.includes(name.toLowerCase())) {
      errorShowing("ERR Unknown client type '", args, 3, "'", out);
      return;
    }
    if (name.toLowerCase() !== 'normal') wanted = [];
  } else if (args.count > 3 && argIs(args, 2, ID)) {
    const found: (Session | undefined)[] = [];
    for (let i = 3; i < args.count; i += 1) {
      const id = integerAt(args.bytes, args.start[i]!, args.length[i]!);
      if (Number.isNaN(id)) {
        out.error('ERR Invalid client ID');
        return;
      }
      found.push(context.sessions.get(id));
    }
    wanted = found;
  } else if (args.count > 2) {
    out.error(SYNTAX);
    return;
  }
  let text = '';
  for (const session of wanted) {
    if (session !== undefined) text += `${describeSession(session, context.nowMs, nameOf)}\n`;
  }
  out.verbatim(text);
}
