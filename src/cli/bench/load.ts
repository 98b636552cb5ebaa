/**
 * A closed loop of load over raw sockets: every connection sends one batch of requests (1, or as many as the pipeline is
 * deep) and the next one when all its replies are there. Keys are uniform over the key space.
 *
 * A closed loop measures what a server costs when it is kept busy; it says nothing about latency under a fixed rate of
 * arrivals (a stalled server also stalls its load), so read the percentiles as a comparison and not as a promise.
 *
 * The server's processor time is read at the very moments at which counting begins and ends, from this process.
 */
import { connect, type Socket } from 'node:net';
import { BreakwaterError } from '../../base/errors.ts';
import { Histogram } from '../../base/histogram.ts';
import { type Operation, type Protocol, replyCounter, requestOf, type Template, writeKey } from './codec.ts';
import { readCpuTime } from './process-cpu.ts';

export interface Load {
  readonly port: number;
  readonly protocol: Protocol;
  readonly operation: Operation;
  readonly valueBytes: number;
  readonly keys: number;
  readonly connections: number;
  readonly pipeline: number;
  /** Not counted: the server's compiler and the sockets warm up. */
  readonly warmupMs: number;
  readonly measureMs: number;
  /** The server's process, for its processor time. */
  readonly serverPid: number;
  readonly seed: number;
}

export interface LoadResult {
  readonly operations: number;
  readonly seconds: number;
  readonly hits: number;
  readonly misses: number;
  readonly errors: number;
  readonly firstError: string;
  /** Time from the sending of a batch to its last reply, microseconds. */
  readonly p50Us: number;
  readonly p99Us: number;
  /** The server's processor time, null where the system does not tell. */
  readonly serverUserMs: number | null;
  readonly serverSystemMs: number | null;
  /** This process's own processor time over the time measured: near 1 it was the limit, not the server. */
  readonly generatorBusy: number;
}

const CONNECT_TIMEOUT_MS = 5000;
/** A batch without its replies for this long is a server that hangs. */
const STALL_MS = 10_000;
const READ_BUFFER_BYTES = 256 * 1024;

/** Opens the connections; all of them share one buffer for what they read, since each chunk is looked at before the next is read. */
function open(port: number, buffer: Uint8Array, onData: (bytes: number) => void): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: '127.0.0.1',
      port,
      noDelay: true,
      onread: {
        buffer,
        callback: (bytes) => {
          onData(bytes);
          return true;
        },
      },
    });
    const timer = setTimeout(() => socket.destroy(new Error('connecting took too long')), CONNECT_TIMEOUT_MS);
    socket.once('error', (cause) => {
      clearTimeout(timer);
      reject(new BreakwaterError('BENCH_CONNECT', `cannot connect to 127.0.0.1:${port}: ${cause.message}`, { cause }));
    });
    socket.once('connect', () => {
      clearTimeout(timer);
      resolve(socket);
    });
  });
}

/** `count` copies of a request in one buffer, so that a batch is one write. */
function batchOf(request: Template, count: number): Uint8Array {
  const bytes = new Uint8Array(request.bytes.length * count);
  for (let i = 0; i < count; i += 1) bytes.set(request.bytes, i * request.bytes.length);
  return bytes;
}

/** Runs one load to its end. */
export async function runLoad(load: Load): Promise<LoadResult> {
  const request = requestOf(load.protocol, load.operation, load.valueBytes);
  const stride = request.bytes.length;
  const counter = replyCounter(load.protocol, load.valueBytes);
  const readBuffer = new Uint8Array(READ_BUFFER_BYTES);
  const latency = new Histogram();
  const sockets: Socket[] = [];
  let random = (load.seed | 1) >>> 0;
  let operations = 0;
  let measuring = false;
  let stopping = false;
  let open_ = 0;
  let finish: (error: BreakwaterError | null) => void = () => {};
  const finished = new Promise<void>((resolve, reject) => {
    finish = (error) => (error ? reject(error) : resolve());
  });
  finished.catch(() => {});

  const startConnection = async (): Promise<() => void> => {
    const batch = batchOf(request, load.pipeline);
    let waiting = 0;
    let sentAt = 0;
    const send = (): void => {
      for (let i = 0; i < load.pipeline; i += 1) {
        random ^= random << 13;
        random ^= random >>> 17;
        random ^= random << 5;
        writeKey(batch, i * stride + request.digitsAt, (random >>> 0) % load.keys);
      }
      waiting = load.pipeline;
      sentAt = performance.now();
      socket.write(batch);
    };
    const socket = await open(load.port, readBuffer, (bytes) => {
      const replies = counter.feed(readBuffer, bytes);
      if (measuring) operations += replies;
      waiting -= replies;
      if (waiting > 0) return;
      if (measuring) latency.record((performance.now() - sentAt) * 1000);
      if (!stopping) send();
      else {
        open_ -= 1;
        if (open_ === 0) finish(null);
      }
    });
    sockets.push(socket);
    socket.on('error', (cause) =>
      finish(new BreakwaterError('BENCH_CONNECTION', `a connection broke: ${cause.message}`)),
    );
    socket.on('close', () => {
      if (!stopping) finish(new BreakwaterError('BENCH_CONNECTION', 'the server closed a connection under load'));
    });
    return send;
  };

  try {
    const starts = await Promise.all(Array.from({ length: load.connections }, startConnection));
    open_ = starts.length;
    for (const start of starts) start();
    await Promise.race([pause(load.warmupMs), finished]);

    const serverBefore = readCpuTime(load.serverPid);
    const ownBefore = process.cpuUsage();
    const before = performance.now();
    const { hits, misses, errors } = counter;
    measuring = true;
    await Promise.race([pause(load.measureMs), finished]);
    measuring = false;
    const serverAfter = readCpuTime(load.serverPid);
    const own = process.cpuUsage(ownBefore);
    const seconds = (performance.now() - before) / 1000;
    const result: LoadResult = {
      operations,
      seconds,
      hits: counter.hits - hits,
      misses: counter.misses - misses,
      errors: counter.errors - errors,
      firstError: counter.firstError,
      p50Us: latency.quantile(0.5),
      p99Us: latency.quantile(0.99),
      serverUserMs: serverBefore && serverAfter ? serverAfter.userMs - serverBefore.userMs : null,
      serverSystemMs: serverBefore && serverAfter ? serverAfter.systemMs - serverBefore.systemMs : null,
      generatorBusy: (own.user + own.system) / 1e6 / seconds,
    };

    stopping = true;
    const stalled = setTimeout(
      () => finish(new BreakwaterError('BENCH_STALL', `no reply within ${STALL_MS / 1000} s`)),
      STALL_MS,
    );
    await finished.finally(() => clearTimeout(stalled));
    return result;
  } finally {
    stopping = true;
    for (const socket of sockets) socket.destroy();
  }
}

export interface Fill {
  readonly port: number;
  readonly protocol: Protocol;
  readonly valueBytes: number;
  readonly keys: number;
}

const FILL_CONNECTIONS = 4;
const FILL_BATCH = 128;

/** Stores keys 0 .. `keys` - 1 once each. Returns how many the server refused, with the first refusal's text. */
export async function runFill(fill: Fill): Promise<{ errors: number; firstError: string }> {
  const request = requestOf(fill.protocol, 'set', fill.valueBytes);
  const stride = request.bytes.length;
  const counter = replyCounter(fill.protocol, fill.valueBytes);
  const readBuffer = new Uint8Array(READ_BUFFER_BYTES);
  let next = 0;
  const one = async (): Promise<void> => {
    const batch = batchOf(request, FILL_BATCH);
    let waiting = 0;
    let finish: (error?: Error) => void = () => {};
    const finished = new Promise<void>((resolve, reject) => {
      finish = (error) => (error ? reject(error) : resolve());
    });
    const send = (): void => {
      const count = Math.min(FILL_BATCH, fill.keys - next);
      if (count <= 0) {
        finish();
        return;
      }
      for (let i = 0; i < count; i += 1) writeKey(batch, i * stride + request.digitsAt, next + i);
      next += count;
      waiting = count;
      socket.write(batch.subarray(0, count * stride));
    };
    const socket = await open(fill.port, readBuffer, (bytes) => {
      waiting -= counter.feed(readBuffer, bytes);
      if (waiting === 0) send();
    });
    socket.on('error', (cause) => finish(cause));
    socket.on('close', () =>
      finish(new BreakwaterError('BENCH_CONNECTION', 'the server closed a connection while it was filled')),
    );
    try {
      send();
      await finished;
    } finally {
      socket.destroy();
    }
  };
  await Promise.all(Array.from({ length: FILL_CONNECTIONS }, one));
  return { errors: counter.errors, firstError: counter.firstError };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
