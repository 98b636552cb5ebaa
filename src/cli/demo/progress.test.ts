import assert from 'node:assert/strict';
import test from 'node:test';
import { bar, progressOn } from './progress.ts';

function collect(isTTY: boolean): {
  text: () => string;
  output: { isTTY: boolean; columns: number; write(t: string): void };
} {
  let all = '';
  return {
    text: () => all,
    output: {
      isTTY,
      columns: 60,
      write(text) {
        all += text;
      },
    },
  };
}

test('a bar has one width whatever the fraction', () => {
  for (const fraction of [-1, 0, 0.001, 0.5, 1, 7]) assert.equal(bar(fraction).length, bar(0).length);
  assert.match(bar(1), /^\[#+\]$/);
  assert.match(bar(0), /^\[-+\]$/);
});

test('in a terminal one line redraws itself and never wraps', () => {
  const { text, output } = collect(true);
  const progress = progressOn(output);
  progress.update('with the cache', 0.5, 'x'.repeat(200));
  progress.done('done');
  assert.ok(!text().slice(0, -5).includes('\n'));
  assert.ok(text().endsWith('\r\x1b[2Kdone\n'));
  assert.ok(text().split('\r\x1b[2K')[1]!.length < 60);
});

test('elsewhere there are whole lines, without control characters, and not too many', () => {
  const { text, output } = collect(false);
  const progress = progressOn(output);
  for (let i = 0; i < 100; i += 1) progress.update('filling', i / 100, 'rows');
  progress.update('running', null);
  progress.done('done');
  assert.equal(text(), 'filling 0 % · rows\nrunning\ndone\n');
});
