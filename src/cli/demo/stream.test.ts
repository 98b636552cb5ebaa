import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { brotliCompressSync } from 'node:zlib';
import { BreakwaterError } from '../../base/errors.ts';
import { readTrace, traceStream, zipfStream } from './stream.ts';

const directory = mkdtempSync(join(tmpdir(), 'breakwater-test-'));
after(() => rmSync(directory, { recursive: true, force: true }));

test('a Zipf stream reaches every row and repeats under its seed', () => {
  for (const rows of [1, 2, 7, 100, 1000]) {
    const stream = zipfStream(rows, 0.5, 1);
    const again = zipfStream(rows, 0.5, 1);
    const seen = new Set<number>();
    for (let i = 0; i < rows * 40; i += 1) {
      const id = stream.next();
      assert.equal(id, again.next());
      assert.ok(id >= 1 && id <= rows);
      seen.add(id);
    }
    assert.equal(seen.size, rows);
  }
});

test('a trace is read as it was written, and begins anew', () => {
  const path = join(directory, 'tiny.u32.br');
  const ids = new Uint32Array([0, 1, 2, 1, 70_000]);
  writeFileSync(path, brotliCompressSync(new Uint8Array(ids.buffer)));
  const read = readTrace(path);
  assert.deepEqual(read, ids);
  const stream = traceStream(read, 1000, 'tiny');
  assert.deepEqual(
    Array.from({ length: 7 }, () => stream.next()),
    [1, 2, 3, 2, 1, 1, 2],
  );
  assert.equal(stream.length, 5);
});

test('what is not a trace is refused in one sentence', () => {
  const wrong = join(directory, 'wrong');
  writeFileSync(wrong, 'no brotli');
  const short = join(directory, 'short');
  writeFileSync(short, brotliCompressSync(Buffer.from('abc')));
  for (const path of [wrong, short, join(directory, 'absent')]) {
    assert.throws(
      () => readTrace(path),
      (error) => error instanceof BreakwaterError && error.code === 'USAGE_TRACE',
    );
  }
});
