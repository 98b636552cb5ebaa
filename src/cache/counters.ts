/** What one cache counts: plain numbers, bumped in place. `CacheStats` in types.ts says what each means. */
export interface Counters {
  l1Hits: number;
  l2Hits: number;
  revalidated: number;
  negativeHits: number;
  staleHits: number;
  reloads: number;
  reloadsElsewhere: number;
  shed: number;
  backedOff: number;
  notModified: number;
  misses: number;
  joined: number;
  loads: number;
  loadedIds: number;
  loadErrors: number;
  loadTimeouts: number;
  loaderExtras: number;
  abandonedWaits: number;
  fillsRefused: number;
  fillErrors: number;
  l2ReadErrors: number;
  l2ReadsSkipped: number;
  leasePolls: number;
  leaseGiveUps: number;
  unreadable: number;
  unreadableFormat: number;
  unreadableKey: number;
  unreadableChunks: number;
  unreadableDamaged: number;
  schemaMisses: number;
  filtered: number;
  writes: number;
  sets: number;
  setsOutdated: number;
  deletes: number;
}

export function newCounters(): Counters {
  return {
    l1Hits: 0,
    l2Hits: 0,
    revalidated: 0,
    negativeHits: 0,
    staleHits: 0,
    reloads: 0,
    reloadsElsewhere: 0,
    shed: 0,
    backedOff: 0,
    notModified: 0,
    misses: 0,
    joined: 0,
    loads: 0,
    loadedIds: 0,
    loadErrors: 0,
    loadTimeouts: 0,
    loaderExtras: 0,
    abandonedWaits: 0,
    fillsRefused: 0,
    fillErrors: 0,
    l2ReadErrors: 0,
    l2ReadsSkipped: 0,
    leasePolls: 0,
    leaseGiveUps: 0,
    unreadable: 0,
    unreadableFormat: 0,
    unreadableKey: 0,
    unreadableChunks: 0,
    unreadableDamaged: 0,
    schemaMisses: 0,
    filtered: 0,
    writes: 0,
    sets: 0,
    setsOutdated: 0,
    deletes: 0,
  };
}

/** Why an entry of L2 was a miss. `unreadable` itself is counted with its removal. */
export function noteUnreadable(counters: Counters, cause: 'format' | 'key' | 'chunks' | 'damaged'): void {
  if (cause === 'format') counters.unreadableFormat += 1;
  else if (cause === 'key') counters.unreadableKey += 1;
  else if (cause === 'chunks') counters.unreadableChunks += 1;
  else counters.unreadableDamaged += 1;
}
