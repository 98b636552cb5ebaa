/** The write-behind log on disk against the contract. A crash: what the files say at that moment, elsewhere. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { diskStorage } from '../../src/cache/write/disk-queue.ts';
import { queueLogContract } from './queue-log-contract.ts';

queueLogContract(
  'disk',
  async () => {
    const root = mkdtempSync(join(tmpdir(), 'breakwater-disk-queue-'));
    let lives = 1;
    return {
      open: () =>
        diskStorage(join(root, String(lives)), 64 * 1024 ** 2).open({
          adopt: () => undefined,
          disown: () => undefined,
        }),
      crash: async ({ log, dead }) => {
        const from = join(root, String(lives));
        lives += 1;
        cpSync(from, join(root, String(lives)), {
          recursive: true,
          filter: (path) => !basename(path).startsWith('lock'),
        });
        await dead.close();
        await log.close();
      },
      close: async () => rmSync(root, { recursive: true, force: true }),
    };
  },
  { skip: false },
);
