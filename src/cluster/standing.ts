/**
 * How far each member is to be trusted with ranges: a member that comes and goes must not make data come and go.
 *
 *   came up         gets nothing before it was up for 15 s without a break                 (a process that dies of its first load has cost nothing)
 *   went down       stays in the target placement for 30 s: what it held is copied anew only then (a restart takes less)
 *   lost what it owned 3 times in 10 minutes      weight 0 for 10 minutes: it is drained, and shown as flapping
 *
 * Taking over from a dead member is none of this: that happens at once, by the voters' rules. This bounds what happens afterwards for balance.
 *
 * A plain immutable value and functions of it; who is up is the caller's judgement (heartbeats, not news by gossip).
 */
import type { Member, NodeId } from './member.ts';

export interface StandingRules {
  readonly stableMs: number;
  readonly replaceAfterMs: number;
  readonly flapWindowMs: number;
  /** Losses of ownership within the window that make a member a flapping one. */
  readonly flapLosses: number;
  readonly dampMs: number;
}

export const STANDING_RULES: StandingRules = {
  stableMs: 15_000,
  replaceAfterMs: 30_000,
  flapWindowMs: 600_000,
  flapLosses: 3,
  dampMs: 600_000,
};

export interface Standing {
  readonly isUp: boolean;
  /** Since when it is up or down. */
  readonly sinceMs: number;
  /** When it lost what it owned, within the window; never more than `flapLosses`. */
  readonly lossesMs: readonly number[];
  /** Weight 0 until then. */
  readonly dampedUntilMs: number;
}

export type Standings = ReadonlyMap<NodeId, Standing>;

/** `lost`: others took over ranges that it owned; told once for each time, however many they were. */
export type Sighting = { readonly kind: 'up' | 'down' | 'lost' | 'forgotten'; readonly id: NodeId };

/** What is known when these are seen, those of them that nothing is known of: as `sighted` of each of them up. */
export function met(standings: Standings, ids: readonly NodeId[], nowMs: number): Standings {
  const next = new Map(standings);
  for (const id of ids) {
    if (!next.has(id)) next.set(id, { lossesMs: [], dampedUntilMs: 0, isUp: true, sinceMs: nowMs });
  }
  return next;
}

/** What is known after one more sighting. What is no news returns the same value. */
export function sighted(
  standings: Standings,
  { kind, id }: Sighting,
  nowMs: number,
  rules: StandingRules = STANDING_RULES,
): Standings {
  const held = standings.get(id);
  // Copied only when there is news: this is asked of every member at every tick.
  switch (kind) {
    case 'forgotten': {
      if (held === undefined) return standings;
      const next = new Map(standings);
      next.delete(id);
      return next;
    }
    case 'up':
    case 'down': {
      const isUp = kind === 'up';
      if (held?.isUp === isUp) return standings;
      return new Map(standings).set(id, { lossesMs: [], dampedUntilMs: 0, ...held, isUp, sinceMs: nowMs });
    }
    case 'lost': {
      const before = held ?? { isUp: false, sinceMs: nowMs, lossesMs: [], dampedUntilMs: 0 };
      const lossesMs = [...before.lossesMs.filter((atMs) => nowMs - atMs < rules.flapWindowMs), nowMs];
      const isFlapping = lossesMs.length >= rules.flapLosses;
      // Counted anew after the penalty: it does not follow from the same three losses again.
      return new Map(standings).set(
        id,
        isFlapping ? { ...before, lossesMs: [], dampedUntilMs: nowMs + rules.dampMs } : { ...before, lossesMs },
      );
    }
  }
}

/** May it be given a range or a copy? */
export function mayReceive(
  standing: Standing | undefined,
  nowMs: number,
  rules: StandingRules = STANDING_RULES,
): boolean {
  return standing?.isUp === true && nowMs - standing.sinceMs >= rules.stableMs;
}

/** The members among which ranges are to be placed: those down for long left out, flapping ones with weight 0. */
export function placeable(
  members: Iterable<Member>,
  standings: Standings,
  nowMs: number,
  rules: StandingRules = STANDING_RULES,
): Member[] {
  const found: Member[] = [];
  for (const member of members) {
    const standing = standings.get(member.id);
    if (standing === undefined) continue;
    if (!standing.isUp && nowMs - standing.sinceMs >= rules.replaceAfterMs) continue;
    found.push(nowMs < standing.dampedUntilMs ? { ...member, weight: 0 } : member);
  }
  return found;
}

/** When the answers above change by time alone; Infinity: not. For a timer. */
export function nextChangeMs(standings: Standings, nowMs: number, rules: StandingRules = STANDING_RULES): number {
  let next = Number.POSITIVE_INFINITY;
  for (const { isUp, sinceMs, dampedUntilMs } of standings.values()) {
    for (const atMs of [sinceMs + (isUp ? rules.stableMs : rules.replaceAfterMs), dampedUntilMs]) {
      if (atMs > nowMs && atMs < next) next = atMs;
    }
  }
  return next;
}
