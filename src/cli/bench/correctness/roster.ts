/**
 * Who is measured. A peer whose package is not installed (Breakwater used as a dependency brings no peers) is left out with
 * one clear line.
 */
import { BreakwaterError, messageOf } from '../../../base/errors.ts';
import type { Subject } from './subject.ts';

const MAKERS: Readonly<Record<string, () => Promise<Subject>>> = {
  breakwater: async () => (await import('./peers/breakwater.ts')).breakwaterNode(),
  'breakwater-l1': async () => (await import('./peers/breakwater.ts')).breakwaterWithL1(),
  'breakwater-embedded': async () => (await import('./peers/breakwater.ts')).breakwaterEmbedded(),
  'breakwater-redis': async () => (await import('./peers/breakwater.ts')).breakwaterRedis(),
  'breakwater-redis-l1': async () => (await import('./peers/breakwater.ts')).breakwaterRedisL1(),
  'breakwater-cluster': async () => (await import('./peers/breakwater.ts')).breakwaterCluster(),
  'breakwater-cluster-l1': async () => (await import('./peers/breakwater.ts')).breakwaterClusterL1(),
  'breakwater-members': async () => (await import('./peers/breakwater.ts')).breakwaterMembers(),
  'breakwater-members-l1': async () => (await import('./peers/breakwater.ts')).breakwaterMembersL1(),
  'breakwater-ring': async () => (await import('./peers/breakwater.ts')).breakwaterRing(),
  'breakwater-ring-l1': async () => (await import('./peers/breakwater.ts')).breakwaterRingL1(),
  bentocache: async () => (await import('./peers/bentocache.ts')).bentocache(),
  cacheable: async () => (await import('./peers/cacheable.ts')).cacheable(),
  'cache-manager': async () => (await import('./peers/cache-manager.ts')).cacheManager(),
  'layered-loader': async () => (await import('./peers/layered-loader.ts')).layeredLoader(),
  'async-cache-dedupe': async () => (await import('./peers/async-cache-dedupe.ts')).asyncCacheDedupe(),
  'cache-aside': async () => (await import('./peers/cache-aside.ts')).cacheAside(),
  'set-nx-lock': async () => (await import('./peers/cache-aside.ts')).lockedCacheAside(),
};

export const SUBJECT_NAMES: readonly string[] = Object.keys(MAKERS);

export interface Roster {
  readonly subjects: readonly Subject[];
  /** A line for each that was asked for and cannot be measured. */
  readonly missing: readonly string[];
}

/** @throws BreakwaterError `USAGE_INVALID` for a name that nobody has */
export async function findSubjects(names: readonly string[]): Promise<Roster> {
  const subjects: Subject[] = [];
  const missing: string[] = [];
  for (const name of names) {
    const make = MAKERS[name];
    if (make === undefined) {
      throw new BreakwaterError(
        'USAGE_INVALID',
        `cannot measure ${JSON.stringify(name)}: expected some of ${SUBJECT_NAMES.join(', ')}`,
      );
    }
    try {
      subjects.push({ ...(await make()), word: name });
    } catch (error) {
      if (!isMissingPackage(error)) throw error;
      missing.push(`${name} is not measured: ${messageOf(error).split('\n')[0]}; npm install it to see it here`);
    }
  }
  return { subjects, missing };
}

function isMissingPackage(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : '';
  return code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND';
}
