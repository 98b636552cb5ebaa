/** A session with the parser of its bytes. */
import { Session, type SessionInfo } from '../commands/session.ts';
import { type RequestLimits, RequestParser } from '../resp/parser.ts';

export class NodeSession extends Session {
  readonly parser: RequestParser;

  constructor(id: number, info: SessionInfo, nowMs: number, limits: RequestLimits) {
    super(id, info, nowMs);
    this.parser = new RequestParser(limits);
  }
}
