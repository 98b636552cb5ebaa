/** The write-behind log in streams against the contract, on a real Redis that is killed with -9 and keeps what it acknowledges. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';
import { StreamProcess } from '../support/stream-queue.ts';
import { queueLogContract } from './queue-log-contract.ts';

queueLogContract(
  'streams',
  async () => {
    const directory = mkdtempSync(join(tmpdir(), 'breakwater-stream-queue-'));
    const redis = await RedisServer.start(['--dir', directory, '--appendonly', 'yes', '--appendfsync', 'always']);
    const url = `redis://127.0.0.1:${redis.port}`;
    const all = new Set<StreamProcess>();
    return {
      open: async () => {
        const made = await StreamProcess.open(url);
        all.add(made);
        if ((await made.streams()) > 1) await made.outlive();
        return made;
      },
      crash: (opened) => (opened as StreamProcess).crash(),
      crashAll: async (opened) => {
        await (opened as StreamProcess).crash();
        await redis.restart();
      },
      close: async () => {
        for (const one of all) await one.store.close();
        await redis.close();
        rmSync(directory, { recursive: true, force: true });
      },
    };
  },
  requires('redis-server'),
);
