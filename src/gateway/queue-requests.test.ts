/** The two sides of a request for a queue's dead letters. With a gateway and a database: test/gateway/queues.test.ts. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { SILENT } from '../base/log.ts';
import type { Namespace } from './namespaces.ts';
import { askOwner, QueueRequests } from './queue-requests.ts';

const folders: string[] = [];
const newFolder = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'bw-requests-'));
  folders.push(folder);
  return folder;
};
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

const namespace = (name: string, letters: string[]): Namespace => {
  const retry = async (ids: readonly string[]): Promise<number> => {
    if (ids.includes('stuck')) throw new Error('the disk is full');
    for (const id of ids) letters.splice(letters.indexOf(id), 1);
    return ids.length;
  };
  const deadLetters = { list: () => letters.map((id) => ({ id })), retry, drop: retry };
  return { name, cache: { deadLetters } } as unknown as Namespace;
};

test('nobody takes requests: no file is left and nothing is done', async () => {
  const folder = newFolder();
  assert.equal(await askOwner(folder, { what: 'drop', cache: null, ids: null }), null);
  // One was killed, and nobody has taken its place.
  writeFileSync(join(folder, '.takes-requests'), '');
  assert.equal(await askOwner(folder, { what: 'drop', cache: null, ids: null }, 1), null);
  assert.deepEqual(readdirSync(folder), ['.takes-requests']);
});

test('who has the directory answers: what was done, or why not', async () => {
  const folder = newFolder();
  const letters = ['a', 'b', 'stuck'];
  const requests = new QueueRequests(folder, [namespace('row', letters), namespace('other', ['a'])], SILENT);
  try {
    const ask = (cache: string | null, ids: string[] | null) => askOwner(folder, { what: 'retry', cache, ids }, 60_000);
    assert.deepEqual(await ask(null, ['a', 'nobody']), [
      { cache: 'row', id: 'a' },
      { cache: 'other', id: 'a' },
    ]);
    assert.deepEqual(await ask('row', ['a']), []);
    await assert.rejects(ask('none', null), { code: 'QUEUE_UNKNOWN' });
    await assert.rejects(ask('row', null), { code: 'QUEUE_REQUEST_FAILED', message: /disk is full/ });
    await assert.rejects(askOwner(folder, { what: 'sell' as 'drop', cache: null, ids: null }, 60_000), {
      code: 'QUEUE_REQUEST_INVALID',
    });
    assert.deepEqual(letters, ['b', 'stuck']);
    // Of a command that was killed long ago: not done.
    const old = join(folder, `.request-${'0'.repeat(36)}.json`);
    writeFileSync(old, JSON.stringify({ what: 'drop', cache: null, ids: null }));
    utimesSync(old, 1, 1);
    // Left by those who were killed between two steps.
    for (const step of ['taken', 'writing', 'answer']) {
      const orphan = join(folder, `.${step}-${'1'.repeat(36)}.json`);
      writeFileSync(orphan, '{}');
      utimesSync(orphan, 1, 1);
    }
    while (readdirSync(folder).some((name) => name.includes('1'.repeat(36)))) await ask('row', []);
    assert.deepEqual(letters, ['b', 'stuck']);
    assert.deepEqual(readdirSync(folder), ['.takes-requests']);
  } finally {
    await requests.close();
  }
  assert.deepEqual(readdirSync(folder), []);
});
