/** What the stampede bench and its processes say to each other. Times are milliseconds of the machine's monotonic clock, which all processes share. */

export type Order =
  | { readonly kind: 'open'; readonly subject: string; readonly port: number; readonly loadMs: number }
  /** All of them ask for `id` at `atMs`. */
  | { readonly kind: 'storm'; readonly id: string; readonly callers: number; readonly atMs: number };

export type Report =
  | { readonly kind: 'ready' }
  | {
      readonly kind: 'storm';
      /** When each load of this process ended. */
      readonly loadEndsMs: readonly number[];
      /** When its last caller was answered, whatever the answer. */
      readonly lastMs: number;
      readonly failures: number;
    }
  | { readonly kind: 'failed'; readonly message: string };

export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
