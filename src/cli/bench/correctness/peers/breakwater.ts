/**
 * Breakwater itself, on every store: embedded (both instances are the one process that has it), a node, Redis alone, a Redis Cluster and a ring of
 * nodes; with an L1 where the store can keep it right.
 */
import { type BreakwaterOptions, createBreakwater } from '../../../../cache/index.ts';
import { packageVersion } from '../../../version.ts';
import { type Instance, NAMESPACE, type Place, type Row, type Subject, tagOf } from '../subject.ts';

/** The default of `staleness`. */
const BOUND_MS = 250;

type Store = NonNullable<BreakwaterOptions['store']>;

function instanceOf(
  place: Place,
  store: Store,
  l1: Record<string, never> | { readonly ttl: number } | false,
): Instance {
  const bw = createBreakwater({ store, advice: false });
  const users = bw.cache<Row>(NAMESPACE, {
    ttl: place.ttlMs,
    loadTimeout: place.loadTimeoutMs,
    load: (ids) => Promise.all(ids.map((id) => place.load(id))),
    tags: (row) => [tagOf(row.id)],
    l1,
  });
  return {
    get: (id) => users.get(id),
    invalidateKey: (id) => bw.invalidate({ keys: [`${NAMESPACE}:${id}`] }),
    invalidateTag: (tag) => bw.invalidate({ tags: [tag] }),
    invalidateNamespace: () => bw.invalidate({ namespaces: [NAMESPACE] }),
    async crowdTags(count) {
      for (let from = 0; from < count; from += CROWD) {
        const tags = Array.from({ length: CROWD }, (_, index) => `crowd:${from + index}`);
        for (let tries = 1; ; tries += 1) {
          try {
            await bw.invalidate({ tags });
            break;
          } catch (error) {
            if (tries === MOST_TRIES) throw error;
          }
        }
      }
    },
    close: async () => {
      await bw.close();
    },
  };
}

/** Tags in one invalidation: of a cluster each of them is an effect in every range, and all of them must be acknowledged within `writeTimeout`. */
const CROWD = 200;
/** On a machine that has other things to do as well. */
const MOST_TRIES = 20;

function subject(
  name: string,
  configuration: string,
  server: Subject['server'],
  open: (place: Place) => Instance,
  boundMs?: number,
): Subject {
  return {
    name,
    version: packageVersion(),
    configuration,
    server,
    news: server === 'none' || server === 'redis-cluster' || server === 'breakwater-members' ? 'none' : 'l2',
    ...(boundMs !== undefined && { boundMs }),
    open: async (place) => open(place),
  };
}

const nodeUrl = ({ l2Port }: Place): `breakwater://${string}` => `breakwater://127.0.0.1:${l2Port}`;
const redisUrl = ({ l2Port }: Place): `redis://${string}` => `redis://127.0.0.1:${l2Port}`;
const clusterUrl = ({ l2Ports }: Place): `redis://${string}` =>
  `redis://${l2Ports.map((port) => `127.0.0.1:${port}`).join(',')}`;
/** Named, since each instance reaches them through links of its own. */
const ringOf = ({ l2Ports }: Place): Store => ({
  ring: l2Ports.map((port, index) => ({ url: `breakwater://127.0.0.1:${port}` as const, name: `server-${index}` })),
});

export const breakwaterNode = (): Subject =>
  subject('breakwater', 'a node (breakwater://), no L1: the default over the network', 'breakwater', (place) =>
    instanceOf(place, nodeUrl(place), false),
  );

export const breakwaterWithL1 = (): Subject =>
  subject(
    'breakwater, L1',
    `a node, and an L1 kept right by its feed; declared bound ${BOUND_MS} ms`,
    'breakwater',
    (place) => instanceOf(place, nodeUrl(place), {}),
    BOUND_MS,
  );

export const breakwaterRedis = (): Subject =>
  subject('breakwater on redis', 'redis-server (redis://), no L1: the default over the network', 'redis', (place) =>
    instanceOf(place, redisUrl(place), false),
  );

export const breakwaterRedisL1 = (): Subject =>
  subject(
    'breakwater on redis, L1',
    `redis-server, and an L1 kept right by CLIENT TRACKING; declared bound ${BOUND_MS} ms`,
    'redis',
    (place) => instanceOf(place, redisUrl(place), {}),
    BOUND_MS,
  );

const CLUSTER =
  'Redis Cluster of three primaries with a replica each, reached past the links, which its addresses would lead around';

export const breakwaterCluster = (): Subject =>
  subject('breakwater on cluster', `${CLUSTER}; no L1`, 'redis-cluster', (place) =>
    instanceOf(place, clusterUrl(place), false),
  );

export const breakwaterClusterL1 = (): Subject =>
  subject(
    'breakwater on cluster, L1',
    `the same with an L1 kept right by CLIENT TRACKING; declared bound ${BOUND_MS} ms`,
    'redis-cluster',
    (place) => instanceOf(place, clusterUrl(place), {}),
    BOUND_MS,
  );

const membersUrl = ({ l2Ports }: Place): `breakwater://${string}` =>
  `breakwater://${l2Ports.map((port) => `127.0.0.1:${port}`).join(',')}`;

const MEMBERS =
  'a cluster of three nodes, each range with one copy, reached past the links; in the mix members are killed, stopped and cut off from each other';

export const breakwaterMembers = (): Subject =>
  subject('breakwater, three nodes', `${MEMBERS}; no L1`, 'breakwater-members', (place) =>
    instanceOf(place, membersUrl(place), false),
  );

export const breakwaterMembersL1 = (): Subject =>
  subject(
    'breakwater, three nodes, L1',
    `the same with an L1 kept right by the feeds of all members; declared bound ${BOUND_MS} ms`,
    'breakwater-members',
    (place) => instanceOf(place, membersUrl(place), {}),
    BOUND_MS,
  );

export const breakwaterRing = (): Subject =>
  subject(
    'breakwater ring',
    'a ring of three nodes, no L1; a fault of the mix cuts off one of them',
    'breakwater-ring',
    (place) => instanceOf(place, ringOf(place), false),
  );

export const breakwaterRingL1 = (): Subject =>
  subject(
    'breakwater ring, L1',
    `the same with an L1 whose ttl of ${BOUND_MS} ms is its declared bound: a ring has no feed`,
    'breakwater-ring',
    (place) => instanceOf(place, ringOf(place), { ttl: BOUND_MS }),
    BOUND_MS,
  );

export const breakwaterEmbedded = (): Subject => ({
  name: 'breakwater embedded',
  version: packageVersion(),
  configuration: 'the engine inside one process, with its L1; both instances are that one',
  server: 'none',
  news: 'none',
  open: shared(),
});

/** Embedded is one process: the second instance of a world is the first. */
function shared(): Subject['open'] {
  let open: { readonly instance: Instance; users: number } | null = null;
  return async (place) => {
    open ??= { instance: instanceOf(place, 'embedded', {}), users: 0 };
    const mine = open;
    mine.users += 1;
    return {
      ...mine.instance,
      close: async () => {
        mine.users -= 1;
        if (mine.users > 0) return;
        open = null;
        await mine.instance.close();
      },
    };
  };
}
