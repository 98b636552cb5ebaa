/**
 * The service's users: a fixed number of keep-alive connections, each sending its next request when the answer to the last
 * one is there. Every body is compared with what the row must say; a wrong answer is counted and never forgiven.
 *
 * Raw sockets and a parser of the little that our own service answers, because the replay shares two cores with
 * everything it measures: a general HTTP client would take more time than the service.
 */
import { connect, type Socket } from 'node:net';
import { BreakwaterError } from '../../base/errors.ts';
import { Histogram } from '../../base/histogram.ts';
import { productOf } from './product.ts';
import type { RequestStream } from './stream.ts';

/** Everything counted so far; read while it runs for the live line. */
export class Tally {
  requests = 0;
  wrong = 0;
  failed = 0;
  /** The first wrong or failed answer, for the report. */
  firstWrong = '';
  /** Requests by the tier that answered. */
  readonly tiers = new Map<string, number>();
  /** Microseconds. */
  readonly latency = new Histogram();
}

export interface ReplayOptions {
  readonly port: number;
  readonly stream: RequestStream;
  readonly concurrency: number;
  /** Ends after this many requests, or never. */
  readonly requests: number | null;
  /** Ends after this time, or never. */
  readonly ms: number | null;
  /** Ids asked for at once: 1 uses `/products/ID`, more `/products?ids=`. */
  readonly batch: number;
  readonly tally: Tally;
  readonly signal: AbortSignal;
  /** Ends it when it fires, and no answer is lost. */
  readonly until?: AbortSignal;
  /** Judges and counts an answer to one id, instead of the comparison with a row that never changes. */
  readonly check?: (id: number, body: string, sentAtMs: number) => void;
}

const HEADER_END = Buffer.from('\r\n\r\n');
const STALL_MS = 30_000;

/** Replays until the requests or the time are used up; resolves with the milliseconds that it took. */
export async function replay(options: ReplayOptions): Promise<number> {
  const startedAt = performance.now();
  const endsAt = options.ms === null ? Number.POSITIVE_INFINITY : startedAt + options.ms;
  let left = options.requests ?? Number.POSITIVE_INFINITY;
  const take = (): number[] => {
    if (left <= 0 || options.signal.aborted || options.until?.aborted || performance.now() >= endsAt) return [];
    const count = Math.min(options.batch, left);
    left -= count;
    return Array.from({ length: count }, () => options.stream.next());
  };
  const sockets: Socket[] = [];
  const stop = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  options.signal.addEventListener('abort', stop, { once: true });
  try {
    await Promise.all(Array.from({ length: options.concurrency }, () => user(options, take, sockets)));
  } finally {
    options.signal.removeEventListener('abort', stop);
    stop();
  }
  options.signal.throwIfAborted();
  return performance.now() - startedAt;
}

/** One connection, until `take` has no more ids for it. */
function user(options: ReplayOptions, take: () => number[], sockets: Socket[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect({ host: '127.0.0.1', port: options.port, noDelay: true });
    sockets.push(socket);
    let ids: number[] = [];
    let sentAt = 0;
    let received: Buffer = Buffer.alloc(0);
    const next = (): void => {
      ids = take();
      if (ids.length === 0) {
        socket.end();
        resolve();
        return;
      }
      const path = options.batch === 1 ? `/products/${ids[0]}` : `/products?ids=${ids.join(',')}`;
      sentAt = performance.now();
      socket.write(`GET ${path} HTTP/1.1\r\nHost: shop\r\n\r\n`);
    };
    socket.on('connect', next);
    socket.on('data', (chunk: Buffer) => {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
      const headerEnd = received.indexOf(HEADER_END);
      if (headerEnd < 0) return;
      const header = received.toString('latin1', 0, headerEnd);
      const bodyStart = headerEnd + HEADER_END.length;
      const bodyEnd = bodyStart + Number(/content-length: (\d+)/i.exec(header)?.[1] ?? 0);
      if (received.length < bodyEnd) return;
      const elapsedUs = (performance.now() - sentAt) * 1000;
      const body = received.toString('utf8', bodyStart, bodyEnd);
      received = received.subarray(bodyEnd);
      count(options, ids, header, body, elapsedUs, sentAt);
      next();
    });
    socket.setTimeout(STALL_MS, () => socket.destroy(new Error(`no answer within ${STALL_MS / 1000} s`)));
    socket.on('error', (cause) =>
      reject(new BreakwaterError('DEMO_SERVICE', `the service broke off a connection: ${cause.message}`, { cause })),
    );
    socket.on('close', () => {
      if (options.signal.aborted) resolve();
      else reject(new BreakwaterError('DEMO_SERVICE', 'the service closed a connection in the middle of a request'));
    });
  });
}

function count(
  { tally, batch, check }: ReplayOptions,
  ids: readonly number[],
  header: string,
  body: string,
  us: number,
  sentAtMs: number,
): void {
  tally.requests += ids.length;
  tally.latency.record(us);
  const tier = /x-cache: ([\w-]+)/i.exec(header)?.[1] ?? 'none';
  tally.tiers.set(tier, (tally.tiers.get(tier) ?? 0) + ids.length);
  if (!header.startsWith('HTTP/1.1 200')) {
    tally.failed += ids.length;
    if (tally.firstWrong === '') tally.firstWrong = body.slice(0, 200);
    return;
  }
  if (check !== undefined) {
    check(ids[0]!, body, sentAtMs);
    return;
  }
  const expected = batch > 1 ? JSON.stringify(ids.map(productOf)) : JSON.stringify(productOf(ids[0]!));
  if (body === expected) return;
  tally.wrong += 1;
  if (tally.firstWrong === '') tally.firstWrong = `expected ${expected.slice(0, 200)}, received ${body.slice(0, 200)}`;
}
