/**
 * A real node in this process, on a port that the system picked, with a clock turned by hand: TTLs and lease times pass without
 * waiting, while bytes travel through real sockets.
 */
import { ManualClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { Node } from '../../src/node/node.ts';
import { LatencyMeter } from '../../src/server/latency.ts';
import { RespListener } from '../../src/server/resp-listener.ts';

export interface LiveNode {
  readonly port: number;
  readonly url: `breakwater://${string}`;
  readonly clock: ManualClock;
  readonly node: Node;
  close(): Promise<void>;
}

export async function startLiveNode(
  options: { readonly memoryBytes?: number; readonly seed?: number } = {},
): Promise<LiveNode> {
  const clock = new ManualClock();
  const node = new Node({
    memoryBytes: options.memoryBytes ?? 32 * 1024 ** 2,
    eviction: 'tinylfu',
    random: new SeededRandom(options.seed ?? 1),
    startMs: clock.now(),
    version: 'test',
  });
  const listener = new RespListener(node, clock, new LatencyMeter(), {
    maxClients: 100,
    stallTimeoutMs: 60_000,
    idleTimeoutMs: 0,
    clientMemoryBytes: 256 * 1024 ** 2,
  });
  const port = await listener.listen(0, '127.0.0.1');
  return { port, url: `breakwater://127.0.0.1:${port}`, clock, node, close: () => listener.close(0) };
}
