/**
 * Who is to be told when an AbortSignal fires. One listener per signal, however many commands carry it: a request that
 * makes a hundred lookups shares one signal, and a hundred listeners on it would be slow and make Node.js warn of a leak.
 */
export class AbortListeners<T> {
  readonly #bySignal = new Map<AbortSignal, { readonly waiting: Set<T>; readonly listener: () => void }>();
  readonly #onAbort: (item: T, signal: AbortSignal) => void;

  /** `onAbort` is called once for each item that is still there when its signal fires. */
  constructor(onAbort: (item: T, signal: AbortSignal) => void) {
    this.#onAbort = onAbort;
  }

  /** Signals listened to. */
  get size(): number {
    return this.#bySignal.size;
  }

  add(signal: AbortSignal, item: T): void {
    const known = this.#bySignal.get(signal);
    if (known !== undefined) {
      known.waiting.add(item);
      return;
    }
    const waiting = new Set([item]);
    const listener = (): void => {
      this.#bySignal.delete(signal);
      for (const each of waiting) this.#onAbort(each, signal);
    };
    this.#bySignal.set(signal, { waiting, listener });
    signal.addEventListener('abort', listener, { once: true });
  }

  /** `item` needs telling no more. */
  remove(signal: AbortSignal, item: T): void {
    const known = this.#bySignal.get(signal);
    if (known === undefined) return;
    known.waiting.delete(item);
    if (known.waiting.size > 0) return;
    this.#bySignal.delete(signal);
    signal.removeEventListener('abort', known.listener);
  }
}
