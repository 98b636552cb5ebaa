/**
 * Reads a request's body with three bounds: its own size, the size of all bodies under way, and (by the HTTP server's timeouts)
 * time. A body is refused while it streams in, not after it has filled memory.
 */
import type { IncomingMessage } from 'node:http';

/** Why a body was not read. */
export type BodyRefusal = 'too-large' | 'overloaded' | 'aborted';

/** Bytes that all requests of a kind may hold together. */
export class ByteBudget {
  readonly limitBytes: number;
  usedBytes = 0;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  /** Takes `bytes`, or refuses and takes nothing. */
  take(bytes: number): boolean {
    if (this.usedBytes + bytes > this.limitBytes) return false;
    this.usedBytes += bytes;
    return true;
  }

  give(bytes: number): void {
    this.usedBytes -= bytes;
  }
}

/**
 * The whole body as bytes, or why not. Its share of `budget` is held while it streams in: from then on the handler
 * works it off without waiting for anything.
 * @param maxBytes a longer body is `too-large`, known from Content-Length before a byte is read where it is declared
 */
export function readBody(
  incoming: IncomingMessage,
  maxBytes: number,
  budget: ByteBudget,
): Promise<Uint8Array | BodyRefusal> {
  const declared = incoming.headers['content-length'];
  if (declared !== undefined && Number(declared) > maxBytes) return Promise.resolve('too-large');
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const settle = (result: Uint8Array | BodyRefusal): void => {
      incoming.off('data', onData).off('end', onEnd).off('close', onAbort);
      if (typeof result === 'string') incoming.pause();
      budget.give(length);
      resolve(result);
    };
    const onData = (chunk: Buffer): void => {
      if (length + chunk.length > maxBytes) settle('too-large');
      else if (!budget.take(chunk.length)) settle('overloaded');
      else {
        length += chunk.length;
        chunks.push(chunk);
      }
    };
    const onEnd = (): void => settle(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, length));
    const onAbort = (): void => settle('aborted');
    incoming.on('data', onData).on('end', onEnd).on('close', onAbort);
    incoming.on('error', () => {}); // a reset while the body streams in ends in 'close'
  });
}
