/**
 * The arguments of one request, as integers into the bytes they came in. The arrays are reused from request to request and
 * replaced when one has more arguments than fit: never keep them.
 */
export interface Args {
  /** Argument i is `bytes[start[i] .. start[i] + length[i])`. */
  bytes: Uint8Array;
  count: number;
  start: Int32Array;
  length: Int32Array;
}

/** Doubles the room of `args`, which keeps what it holds. */
export function growArgs(args: Args): void {
  const start = new Int32Array(args.start.length * 2);
  const length = new Int32Array(args.length.length * 2);
  start.set(args.start);
  length.set(args.length);
  args.start = start;
  args.length = length;
}
