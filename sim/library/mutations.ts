/**
 * Rules of `src/` taken out, one at a time: what the simulator must find. Each is an exact piece of source and what it becomes; where the piece is not found exactly once, the rule has
 * moved and the table must follow it.
 */
export interface Edit {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export interface Mutation {
  readonly name: string;
  /** What the code does no more. */
  readonly what: string;
  readonly edits: readonly Edit[];
  /** Further words for the simulator: where the rule matters is rare in what it draws by itself. */
  readonly args?: readonly string[];
}

/** A rule that is one piece of source. */
export const one = (name: string, what: string, file: string, find: string, replace: string): Mutation => ({
  name,
  what,
  edits: [{ file, find, replace }],
});

export const MUTATIONS: readonly Mutation[] = [
  one(
    'delete-voids-no-lease',
    'a delete or a write of a key leaves the leases of loads under way good',
    'src/freshness/freshness.ts',
    'if (this.leases.live !== 0) this.leases.voidKey(key, start, length);\n    if (this.listener',
    'if (this.listener',
  ),
  one(
    'fill-ignores-tags',
    'a fill is stored although a tag of its value was invalidated since its lease',
    'src/freshness/freshness.ts',
    'for (let i = 0; allowed && i < tagCount; i += 1) allowed = !this.tags.invalidatedAfter(tags[i]!, version);',
    '',
  ),
  one(
    'fill-ignores-namespace',
    'a fill is stored although its namespace was invalidated since its lease',
    'src/freshness/freshness.ts',
    'allowed = !this.namespaces.invalidatedAfter(namespaceOfKey(key, start, length), version);',
    '',
  ),
  one(
    'generation-off-by-one',
    'an invalidation right behind an entry or a lease is not seen: compared with one number too many',
    'src/freshness/generations.ts',
    'this.#version[row]! > version;',
    'this.#version[row]! > version + 1;',
  ),
  one(
    'floor-ignored',
    'names that were forgotten, because the table is full, count as never invalidated',
    'src/freshness/generations.ts',
    'if (version < this.floor) return true;',
    '',
  ),
  one(
    'held-lease-granted',
    'a lease is granted although another caller holds it: no protection from stampedes',
    'src/freshness/leases.ts',
    'if (newest !== NONE && nowMs < this.#untilMs[newest]!) {',
    'if (newest !== NONE && nowMs < this.#untilMs[newest]! && durationMs < 0) {',
  ),
  one(
    'everywhere-at-once',
    '`wait: everywhere` is answered at once',
    'src/freshness/feed.ts',
    "if (untilMs <= nowMs) return 'done';",
    "if (untilMs > 0) return 'done';",
  ),
  one(
    'everywhere-forgets-the-departed',
    'a follower that lost its connection is not waited for, although it may trust its L1 still',
    'src/freshness/feed.ts',
    'this.#departedUntilMs = Math.max(this.#departedUntilMs, this.trustedUntil(subscriber));',
    '',
  ),
  one(
    'everywhere-forgets-the-past',
    'a node that has started anew does not wait for the followers of its last life',
    'src/freshness/feed.ts',
    'inheritedTrustUntilMs: nowMs + this.#maxBoundMs * DRIFT',
    'inheritedTrustUntilMs: Number.NEGATIVE_INFINITY',
  ),
  one(
    'l1-kept-over-a-new-reign',
    'what an L1 read before a reconnect stays good although the node cannot replay what was missed',
    'src/freshness/follower.ts',
    'if (continues) this.counts.replays += 1;',
    'if (continues || ballot !== null) { this.counts.replays += 1; range.number = number; }',
  ),
  one(
    'wide-gap-unnoticed',
    "tags and namespaces that were missed are not missed: only the keys' own stream is looked at",
    'src/freshness/follower.ts',
    'if (!wideReplayed) for (const range of on.ranges) this.#suspect(range);',
    '',
  ),
  {
    name: 'ping-counted-from-its-answer',
    what: 'a ping proves what was known when its answer came, not when it was sent',
    edits: [
      {
        file: 'src/cache/coherence.ts',
        find: 'this.#follower.pong(link, id, head);',
        replace: 'this.#follower.pong(link, id, head, this.#clock.now());',
      },
      {
        file: 'src/freshness/follower.ts',
        find: 'pong(link: number, id: number, head: number): void {',
        replace: 'pong(link: number, id: number, head: number, nowMs = 0): void {',
      },
      {
        file: 'src/freshness/follower.ts',
        find: 'this.#prove(on, on.answered(id, head));',
        replace: 'this.#prove(on, on.answered(id, head) > 0 ? nowMs : Number.NEGATIVE_INFINITY);',
      },
    ],
  },
  {
    name: 'bound-ignored',
    what: 'L1 is served however long ago it was known what others invalidated',
    edits: [
      {
        file: 'src/cache/l1.ts',
        find: ' || nowMs > this.#voids.goodUntilMs) return null;',
        replace: ') return null;',
      },
      { file: 'src/cache/l1.ts', find: 'if (nowMs > this.#voids.goodUntilMs) {', replace: 'if (nowMs < 0) {' },
    ],
  },
  one(
    'crossed-ignored',
    'what was read before an invalidation and arrives behind it is kept in L1',
    'src/cache/voids.ts',
    'if (stamp === this.#stamp) return false;',
    'if (stamp >= 0) return false;',
  ),
  one(
    'suspicion-ignored',
    'after a gap in the feed an entry of L1 is served without asking L2 for its version',
    'src/cache/voids.ts',
    'this.suspectedAt = this.#stamp;',
    '',
  ),
  one(
    'late-callers-need-no-verdict',
    'who joins a load is given what it brings although the store refused the fill',
    'src/cache/loads.ts',
    'const isGood = stored[index] === true && !this.#isCrossed(flight, entry);',
    'const isGood = !this.#isCrossed(flight, entry);',
  ),
  one(
    'late-absence-needs-no-verdict',
    'the same for an absence that is not remembered (found by this simulator)',
    'src/cache/loads.ts',
    'this.#judged(flight, lease !== null || this.#isCrossed(flight, entry) ? null : entry);',
    'this.#judged(flight, this.#isCrossed(flight, entry) ? null : entry);',
  ),
  one(
    'leaseless-load-joined',
    'a load without a lease is joined by callers who came after it had asked the source',
    'src/cache/loads.ts',
    'return loading.lease !== null && wishes.fresh !== true;',
    'return wishes.fresh !== true;',
  ),
  one(
    'fresh-joins-a-load',
    '`fresh: true` is answered by a load that began before the call',
    'src/cache/loads.ts',
    'return loading.lease !== null && wishes.fresh !== true;',
    'return loading.lease !== null;',
  ),
  one(
    'after-ignored',
    "L1 answers a get that carries another process's token",
    'src/cache/cache.ts',
    'if (this.#l1 === null || wishes.afterCall === true) return null;',
    'if (this.#l1 === null) return null;',
  ),
  one(
    'read-joined-on-its-way',
    'a get joins a read whose answer may have left the store before the get began',
    'src/cache/flights.ts',
    'this.#open.leave(flight);\n      flight.departed = departed;',
    'flight.departed = departed;',
  ),
  {
    name: 'slot-freed-at-the-timeout',
    what: 'a load that was cut off gives up its slot while the source still works on it',
    edits: [
      {
        file: 'src/cache/guard/guard.ts',
        find: "call.state = 'lingering';\n",
        replace: "call.state = 'lingering';\n    this.#limiter.leave(call.priority);\n    this.#dispatch();\n",
      },
      {
        file: 'src/cache/guard/guard.ts',
        find: '    } else {\n      this.#limiter.leave(call.priority);\n    }',
        replace: "    } else if (state === 'running') {\n      this.#limiter.leave(call.priority);\n    }",
      },
    ],
  },
  one(
    'place-lost-at-the-timeout',
    'a command that timed out gives up its place: the next reply goes to the wrong caller',
    'src/client/connection.ts',
    'const oldest = inFlight.peek();\n      parser.text',
    'while (inFlight.peek()?.settled === true) inFlight.shift();\n      const oldest = inFlight.peek();\n      parser.text',
  ),
  one(
    'deadline-lost-with-the-connection',
    'an idempotent command that waits for the next connection has no deadline (found by this simulator)',
    'src/client/client.ts',
    'this.#deadlines.note(pending.deadlineMs, nowMs);\n  }\n\n  #sweep',
    '}\n\n  #sweep',
  ),
  {
    ...one(
      'older-version-replaces',
      'a set of an older version replaces a newer one that is there',
      'src/freshness/freshness.ts',
      'return order > 0 ? STORE : order === 0 ? SAME : OLDER;',
      'return order === 0 ? SAME : STORE;',
    ),
    args: ['--about', 'versions'],
  },
  {
    ...one(
      'version-gone-with-its-entry',
      'what left is not remembered: an older set that comes late finds nothing and is stored',
      'src/freshness/source-versions.ts',
      'if (order < 0) return OLDER;\n      if (order > 0) return STORE;',
      'if (order !== 0) return STORE;',
    ),
    args: ['--about', 'versions'],
  },
  {
    ...one(
      'version-floor-ignored',
      'versions that were forgotten, because the table is full, count as never seen',
      'src/freshness/source-versions.ts',
      'if (compareSource(high, low, rows.floorHigh[at]!, rows.floorLow[at]!) <= 0) return UNSURE;',
      '',
    ),
    args: ['--about', 'versions'],
  },
  {
    ...one(
      'outbox-not-retried',
      'what the store did not acknowledge is taken for done at the first retry, which is not sent',
      'src/stores/outbox.ts',
      'await this.#inner.invalidate(byKind(batch), { timeoutMs });',
      'await Promise.resolve(timeoutMs);',
    ),
    args: ['--about', 'outbox'],
  },
  {
    ...one(
      'pending-key-served',
      'a key that is pending in the outbox is read from the store all the same',
      'src/stores/outbox/pending.ts',
      'return this.#items.has(`k${key}`) || (this.#namespaces > 0 && this.#items.has(`n${namespaceOf(key)}`));',
      'return key === undefined;',
    ),
    args: ['--about', 'outbox'],
  },
  {
    ...one(
      'pending-tag-served',
      'an entry with a tag that is pending in the outbox is served from the store all the same',
      'src/stores/outbox/pending.ts',
      'return this.#tags > 0 && tags.some((tag) => this.#items.has(`t${tag}`));',
      'return this.#tags < 0 && tags.length > 0;',
    ),
    args: ['--about', 'outbox'],
  },
];
