/** `breakwater cluster` and `breakwater nodes`: a cluster in one command, its table, what a kill does to it, and that Ctrl-C leaves nothing behind. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { eventually, runCli, type ServedNode, serveNode, startCli } from '../server/support.ts';

const TIMEOUT = { timeout: 600_000 };
const PATIENCE_MS = 180_000;
const running: { kill(signal: NodeJS.Signals): boolean }[] = [];
let single: ServedNode | null = null;
after(async () => {
  for (const child of running) child.kill('SIGKILL');
  await single?.stop('SIGKILL');
});

test('three members in one command: a table, takeover after a kill, the end', TIMEOUT, async () => {
  const cluster = startCli(['cluster', '--members', '3', '--zones', '3', '--port', '0', '--takeover', '2s']);
  running.push(cluster);
  let output = '';
  for (const stream of [cluster.stdout, cluster.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  const until = (what: RegExp): Promise<void> =>
    eventually(
      () => {
        assert.equal(cluster.exitCode, null, output);
        return what.test(output);
      },
      () => `${what}: ${output}`,
      PATIENCE_MS,
    );
  await until(/^ready: /m);
  const members = [...output.slice(output.indexOf('ready: ')).matchAll(/(\d+) \(process (\d+)\)/g)];
  assert.equal(members.length, 3);
  assert.match(output, /zone-1[\s\S]*zone-2[\s\S]*zone-3/);
  assert.equal(output.match(/voter/g)?.length, 3);
  const httpPort = /--http-port (\d+)/.exec(output)![1]!;

  const table = await runCli(['nodes', '--http-port', httpPort]);
  assert.equal(table.code, 0, table.stderr);
  assert.match(table.stdout, /64 ranges of 256 slots, each on 2 members, takeover after 2000 ms/);
  const json = JSON.parse((await runCli(['nodes', '--http-port', httpPort, '--json'])).stdout) as {
    readonly members: readonly { readonly owned: number; readonly copied: number }[];
  };
  assert.equal(
    json.members.reduce((sum, { owned }) => sum + owned, 0),
    64,
  );
  assert.equal(
    json.members.reduce((sum, { copied }) => sum + copied, 0),
    64,
  );

  process.kill(Number(members[2]![2]), 'SIGKILL');
  await until(/its ranges have other owners/);
  assert.match(output, /has ended\. It is started again by:\n {2}breakwater serve --port/);

  const ended = once(cluster, 'exit');
  cluster.kill('SIGINT');
  assert.deepEqual(await ended, [0, null]);
  for (const [, , pid] of members) assert.throws(() => process.kill(Number(pid), 0), { code: 'ESRCH' });
});

test('one primary with replicas: one member owns everything, the others copy it', TIMEOUT, async () => {
  const cluster = startCli(['cluster', '--members', '3', '--topology', 'primary', '--port', '0', '--takeover', '3s']);
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
  assert.match(output, /each on 3 members.*one primary for all of them/);
  const httpPort = /--http-port (\d+)/.exec(output)![1]!;
  const { members, topology } = JSON.parse((await runCli(['nodes', '--http-port', httpPort, '--json'])).stdout) as {
    readonly topology: string;
    readonly members: readonly { readonly owned: number; readonly copied: number; readonly slots: readonly string[] }[];
  };
  assert.equal(topology, 'primary');
  assert.deepEqual(members.map(({ owned, copied }) => [owned, copied]).sort(), [
    [0, 64],
    [0, 64],
    [64, 0],
  ]);
  const ended = once(cluster, 'exit');
  cluster.kill('SIGINT');
  assert.deepEqual(await ended, [0, null]);
});

test('what cannot be done: one line and an exit code', TIMEOUT, async () => {
  single = await serveNode();
  const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
    [['nodes', '--http-port', String(single.httpPort)], 1, /no member of a cluster \[NOT_A_MEMBER\]/],
    [['nodes', '--http-port', 'x'], 2, /--http-port/],
    [['cluster', '--members', '0'], 2, /--members.*1 to 16/],
    [['cluster', '--members', '2', '--replicas', '2'], 2, /--replicas.*0 to 1/],
    [['cluster', '--members', '3', '--zones', '4'], 2, /--zones.*1 to 3/],
    [['cluster', '--memory', 'lots'], 2, /--memory.*"lots"/],
    [
      ['serve', '--join', '127.0.0.1:1', '--voters', '3'],
      2,
      /not in the list of --join.*voters was decided.*CONFIG_INVALID/,
    ],
    [['serve', '--data', '/tmp'], 2, /--join.*CONFIG_INVALID/],
  ];
  for (const [args, code, why] of cases) {
    const found = await runCli(args);
    assert.equal(found.code, code, found.stderr);
    assert.match(found.stderr, why);
  }
});
