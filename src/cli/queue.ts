/** `breakwater queue`: what a write-behind directory or a store's streams hold, and what becomes of the writes that the database refused. */
import type { Command } from 'commander';
import { BreakwaterError } from '../base/errors.ts';
import { changeDead, type QueueView, viewQueues } from '../cache/write/offline.ts';
import { type DeadLetter, unclone } from '../cache/write/queue-log.ts';
import { changeRemoteDead, isStoreUrl, viewRemoteQueues } from '../cache/write/remote.ts';
import { askOwner, type ChangedLetter } from '../gateway/queue-requests.ts';
import { formatCount, say, sayJson } from './output.ts';

interface QueueOptions {
  readonly cache?: string;
  readonly all?: boolean;
  readonly json?: boolean;
}

const NOTES = `
A place is the directory of the option behind ({ directory }), with a folder for each cache, or the URL of the Redis or Valkey that has the queues in
streams ({ queue: 'streams' }). "list" looks without disturbing the application. "retry" and "drop" work while a gateway has the directory, which does it when asked; of an
application of your own they need the directory for themselves: stop it first, or call cache.deadLetters.retry() and .drop() in it. With a URL they work while it runs; a row that
is retried is taken up within seconds.

A row that is retried keeps its place in time: what was written to it since still wins.

Examples:
  breakwater queue list /var/lib/shop/queue
  breakwater queue list /var/lib/shop/queue --cache product --json
  breakwater queue retry /var/lib/shop/queue --cache product 42 43
  breakwater queue drop /var/lib/shop/queue --all
  breakwater queue list redis://10.0.0.5:6379 --cache product`;

export function register(program: Command): void {
  const queue = program
    .command('queue')
    .description('write-behind queues, on disk or in streams, and their dead letters');
  queue.addHelpText('after', NOTES);
  queue
    .command('list <place>')
    .description('rows that wait, and dead letters')
    .option('--cache <name>', 'of this cache only')
    .option('--json', 'answer as one line of JSON')
    .action(async (place: string, options: QueueOptions) => {
      const view = isStoreUrl(place) ? viewRemoteQueues : viewQueues;
      const views = await view(place, options.cache ?? null);
      if (options.json) sayJson(views.map(viewAsJson));
      else for (const view of views) sayView(view);
      const damaged = views.flatMap((each) => each.damaged);
      if (damaged.length > 0) throw new BreakwaterError('DISK_LOG_CORRUPT', damaged.join('; '));
    });
  for (const what of ['retry', 'drop'] as const) {
    queue
      .command(`${what} <place> [ids...]`)
      .description(what === 'retry' ? 'puts dead letters into the queue again' : 'throws dead letters away')
      .option('--cache <name>', 'of this cache only')
      .option('--all', 'all of them')
      .option('--json', 'answer as one line of JSON')
      .action(async (place: string, ids: readonly string[], options: QueueOptions) => {
        if ((ids.length === 0) === (options.all !== true)) {
          throw new BreakwaterError(
            'USAGE_INVALID',
            `cannot ${what} dead letters: name rows by their ids, or say --all`,
          );
        }
        const done = await change(what, place, options.cache ?? null, ids.length === 0 ? null : ids);
        const names = done.map(({ cache, id }) => `${cache}:${id}`);
        if (options.json) sayJson({ [what]: names });
        else
          say(
            `${what === 'retry' ? 'queued again' : 'dropped'}: ${formatCount(done.length)}${names.length > 0 ? ` (${names.join(', ')})` : ''}`,
          );
        const missing = ids.filter((id) => !done.some((letter) => letter.id === id));
        if (missing.length > 0) {
          throw new BreakwaterError(
            'QUEUE_NO_LETTER',
            `there is no dead letter of ${missing.map((id) => JSON.stringify(id)).join(', ')}`,
          );
        }
      });
  }
}

/** @param ids null: all */
async function change(
  what: 'retry' | 'drop',
  place: string,
  cache: string | null,
  ids: readonly string[] | null,
): Promise<readonly ChangedLetter[]> {
  const by = isStoreUrl(place) ? changeRemoteDead : changeDead;
  try {
    return (await by(what, place, cache, ids)).map(({ cache: of, letter }) => ({ cache: of, id: letter.id }));
  } catch (error) {
    if (!(error instanceof BreakwaterError) || error.code !== 'QUEUE_IN_USE') throw error;
    const done = await askOwner(place, { what, cache, ids });
    if (done === null) throw error;
    return done;
  }
}

function viewAsJson({ cache, pending, dead, damaged }: QueueView): object {
  const oldest = pending.reduce((ms, { queuedAtMs }) => Math.min(ms, queuedAtMs), Number.POSITIVE_INFINITY);
  return {
    cache,
    pending: pending.length,
    oldestQueuedAt: pending.length === 0 ? null : new Date(oldest).toISOString(),
    damaged,
    deadLetters: dead.map((letter) => ({
      id: letter.id,
      version: letter.version,
      queuedAt: new Date(letter.queuedAtMs).toISOString(),
      diedAt: new Date(letter.diedAtMs).toISOString(),
      code: letter.code,
      message: letter.message,
      value: valueAsJson(letter),
    })),
  };
}

function sayView({ cache, pending, dead }: QueueView): void {
  const ages = pending.map(({ queuedAtMs }) => Date.now() - queuedAtMs);
  const oldest = pending.length === 0 ? '' : `, the oldest for ${formatCount(Math.round(Math.max(...ages) / 1000))} s`;
  say(`${cache}: ${formatCount(pending.length)} rows wait${oldest}; ${formatCount(dead.length)} dead letters`);
  for (const letter of dead) {
    say(`  ${letter.id}  ${new Date(letter.diedAtMs).toISOString()}  ${letter.message} [${letter.code}]`);
    say(`    ${JSON.stringify(valueAsJson(letter))}`);
  }
}

/** For people: what JSON has no word for is shown as text. */
function valueAsJson({ bytes }: DeadLetter): unknown {
  const text = JSON.stringify(unclone(bytes), (_, value: unknown) =>
    typeof value === 'bigint' ? String(value) : value instanceof Map || value instanceof Set ? [...value] : value,
  );
  return JSON.parse(text) as unknown;
}
