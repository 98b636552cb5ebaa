/**
 * Rules of the cluster taken out, one at a time: what the simulator must find. As `library/mutations.ts`: an exact piece of source and what it becomes.
 *
 * Two of them are of the model of a memory (`sim/cluster/`), which stands in for `freshness/` here.
 */
import { type Mutation, one } from '../library/mutations.ts';

/** Owners die while a copy is out of reach and may serve reads still. */
const HASTE = ['--aim', 'haste', '--minutes', '1'];
/** Others vote all the time, and members do not hear each other. */
const REVOTES = ['--voters-every', '600', '--faults', 'isolate,one-way,ring,halves', '--every', '900'];

export const CLUSTER_MUTATIONS: readonly Mutation[] = [
  one(
    'serves-without-lease',
    'rule 1: an owner serves although no majority acknowledged a heartbeat within F',
    'src/cluster/core.ts',
    'return this.views.isLeased(range, primary.record.ballot, this.#nowMs) ? SERVE : MINORITY;',
    'return SERVE;',
  ),
  one(
    'lease-from-receipt',
    'rule 1: the lease counts from the coming of an acknowledgement, not from the sending of its heartbeat',
    'src/cluster/views.ts',
    'view.sentMs = ack.sentMs;',
    'view.sentMs = nowMs;',
  ),
  one(
    'lease-ignores-objections',
    'rule 1: an acknowledgement counts for a range that its voter has promised to somebody else',
    'src/cluster/views.ts',
    'if (nowMs - view.sentMs < this.#timing.leaseMs && !objects(view.rows[range]!, ballot)) count += 1;',
    'if (nowMs - view.sentMs < this.#timing.leaseMs) count += 1;',
  ),
  {
    name: 't-below-f',
    what: 'rule 2: T = 0.7 F',
    edits: [
      { file: 'src/cluster/timing.ts', find: 'takeoverMs: 1500,', replace: 'takeoverMs: 700,' },
      { file: 'src/cluster/timing.ts', find: 'if (takeoverMs < 1.4 * leaseMs)', replace: 'if (takeoverMs < 0)' },
      {
        file: 'src/cluster/timing.ts',
        find: 'if (readLeaseMs > 0.93 * (takeoverMs - leaseMs))',
        replace: 'if (readLeaseMs < 0)',
      },
    ],
  },
  one(
    'voter-grants-unheard',
    'rule 2: a voter grants a range whose owner it has heard within T',
    'src/cluster/voter.ts',
    'return Math.max(0, this.#timing.takeoverMs - this.silenceOf(owner, patientMs));',
    'return 0 * this.silenceOf(owner, patientMs);',
  ),
  one(
    'voter-judges-its-own-table',
    'rule 2: a voter judges the owner that stands in its own table, not that of the record to be replaced',
    'src/cluster/voter.ts',
    'const waitMs = this.#waitFor(from, item, patientMs);',
    'const waitMs = this.#waitFor(from, { ...item, owner: row.accepted.owner }, patientMs);',
  ),
  one(
    'voter-overlooks-newer',
    'rule 2: a voter grants the replacement of a record although it has accepted a newer one',
    'src/cluster/voter.ts',
    "else if (compareBallots(row.accepted.ballot, item.basis) > 0) refused.push(this.#refusal(item.range, 'newer', 0));",
    '',
  ),
  one(
    'bare-epochs',
    'ballots are compared by their epochs alone',
    'src/base/ballot.ts',
    'return a.node < b.node ? -1 : a.node > b.node ? 1 : 0;',
    'return 0;',
  ),
  one(
    'stalls-count',
    'the time for which a machine stood still, or its clock jumped, counts as silence of others',
    'src/cluster/core.ts',
    'if (gapMs <= this.#timing.stallMs) {',
    'if (gapMs >= 0) {',
  ),
  one(
    'voter-forgets',
    'a voter that lost its memory votes at once',
    'src/cluster/voter.ts',
    "this.phase = options.hasForgotten ? 'recovering' : 'voting';",
    "this.phase = options.hasForgotten && options.rangeCount < 0 ? 'recovering' : 'voting';",
  ),
  {
    ...one(
      'voter-recovers-from-few',
      'a voter that lost its memory is content with the table of one other',
      'src/cluster/core.ts',
      'if (tables.length < needed) return;',
      'if (tables.length < 1) return;',
    ),
    args: ['--nodes', '3', '--faults', 'crash,isolate,one-way,spread', '--every', '700'],
  },
  {
    ...one(
      'answers-before-the-disk',
      'a voter answers before what it promised is written',
      'src/cluster/core.ts',
      "this.#out.push({ kind: 'send', to, message, afterWrite: this.#writes });",
      "this.#out.push({ kind: 'send', to, message, afterWrite: 0 });",
    ),
    args: ['--nodes', '3', '--aim', 'disk', '--minutes', '1'],
  },
  one(
    'acknowledged-at-once',
    'rule 3: a write is acknowledged before its copies have it',
    'src/cluster/primary.ts',
    'const waits = !isFirst || this.#mayBeHeldElsewhere(patientMs);',
    'const waits = this.#self === undefined && this.#mayBeHeldElsewhere(patientMs);',
  ),
  one(
    'first-set-never-waits',
    'rule 3: a SET of a key that the owner does not have never waits, whatever copies may have',
    'src/cluster/primary.ts',
    'if (follower.mayHoldMore || follower.applied < this.#removalOffset) return true;',
    '',
  ),
  one(
    'removed-without-record',
    'rule 3: a copy that does not answer is not waited for any more, before a majority accepted the smaller set',
    'src/cluster/primary.ts',
    'return !follower.isStaged || follower.readUntilMs > patientMs || this.#isProposed(follower.id);',
    'return (!follower.isStaged && !follower.isLeaving) || follower.readUntilMs > patientMs || this.#isProposed(follower.id);',
  ),
  {
    ...one(
      'read-lease-not-waited-out',
      'rule 3: a removed copy may serve reads still when what waited for it is acknowledged',
      'src/cluster/primary.ts',
      'return !follower.isStaged || follower.readUntilMs > patientMs || this.#isProposed(follower.id);',
      'return !follower.isStaged || this.#isProposed(follower.id);',
    ),
    args: ['--nodes', '3', '--faults', 'one-way,isolate', '--every', '700'],
  },
  one(
    'read-lease-endless',
    'rule 3: a copy serves reads until it is told otherwise',
    'src/cluster/copies.ts',
    'sentMs + this.#timing.readLeaseMs);',
    'sentMs + 1e6 * this.#timing.readLeaseMs);',
  ),
  one(
    'copy-counts-no-lag',
    'rule 3: a copy whose lease has ended takes itself for as good as it was, however long ago',
    'src/cluster/copies.ts',
    'return Math.max(0, nowMs - this.#copies[range]!.readUntilMs) * DRIFT;',
    'return nowMs === this.#copies[range]!.readUntilMs ? 0 : this.#copies[range]!.readUntilMs === NEVER ? Number.POSITIVE_INFINITY : 0 * DRIFT;',
  ),
  {
    ...one(
      'grace-skipped',
      'rule 3: a new owner does not wait for the read leases that the one before granted',
      'src/cluster/primary.ts',
      'if (patientMs < this.#graceUntilMs) return -1;',
      '',
    ),
    args: ['--faults', 'move,one-way,loss,spread', '--every', '250'],
  },
  {
    ...one(
      'one-refusal-is-enough',
      'crash fast path: one refused dial, of a connection that was reset, is taken for a death',
      'src/cluster/refusals.ts',
      'const REFUSALS = 2;',
      'const REFUSALS = 1;',
    ),
    args: ['--faults', 'reset', '--every', '500'],
  },
  {
    ...one(
      'closed-is-dead',
      'crash fast path: a closed connection is taken for a death, whether the port accepts or not',
      'src/cluster/refusals.ts',
      "closed.refused = outcome === 'refused' ? closed.refused + 1 : 0;",
      "closed.refused += outcome === 'nothing' ? 0 : 1;",
    ),
    args: ['--faults', 'reset', '--every', '500'],
  },
  {
    ...one(
      'port-closed-before-renouncing',
      'crash fast path: a member that ends closes its port while it serves still',
      'src/cluster/core.ts',
      'if (this.#isRetired) return;\n    this.#isRetired = true;',
      'if (nowMs > 0) return;\n    this.#isRetired = true;',
    ),
    args: ['--faults', 'quit', '--every', '900'],
  },
  {
    ...one(
      'haste-without-grace',
      'crash fast path: a new owner does not wait for the read leases that the dead one granted, to whomever',
      'src/cluster/core.ts',
      'return isCovered && this.#isSettled[range] ? 0 : readLeaseMs * DRIFT;',
      'return isCovered && this.#isSettled[range] ? 0 : 0 * readLeaseMs;',
    ),
    args: HASTE,
  },
  {
    ...one(
      'haste-unsettled',
      'crash fast path: a new owner takes the newest set for all that may hold a read lease of the dead one, however young it is',
      'src/cluster/core.ts',
      'return isCovered && this.#isSettled[range] ? 0 : readLeaseMs * DRIFT;',
      'return isCovered ? 0 : readLeaseMs * DRIFT;',
    ),
    args: HASTE,
  },
  {
    ...one(
      'haste-uncovered',
      'crash fast path: a new owner does not wait for a copy of the old set that is not in its own',
      'src/cluster/core.ts',
      'return isCovered && this.#isSettled[range] ? 0 : readLeaseMs * DRIFT;',
      'return this.#isSettled[range] ? 0 : readLeaseMs * DRIFT;',
    ),
    args: HASTE,
  },
  {
    ...one(
      'haste-forgets-its-copies',
      'crash fast path: a copy that does not follow the new owner is removed, and not waited for although it may serve reads still',
      'src/cluster/core.ts',
      'isHasty || yielded !== null ? this.#patientMs + this.#timing.readLeaseMs * DRIFT : Number.NEGATIVE_INFINITY,',
      'yielded !== null ? this.#patientMs + this.#timing.readLeaseMs * DRIFT : Number.NEGATIVE_INFINITY,',
    ),
    args: HASTE,
  },
  {
    ...one(
      'yield-forgets-copies',
      'a hand-over: a copy of the set that does not follow the new owner is removed, and not waited for although it may serve reads by leave of the old one',
      'src/cluster/core.ts',
      'isHasty || yielded !== null ? this.#patientMs + this.#timing.readLeaseMs * DRIFT : Number.NEGATIVE_INFINITY,',
      'isHasty ? this.#patientMs + this.#timing.readLeaseMs * DRIFT : Number.NEGATIVE_INFINITY,',
    ),
    args: ['--nodes', '3', '--aim', 'leases'],
  },
  {
    name: 'yield-forgets-leases',
    what: 'rule 3: a copy too many leaves the set with a read lease, and the owner hands the range over at once, without a word of that',
    edits: [
      {
        file: 'src/cluster/core.ts',
        find: 'record.inSync.length <= Math.max(2, this.#options.copies) &&\n      primary.outsideLeasesMs(this.#patientMs) === 0 &&\n',
        replace: '',
      },
      {
        file: 'src/cluster/core.ts',
        find: 'return wanted.filter((id) => !going.includes(id) || primary.mayRead(id, this.#patientMs));',
        replace: 'return wanted.filter((id) => !going.includes(id));',
      },
      {
        file: 'src/cluster/core.ts',
        find: 'const leasesMs = primary.outsideLeasesMs(this.#patientMs);',
        replace: 'const leasesMs = 0 * primary.outsideLeasesMs(this.#patientMs);',
      },
    ],
    args: ['--faults', 'move,one-way,loss,spread', '--every', '250'],
  },
  {
    ...one(
      'yield-while-serving',
      'a hand-over: the range is offered to its new owner while the old one serves on',
      'src/cluster/core.ts',
      'this.#endReign(range, why);\n    const item',
      'if (why.length === 0) this.#endReign(range, why);\n    const item',
    ),
    args: ['--faults', 'move', '--every', '300'],
  },
  {
    ...one(
      'proposed-set-uncounted',
      'rule 3: a member of a set that was proposed, and may have been accepted, is not waited for',
      'src/cluster/primary.ts',
      'return this.#proposed.some(({ inSync }) => inSync.includes(id));',
      'return this.#proposed.length < 0 && id.length > 0;',
    ),
    args: ['--faults', 'spread,loss,crash,isolate', '--every', '500'],
  },
  one(
    'joins-unready',
    'a copy is proposed before it has what was acknowledged',
    'src/cluster/primary.ts',
    'return isStaged && isFollowing && isHeard && !isSyncing && most <= follower.applied;',
    'return isStaged || (isFollowing && isHeard && !isSyncing && most < 0);',
  ),
  one(
    'outsider-keeps-content',
    'conflict: a claimant outside of the set keeps what it has',
    'src/cluster/core.ts',
    'if (!isKept) this.#options.store.clear(range);',
    '',
  ),
  one(
    'deposed-owner-followed',
    'a copy that started anew follows an owner that was deposed before (found by this simulator, in 1 of 6,275 schedules)',
    'src/cluster/copies.ts',
    'if (newest === null || compareBallots(record, newest) < 0) return false;',
    'if (newest === null && record.epoch < 0) return false;',
  ),
  {
    name: 'copy-keeps-content',
    what: 'conflict: a copy that missed effects, left the set or was deposed keeps what it has when it is fed again (with a backlog of 4 effects)',
    edits: [
      { file: 'src/cluster/copies.ts', find: 'if (!keeps) this.#store.clear(range);', replace: '' },
      {
        file: 'src/cluster/primary.ts',
        find: 'export const MAX_BACKLOG = 512;',
        replace: 'export const MAX_BACKLOG = 4;',
      },
      { file: 'src/cluster/primary.ts', find: 'const TRIM_COUNT = 16;', replace: 'const TRIM_COUNT = 4;' },
    ],
    args: ['--faults', 'loss,spread,slow,stall', '--every', '500'],
  },

  one(
    'gap-unnoticed',
    'a copy applies an effect although the one before is missing',
    'src/cluster/copies.ts',
    'if (from > copy.applied + 1) return;',
    'if (from > copy.applied + 1) copy.applied = from - 1;',
  ),
  {
    name: 'resync-of-another-reign',
    what: 'an offset of another reign, or of another session, is as good as one of ours: a copy goes on from a place in another stream',
    edits: [
      {
        file: 'src/cluster/primary.ts',
        find: 'if (!sameBallot(message.reign, this.reign) || message.session !== follower.session) {',
        replace: 'if (message.session < 0) {',
      },
      {
        file: 'src/cluster/copies.ts',
        find: 'if (copy.owner === null || session !== copy.session || !sameBallot(reign, copy.reign)) return;',
        replace: 'if (copy.owner === null || session < 0 || reign.epoch < 0) return;',
      },
      {
        file: 'src/cluster/copies.ts',
        find: 'if (copy.owner === null || session !== copy.session || !sameBallot(reign, copy.reign)) return null;',
        replace: 'if (copy.owner === null || session < 0 || reign.epoch < 0) return null;',
      },
    ],
    args: ['--faults', 'isolate,crash', '--every', '1500'],
  },
  {
    name: 'resync-over-a-gap',
    what: 'a copy whose next effect left the backlog goes on behind the gap, as if it had them (with a backlog of 4 effects)',
    edits: [
      {
        file: 'src/cluster/primary.ts',
        find: 'if (from < this.#backlogFrom) {\n        this.#restart(follower, false);\n        return;\n      }',
        replace:
          'if (from < this.#backlogFrom) {\n        follower.sentUpTo = this.#backlogFrom - 1;\n        follower.applied = this.#backlogFrom - 1;\n        continue;\n      }',
      },
      {
        file: 'src/cluster/primary.ts',
        find: 'export const MAX_BACKLOG = 512;',
        replace: 'export const MAX_BACKLOG = 4;',
      },
      { file: 'src/cluster/primary.ts', find: 'const TRIM_COUNT = 16;', replace: 'const TRIM_COUNT = 4;' },
    ],
    args: ['--faults', 'isolate,spread', '--every', '1000'],
  },
  one(
    'part-anywhere',
    'a copy takes a part that was cut at another place of the stream',
    'src/cluster/copies.ts',
    'isTaken = at === copy.applied;',
    '',
  ),
  one(
    'session-reused',
    'sessions of a copy that was forgotten and came back begin again at 1 (found by this simulator)',
    'src/cluster/primary.ts',
    'session: this.#sessions,',
    'session: 1,',
  ),
  one(
    'deposed-reign-followed',
    'a copy goes back to a lower reign',
    'src/cluster/copies.ts',
    'if (order < 0 || (order === 0 && (copy.owner === null || session <= copy.session))) return false;',
    'if (order === 0 && (copy.owner === null || session <= copy.session)) return false;',
  ),
  one(
    'promise-never-cleared',
    'an owner does not answer an objection to its record with a higher one',
    'src/cluster/core.ts',
    'if (!isContested || now - primary.contestedSinceMs < CONTEST_MS) return null;',
    'if (isContested || !isContested) return null;',
  ),
  {
    ...one(
      'busy-range-resent-never',
      'effects that were lost are sent again only when nothing new was done for a while (found by this simulator)',
      'src/cluster/primary.ts',
      'if (follower.applied === this.offset - 1) follower.movedMs = nowMs;',
      'follower.movedMs = nowMs;',
    ),
    args: ['--faults', 'loss,spread', '--every', '500'],
  },
  {
    name: 'forgotten-still-counted',
    what: 'a member is forgotten although records name it, and is listened to and counted on as before',
    edits: [
      {
        file: 'src/cluster/core.ts',
        find: 'if (this.#isNamed(id)) {',
        replace: 'if (this.#isNamed(id) && id.length === 0) {',
      },
      {
        file: 'src/cluster/voter.ts',
        find: "return isNamed ? 'named' : 'accepted';",
        replace: "return isNamed && this.#rows.length === 0 ? 'named' : 'accepted';",
      },
      {
        file: 'src/cluster/voter.ts',
        find: 'if (!members.has(ballot.node) || (owner !== null && !members.has(owner))) return true;',
        replace: 'if (members.size >= 0) return false;',
      },
      { file: 'src/cluster/core.ts', find: 'if (!this.membership.has(from) && from !== ETCD) return;', replace: '' },
      {
        file: 'src/cluster/core.ts',
        find: 'if (!this.membership.has(id)) return Number.POSITIVE_INFINITY;',
        replace: '',
      },
    ],
    args: ['--joiners', '3', '--faults', 'none'],
  },
  {
    ...one(
      'roster-change-lost',
      'a change of the roster is applied to the one that its proposer knows, not to the newest that the voters accepted',
      'src/cluster/membership.ts',
      'const basis = proposal.newest ?? this.founding;',
      'const basis = this.known;',
    ),
    args: ['--joiners', '4', '--faults', 'spread,loss', '--every', '700'],
  },
  {
    ...one(
      'etcd-claims-unheard',
      'etcd: a range is claimed although its owner was heard within T',
      'src/cluster/etcd-voter.ts',
      'return owner !== null && owner !== this.#options.self && !isYielded;',
      'return owner !== null && isYielded && owner !== this.#options.self && !isYielded;',
    ),
    args: ['--coordination', 'etcd'],
  },
  {
    ...one(
      'etcd-heartbeat-uncompared',
      'etcd: a claim that was long on its way is done although its owner was heard meanwhile',
      'src/cluster/etcd-voter.ts',
      "compare.push({ key: heartbeat, mod: 'equal', revision: this.#heard.get(item.owner!)?.mod ?? 0 });",
      '',
    ),
    args: ['--coordination', 'etcd', '--faults', 'spread,etcd-slow,etcd-cut,etcd-deaf', '--every', '500'],
  },
  {
    ...one(
      'etcd-record-uncompared',
      'etcd: a record is written whatever stands there by then',
      'src/cluster/etcd-voter.ts',
      "const compare: EtcdCompare[] = [{ key, mod: 'equal', revision: mod }];",
      "const compare: EtcdCompare[] = [{ key, mod: 'less', revision: mod + 1e9 }];",
    ),
    args: ['--coordination', 'etcd'],
  },
  {
    ...one(
      'etcd-lease-without-table',
      'etcd: a heartbeat is acknowledged without the records of that moment',
      'src/cluster/etcd-voter.ts',
      'if (row.mod <= after) return;',
      'if (row.mod <= after || row.mod > this.#ownMod - 40) return;',
    ),
    args: ['--coordination', 'etcd'],
  },
  {
    name: 'voters-of-any-set',
    what: 'a voter answers whoever asks, whatever set of voters it names, acknowledgements of every set are counted together, and nobody is told that the voters have changed',
    edits: [
      {
        file: 'src/cluster/voter.ts',
        find: "if (!sameBallot(set, this.set) || this.phase === 'out') return 'voters';",
        replace: "if (set.epoch < 0 || this.phase === 'out') return 'voters';",
      },
      {
        file: 'src/cluster/views.ts',
        find: 'const isIn = ack.isVoting && sameBallot(ack.set, this.#set);',
        replace: 'const isIn = ack.isVoting;',
      },
      {
        file: 'src/cluster/core.ts',
        find: "if (compareBallots(ack.set, since) < 0) this.#send(from, { kind: 'roster-known', roster: this.membership.known });",
        replace: '',
      },
      {
        file: 'src/cluster/core.ts',
        find: "if (compareBallots(known, roster.ballot) < 0) this.#send(to, { kind: 'roster-known', roster });",
        replace: 'if (known.epoch < 0) this.#send(to, { kind: "roster-known", roster });',
      },
    ],
    args: REVOTES,
  },
  {
    ...one(
      'new-voter-at-once',
      'a new voter votes before it has waited for T and read what was promised',
      'src/cluster/voter.ts',
      "this.phase = isNew ? 'recovering' : 'syncing';",
      "this.phase = isNew ? 'voting' : 'syncing';",
    ),
    args: REVOTES,
  },
  {
    ...one(
      'new-voter-without-t',
      'a new voter votes when it has read what was promised, without the wait for T',
      'src/cluster/core.ts',
      'voter.wait(this.#patientMs);',
      'voter.wait(this.#patientMs - 10 * this.#timing.takeoverMs);',
    ),
    args: REVOTES,
  },
  {
    ...one(
      'voters-unsynced',
      'a voter goes over to another set and votes at once, without what the others of the set before agreed upon',
      'src/cluster/voter.ts',
      "this.phase = isNew ? 'recovering' : 'syncing';",
      "this.phase = isNew ? 'recovering' : 'voting';",
    ),
    args: REVOTES,
  },
  {
    ...one(
      'voters-changed-at-once',
      'the next change of the voters does not wait for T behind the one before, nor for those who are to know of it',
      'src/cluster/voter.ts',
      "if (isOtherSet && patientMs - this.#votesFromMs < this.#timing.takeoverMs) return 'settling';",
      "if (isOtherSet && patientMs < 0) return 'settling';",
    ),
    args: REVOTES,
  },
  {
    ...one(
      'held-unasked',
      'a request that waited for a range to have its owner is executed where it waited, whoever that is by now',
      'src/commands/redirect.ts',
      'if (state === OWNED) return HERE;',
      'if (state === OWNED || session.heldUntilMs !== 0) return HERE;',
    ),
    args: ['--memory', 'node', '--faults', 'move,one-way,loss', '--every', '300'],
  },
  {
    ...one(
      'held-answered-twice',
      'a request that waits for a range to have its owner is answered besides, and again when it is executed',
      'src/commands/redirect.ts',
      'if (!(staleMs >= 0) && cluster.hold(session, slot)) return HELD;',
      'if (!(staleMs >= 0) && cluster.hold(session, slot)) {\n      out.error(TRY_AGAIN);\n      return HELD;\n    }',
    ),
    args: ['--memory', 'node', '--faults', 'move,one-way,loss', '--every', '300'],
  },
  one(
    'tokens-unchecked',
    'rule 4: a fill is stored whatever became of its token (in the model of a memory)',
    'sim/cluster/model-store.ts',
    'if (part.tokens.get(key) !== token) return null;',
    'if (token < 0) return null;',
  ),
  {
    ...one(
      'gutter-entries-live-on',
      'rule 5: what is in the gutter of a production node lives as long as it was stored for',
      'src/node/gutter.ts',
      'const untilMs = expiresAtMs === 0 ? mostMs : Math.min(expiresAtMs, mostMs);',
      'const untilMs = mostMs < 0 ? mostMs : expiresAtMs;',
    ),
    args: ['--memory', 'node', '--faults', 'isolate', '--every', '2000'],
  },
  one(
    'gutter-outlives-g',
    'rule 5: what is in the gutter has no end (in the model of a memory)',
    'sim/cluster/member-host.ts',
    'untilMs: token.atMs + setup.gutterMs',
    'untilMs: token.atMs + 1000 * setup.gutterMs',
  ),
];
