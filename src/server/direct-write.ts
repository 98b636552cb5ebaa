/**
 * Writes bytes to a socket without the streams machinery around it.
 *
 * Why: of an unpipelined GET the node spends about 0.3 microseconds in `socket.write`: a request object is made in C++, states and
 * callbacks of the stream are kept, although the kernel takes nearly every reply at once and there is nothing to remember. Beneath,
 * `net.Socket` calls `handle.writeBuffer(request, bytes)`; libuv tries the system call at once and uses `request` only when the kernel
 * would not take everything. So one request object can serve all writes that left at once.
 *
 * Whether libuv used it is asked of the request itself: `getAsyncId()` is above 0 exactly while something native is attached to it. Not of
 * `writeQueueSize`: when the kernel makes room between libuv's first try and its second, that is 0 although the request is still to be
 * completed, and Node.js aborts the process when a request is used twice (seen under load; test/server/partial-writes.test.ts).
 *
 * How the class of request objects is got without touching internal modules: the first write ever goes through `socket.write` while
 * `writeBuffer` of that one handle is watched; the object passed to it tells its class. If anything looks different from
 * what is expected (another Node.js version), `write` answers UNAVAILABLE for ever and the caller uses `socket.write`.
 *
 * Rules for the caller: only when nothing waits on that socket, and after PENDING write nothing until `onSent`. `socket.end()` and
 * `destroy()` may be called at any time: libuv sends what is pending before it shuts down.
 */
import type net from 'node:net';

/** Everything left: the bytes may be reused. */
export const SENT = 0;
/** The kernel took a part: the bytes belong to the socket until `onSent` is called (not called when the socket is destroyed). */
export const PENDING = 1;
/** The connection is broken: destroy it. */
export const BROKEN = -1;
/** Not possible on this runtime: use `socket.write`. */
export const UNAVAILABLE = -2;

/**
 * Node.js releases on which test/server/partial-writes.test.ts was run with this. A wrong assumption about internals aborts the process, so on any
 * other release replies go the documented way, 0.3 microseconds slower each.
 */
const VERIFIED_MAJORS: readonly number[] = [20, 22, 24];

/** What we use of the handle beneath a socket. */
export interface WriteHandle {
  writeBuffer?: (request: WriteRequest, bytes: Uint8Array) => number;
}

interface WriteRequest {
  /** Above 0 while libuv has the request. */
  getAsyncId(): number;
  oncomplete?: (status: number) => void;
  /** Keeps the bytes from the garbage collector while libuv has them. */
  buffer?: Uint8Array;
}

/** The handle beneath a socket; null when this runtime has none that can be used so. */
export function writeHandleOf(socket: net.Socket): WriteHandle | null {
  const { _handle: handle } = socket as unknown as { _handle?: WriteHandle | null };
  if (!handle || typeof handle.writeBuffer !== 'function') return null;
  return handle;
}

export class DirectWriter {
  #class: (new () => WriteRequest) | null = null;
  #request: WriteRequest | null = null;
  #available = VERIFIED_MAJORS.includes(Number.parseInt(process.versions.node, 10));

  /** Writes `bytes`. See the four answers above. */
  write(socket: net.Socket, handle: WriteHandle | null, bytes: Buffer, onSent: () => void): number {
    if (handle === null || !this.#available) return UNAVAILABLE;
    const request = this.#request;
    if (request === null) return this.#learn(socket, handle, bytes, onSent);
    if (handle.writeBuffer!(request, bytes) !== 0) return BROKEN;
    if (request.getAsyncId() <= 0) return SENT;
    request.buffer = bytes;
    request.oncomplete = (status) => {
      if (status === 0) onSent();
      else socket.destroy();
    };
    this.#request = new this.#class!();
    return PENDING;
  }

  /** The first write: as usual, but watched. */
  #learn(socket: net.Socket, handle: WriteHandle, bytes: Buffer, onSent: () => void): number {
    let seen: WriteRequest | null = null;
    handle.writeBuffer = (request, written) => {
      delete handle.writeBuffer; // what lies beneath is a method of the prototype
      if (written === bytes) seen = request;
      return handle.writeBuffer!(request, written);
    };
    socket.write(bytes);
    delete handle.writeBuffer;
    this.#learned(seen);
    if (socket.writableLength === 0) return SENT;
    socket.write(Buffer.alloc(0), onSent); // ordered behind the bytes
    return PENDING;
  }

  #learned(seen: WriteRequest | null): void {
    const found: unknown = seen === null ? null : (seen as object).constructor;
    if (typeof found === 'function' && found.name === 'WriteWrap') {
      this.#class = found as new () => WriteRequest;
      const made = new this.#class();
      if (typeof made.getAsyncId === 'function' && made.getAsyncId() <= 0) {
        this.#request = made;
        return;
      }
    }
    this.#available = false;
  }
}
