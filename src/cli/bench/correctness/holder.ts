/**
 * Another process of the service, for the scenarios in which it dies: it opens its own instance, begins to load a key, says so, and never comes back from that load.
 * A broken link would tell less: the system closes a dead process's connections by itself, and of a process that is only stopped it closes none.
 */
import { messageOf } from '../../../base/errors.ts';
import { findSubjects } from './roster.ts';
import type { Place } from './subject.ts';

/** To the child. */
export interface HolderOrder {
  /** As the roster knows it. */
  readonly subject: string;
  readonly place: Omit<Place, 'load'>;
  readonly id: string;
}

/** From the child. */
export type HolderReport = { readonly kind: 'loading' } | { readonly kind: 'failed'; readonly message: string };

async function hold({ subject, place, id }: HolderOrder): Promise<void> {
  const { subjects, missing } = await findSubjects([subject]);
  if (subjects[0] === undefined) throw new Error(missing.join('; '));
  const instance = await subjects[0].open({
    ...place,
    load: () => {
      tell({ kind: 'loading' });
      return new Promise<never>(() => {});
    },
  });
  await instance.get(id);
  throw new Error('a load that never ends has ended');
}

function tell(report: HolderReport): void {
  process.send?.(report);
}

process.on('message', (order: HolderOrder) => {
  hold(order).catch((error: unknown) => tell({ kind: 'failed', message: messageOf(error) }));
});
process.on('disconnect', () => process.exit(0));
