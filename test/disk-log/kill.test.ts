/**
 * A real process, killed with -9 while it appends: every acknowledged record is there after it, and the lock of the dead one is taken over.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DiskLog } from '../../src/disk-log/log.ts';

const root = mkdtempSync(join(tmpdir(), 'bw-disk-log-kill-'));
const children = new Set<ChildProcess>();
after(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(root, { recursive: true, force: true });
});

/** Starts an appender, kills it after about `lines` acknowledgements, and returns what it said. */
async function appendAndKill(directory: string, lines: number, whileAlive: () => Promise<void>): Promise<string[]> {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', join(import.meta.dirname, 'append-child.ts'), directory, '16'],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  children.add(child);
  let said = '';
  const enough = new Promise<void>((resolve, reject) => {
    child.stdout.on('data', (piece: Buffer) => {
      said += piece.toString();
      if (said.split('\n').length > lines) resolve();
    });
    child.once('exit', (code) => reject(new Error(`the appender ended with ${code}`)));
  });
  const ended = new Promise((resolve) => child.once('close', resolve));
  await enough;
  await whileAlive();
  child.kill('SIGKILL');
  await ended;
  children.delete(child);
  // The last line may be cut off.
  return said.split('\n').slice(0, -1);
}

test('killed again and again: no acknowledged record is lost, none is there twice', async () => {
  const directory = join(root, 'log');
  const acknowledged = new Map<number, string>();
  for (const lines of [1, 200, 900, 2_000]) {
    const said = await appendAndKill(directory, lines, async () => {
      await assert.rejects(DiskLog.open(directory), { code: 'DISK_LOG_LOCKED' });
    });
    for (const line of said) {
      const [position, text] = line.split(' ');
      assert.equal(acknowledged.has(Number(position)), false, `position ${position} was given twice`);
      acknowledged.set(Number(position), text!);
    }
    const log = await DiskLog.open(directory);
    const found = new Map<number, string>();
    for await (const { position, bytes } of log.read()) found.set(position, new TextDecoder().decode(bytes).trim());
    for (const [position, text] of acknowledged) assert.equal(found.get(position), text, `record ${position}`);
    assert.equal(new Set(found.values()).size, found.size);
    await log.close();
  }
  assert.ok(acknowledged.size > 3_000, `${acknowledged.size}`);
});
