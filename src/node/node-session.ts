/** A session with the parser of its bytes. */
import { Session, type SessionInfo } from '../commands/session.ts';
import { type RequestLimits, RequestParser } from '../resp/parser.ts';
import type { ParkedReplies } from './parked-replies.ts';
import type { WrittenRanges } from './waits.ts';

export class NodeSession extends Session {
  readonly parser: RequestParser;
  /** In a cluster: replies that wait for copies, and those behind them. null: it never had any. */
  parked: ParkedReplies | null = null;
  /** In a cluster: ranges that it has written, for WAIT. null: none. */
  written: WrittenRanges | null = null;
  /** So many of them that nothing more is executed: read nothing from it, and go on (`onRequest` with nothing) when this is false again. */
  halted = false;

  constructor(id: number, info: SessionInfo, nowMs: number, limits: RequestLimits) {
    super(id, info, nowMs);
    this.parser = new RequestParser(limits);
  }
}
