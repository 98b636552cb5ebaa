/**
 * A process with an outbox on disk that writes rows and is killed. The rows are files, so that they outlive it. Arguments: store URL, directory of
 * the outbox, directory of the rows, how it is to be killed: `commit` stops between the commit and the invalidation, `load` writes for ever.
 */
import { readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { createBreakwater } from '../../src/cache/index.ts';

const [, , store, directory, rows, how] = process.argv;
const bw = createBreakwater({ store: store as 'redis://', outbox: { directory: directory! }, writeTimeout: '300ms' });
const cache = bw.cache<number>('row', {
  load: async (ids) => ids.map((id) => Number(readFileSync(join(rows!, id), 'utf8'))),
  jitter: 0,
});
const say = (line: string): void => void writeSync(1, `${line}\n`);
const commit = (id: string): void => {
  const next = Number(readFileSync(join(rows!, id), 'utf8')) + 1;
  writeFileSync(join(rows!, `${id}.next`), String(next));
  renameSync(join(rows!, `${id}.next`), join(rows!, id));
};

if (how === 'commit') {
  await cache.get('1');
  await cache.write('1', () => {
    commit('1');
    say('committed');
    return new Promise(() => setInterval(() => undefined, 1_000));
  });
} else {
  const one = async (id: string): Promise<void> => {
    for (;;) {
      await cache.get(id);
      await cache.write(id, () => commit(id)).catch(() => undefined);
      say('written');
    }
  };
  for (const id of ['1', '2', '3', '4']) void one(id);
}
