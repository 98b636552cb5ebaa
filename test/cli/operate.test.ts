/** `breakwater drain`, `move` and `rebalance` on the members of a `breakwater cluster`: what they say, and who owns what then. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { askMember } from '../../src/cli/members.ts';
import type { ClusterStatus } from '../../src/server/cluster/status.ts';
import { eventually, runCli, startCli } from '../server/support.ts';

const TIMEOUT = { timeout: 600_000 };
const PATIENCE_MS = 180_000;
const running: { kill(signal: NodeJS.Signals): boolean }[] = [];
after(() => {
  for (const child of running) child.kill('SIGINT');
});

test('a member is drained, a range is moved, everything goes home', TIMEOUT, async () => {
  const cluster = startCli(['cluster', '--members', '3', '--port', '0', '--takeover', '10s']);
  running.push(cluster);
  let output = '';
  for (const stream of [cluster.stdout, cluster.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  await eventually(
    () => {
      assert.equal(cluster.exitCode, null, output);
      return /^ready: /m.test(output);
    },
    () => output,
    PATIENCE_MS,
  );
  const httpPort = /--http-port (\d+)/.exec(output)![1]!;
  const ask = async (...args: readonly string[]): Promise<ClusterStatus> => {
    const found = await runCli([...args, '--http-port', httpPort, '--json']);
    assert.equal(found.code, 0, found.stderr);
    return JSON.parse(found.stdout) as ClusterStatus;
  };
  const before = await askMember('127.0.0.1', Number(httpPort), 30_000);
  const [first, , third] = before.members.map(({ host, port }) => `${host}:${port}`) as [string, string, string];
  const owned = (status: ClusterStatus): number[] => status.members.map((member) => member.owned);

  const drained = await ask('drain', third, '--timeout', '120s');
  assert.deepEqual([drained.members[2]!.owned, drained.members[2]!.copied, drained.unowned], [0, 0, 0]);
  const refused = await runCli(['move', '0', '--to', third, '--http-port', httpPort]);
  assert.equal(refused.code, 1, refused.stdout);
  assert.match(refused.stderr, /leaving or drained \[MEMBER_REFUSED\]/);
  await ask('drain', third, '--undo', '--timeout', '120s');

  // From somebody else, whoever that is.
  const slots = before.members[1]!.slots[0]!;
  const moved = await ask('move', slots.split('-')[0]!, '--to', first, '--timeout', '120s');
  assert.equal(
    owned(moved).reduce((a, b) => a + b),
    64,
  );
  const home = await ask('rebalance', '--timeout', '120s');
  assert.deepEqual(owned(home), owned(before));
});
