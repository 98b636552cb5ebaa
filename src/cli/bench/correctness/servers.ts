/** The servers that subjects need, started fresh on free ports. */
import type { Children } from '../../children/children.ts';
import { startRedisCluster } from '../../children/redis-cluster.ts';
import { startBreakwater, startOnFreePorts } from '../../children/servers.ts';
import { startMembers } from './members.ts';
import { clusterFaults, type ServerFault } from './server-faults.ts';
import type { ServerKind } from './subject.ts';

export interface Started {
  /** Those that may be flushed and asked for their keys. */
  readonly ports: readonly number[];
  /** What can go wrong with the servers themselves, where links cannot be cut. */
  readonly faults: readonly ServerFault[];
  /** Before the children's own end; a cluster stays until then. */
  readonly stop: () => Promise<unknown>;
}

const RING = 3;

export async function startServer(kind: ServerKind, children: Children): Promise<Started> {
  switch (kind) {
    case 'none':
      return { ports: [], faults: [], stop: async () => {} };
    case 'redis': {
      const { ports, child } = await startOnFreePorts(
        1,
        ([port]) => {
          const settings = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
          return children.start('redis-server', settings, { label: 'redis-server' });
        },
        'PING\r\n',
        /^\+PONG/,
      );
      return { ports, faults: [], stop: () => child.stop() };
    }
    case 'redis-cluster': {
      const cluster = await startRedisCluster(children);
      return { ports: cluster.ports, faults: clusterFaults(cluster), stop: async () => {} };
    }
    case 'breakwater-members':
      return await startMembers(children);
    case 'breakwater':
    case 'breakwater-ring': {
      const count = kind === 'breakwater' ? 1 : RING;
      const nodes = await Promise.all(Array.from({ length: count }, () => startBreakwater(children, [])));
      return {
        ports: nodes.map(({ port }) => port),
        faults: [],
        stop: () => Promise.all(nodes.map(({ child }) => child.stop())),
      };
    }
  }
}
