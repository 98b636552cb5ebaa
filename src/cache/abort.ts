/**
 * One listener a signal, however many wait with it. A request that makes a hundred gets shares one signal, and all loads of a cache share
 * the one of its end: a listener each would make Node.js warn of a leak from the eleventh on.
 */
interface Listening {
  readonly told: Set<() => void>;
  readonly listener: () => void;
}

const listening = new WeakMap<AbortSignal, Listening>();

/** Calls `onAbort` once when `signal` fires, unless the returned function has been called before. */
export function listen(signal: AbortSignal, onAbort: () => void): () => void {
  const mine = listening.get(signal) ?? begin(signal);
  mine.told.add(onAbort);
  return () => {
    mine.told.delete(onAbort);
    if (mine.told.size > 0 || listening.get(signal) !== mine) return;
    listening.delete(signal);
    signal.removeEventListener('abort', mine.listener);
  };
}

function begin(signal: AbortSignal): Listening {
  const told = new Set<() => void>();
  const listener = (): void => {
    listening.delete(signal);
    for (const one of told) one();
  };
  const mine = { told, listener };
  listening.set(signal, mine);
  signal.addEventListener('abort', listener, { once: true });
  return mine;
}
