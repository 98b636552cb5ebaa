/** A plain function is a source too: what the contract asks of a loader, and no more. */
import type { LoadContext } from '../../src/cache/index.ts';
import { type Item, sourceContract } from '../contract/source-contract.ts';

for (const shape of ['an array', 'a Map'] as const) {
  sourceContract(
    `a plain function that gives ${shape}`,
    async () => {
      const rows = new Map<string, Item>();
      let gate: Promise<void> | null = null;
      let busy = 0;
      const load = async (ids: readonly string[], { signal }: LoadContext) => {
        signal.throwIfAborted();
        busy += 1;
        try {
          if (gate !== null) {
            await Promise.race([
              gate,
              new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true })),
            ]);
          }
          return shape === 'a Map'
            ? new Map(ids.flatMap((id) => (rows.has(id) ? [[id, rows.get(id)!] as const] : [])))
            : ids.map((id) => rows.get(id) ?? null);
        } finally {
          busy -= 1;
        }
      };
      return {
        source: { load },
        put: async (item) => void rows.set(item.id, item),
        remove: async (id) => void rows.delete(id),
        stall: async () => {
          const { promise, resolve } = withResolvers();
          gate = promise;
          return async () => {
            gate = null;
            resolve();
          };
        },
        busy: async () => busy,
        close: async () => {},
      };
    },
    { skip: false, revalidates: false },
  );
}

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
