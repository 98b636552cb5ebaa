/**
 * What goes wrong with the servers themselves, where no link of ours lies between them and their clients: a cluster's clients find its members out.
 *
 *   disconnected   one primary closes all its connections
 *   paused         one primary answers nobody for a while
 *   killed         one primary is killed; its replica takes over, and it comes back as a replica
 */
import { ask, type RedisCluster } from '../../children/redis-cluster.ts';

/** One kind of fault. */
export interface ServerFault {
  readonly name: string;
  /** Of all faults of a mix, at most so many are of this kind. */
  readonly most: number;
  /** @param which any number: picks the server. Resolves when it is over. */
  run(forMs: number, which: number): Promise<void>;
}

/** A takeover takes seconds, in which a third of all calls find nobody. */
const MOST_KILLS = 3;

export function clusterFaults(cluster: RedisCluster): readonly ServerFault[] {
  const primary = async (which: number): Promise<number> => {
    const primaries = await cluster.primaries();
    return primaries[which % primaries.length]!;
  };
  return [
    {
      name: 'disconnected',
      most: Number.POSITIVE_INFINITY,
      run: async (_, which) => void (await ask(await primary(which), 'CLIENT KILL TYPE normal SKIPME yes')),
    },
    {
      name: 'paused',
      most: Number.POSITIVE_INFINITY,
      run: async (forMs, which) => {
        await ask(await primary(which), `CLIENT PAUSE ${Math.ceil(forMs)} ALL`);
        await new Promise((resolve) => setTimeout(resolve, forMs));
      },
    },
    { name: 'killed', most: MOST_KILLS, run: async (_, which) => cluster.killAndRestart(await primary(which)) },
  ];
}
