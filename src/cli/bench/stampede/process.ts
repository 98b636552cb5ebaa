/** One process of the service in the stampede bench: its own instance of the library, and many callers of one key. */
import { messageOf } from '../../../base/errors.ts';
import { findSubjects } from '../correctness/roster.ts';
import type { Instance } from '../correctness/subject.ts';
import { monotonicMs, type Order, type Report } from './calls.ts';

const TTL_MS = 600_000;
const LOAD_TIMEOUT_MS = 5_000;

let instance: Instance | null = null;
let loadEndsMs: number[] = [];

async function open({ subject, port, loadMs }: Extract<Order, { kind: 'open' }>): Promise<Report> {
  const { subjects, missing } = await findSubjects([subject]);
  if (subjects[0] === undefined) return { kind: 'failed', message: missing.join('; ') };
  instance = await subjects[0].open({
    l2Port: port,
    l2Ports: [port],
    busPort: port,
    ttlMs: TTL_MS,
    loadTimeoutMs: LOAD_TIMEOUT_MS,
    async load(id) {
      await new Promise((resolve) => setTimeout(resolve, loadMs));
      loadEndsMs.push(monotonicMs());
      return { id, version: 1 };
    },
  });
  // Connected, and everything was run once.
  await instance.get(`${process.pid}`);
  return { kind: 'ready' };
}

async function storm({ id, callers, atMs }: Extract<Order, { kind: 'storm' }>): Promise<Report> {
  const cache = instance!;
  loadEndsMs = [];
  await new Promise((resolve) => setTimeout(resolve, atMs - monotonicMs() - 2));
  while (monotonicMs() < atMs);
  let failures = 0;
  let lastMs = 0;
  const call = async (): Promise<void> => {
    try {
      const row = await cache.get(id);
      if (row?.id !== id) failures += 1;
    } catch {
      failures += 1;
    }
    lastMs = monotonicMs();
  };
  await Promise.all(Array.from({ length: callers }, call));
  return { kind: 'storm', loadEndsMs, lastMs, failures };
}

process.on('message', (order: Order) => {
  (order.kind === 'open' ? open(order) : storm(order))
    .catch((error: unknown): Report => ({ kind: 'failed', message: messageOf(error) }))
    .then((report) => process.send?.(report));
});
process.on('disconnect', () => process.exit(0));
