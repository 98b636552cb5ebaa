import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

test('docs/configuration.md and docs/metrics.md are what the code says', () => {
  const script = fileURLToPath(new URL('../../scripts/gen-config-docs.mjs', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, ['--import', 'tsx', script, '--check'], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
});
