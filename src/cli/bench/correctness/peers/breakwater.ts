/** Breakwater itself: embedded (both instances are the one process that has it), and over a node without and with an L1. */
import { createBreakwater } from '../../../../cache/index.ts';
import { packageVersion } from '../../../version.ts';
import { type Instance, NAMESPACE, type Place, type Row, type Subject, tagOf } from '../subject.ts';

const L1_TTL = '250ms';

function instanceOf(place: Place, store: 'embedded' | `breakwater://${string}`, l1: boolean): Instance {
  const bw = createBreakwater({ store });
  const users = bw.cache<Row>(NAMESPACE, {
    ttl: place.ttlMs,
    loadTimeout: place.loadTimeoutMs,
    load: (ids) => Promise.all(ids.map((id) => place.load(id))),
    tags: (row) => [tagOf(row.id)],
    ...(l1 && store !== 'embedded' ? { l1: { ttl: L1_TTL } } : {}),
  });
  return {
    get: (id) => users.get(id),
    invalidateKey: (id) => bw.invalidate({ keys: [`${NAMESPACE}:${id}`] }),
    invalidateTag: (tag) => bw.invalidate({ tags: [tag] }),
    invalidateNamespace: () => bw.invalidate({ namespaces: [NAMESPACE] }),
    async crowdTags(count) {
      for (let from = 0; from < count; from += 1000) {
        await bw.invalidate({ tags: Array.from({ length: 1000 }, (_, index) => `crowd:${from + index}`) });
      }
    },
    close: async () => {
      await bw.close();
    },
  };
}

export async function breakwaterNode(): Promise<Subject> {
  return {
    name: 'breakwater',
    version: packageVersion(),
    configuration: 'a node (breakwater://), no L1: the default over the network',
    server: 'breakwater',
    news: 'l2',
    open: async (place) => instanceOf(place, `breakwater://127.0.0.1:${place.l2Port}`, false),
  };
}

export async function breakwaterWithL1(): Promise<Subject> {
  return {
    ...(await breakwaterNode()),
    name: `breakwater, L1 ${L1_TTL}`,
    configuration: `the same with an L1 of ${L1_TTL}, which bounds how long another process's invalidation goes unseen`,
    open: async (place) => instanceOf(place, `breakwater://127.0.0.1:${place.l2Port}`, true),
  };
}

export async function breakwaterEmbedded(): Promise<Subject> {
  return {
    name: 'breakwater embedded',
    version: packageVersion(),
    configuration: 'the engine inside one process, with its L1; both instances are that one',
    server: 'none',
    news: 'none',
    open: shared(),
  };
}

/** Embedded is one process: the second instance of a world is the first. */
function shared(): Subject['open'] {
  let open: { readonly instance: Instance; users: number } | null = null;
  return async (place) => {
    open ??= { instance: instanceOf(place, 'embedded', true), users: 0 };
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
