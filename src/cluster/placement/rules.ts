/** What placement keeps to. The numbers are ratios to a member's share by weight. */
import { BreakwaterError } from '../../base/errors.ts';
import { MAX_COPIES } from '../record.ts';

export interface PlacementRules {
  /** Members that hold a range, the owner included: 1 to 8. Fewer where there are not as many members. Default 2. */
  readonly copies: number;
  /** No member owns more than this times its share of the ranges, rounded up to a range. From 1. Default 1.1. */
  readonly bound: number;
  /** A member that owns or holds less than this times its share is given more; from here to `bound` nothing moves for balance. Default 0.8. */
  readonly low: number;
  /** What is held (owned and copied) leaves a member above this times its share, where that costs no zone. Default 1.25. */
  readonly heldBound: number;
  /**
   * For a copy in another zone a member may hold up to this times its share; then the copy stays in a zone twice. Default 2. A small zone beside
   * a large one would otherwise hold a copy of everything, and evict most of it.
   */
  readonly zoneBound: number;
}

export const DEFAULT_RULES: PlacementRules = { copies: 2, bound: 1.1, low: 0.8, heldBound: 1.25, zoneBound: 2 };

/** @throws BreakwaterError `PLACEMENT_INVALID` */
export function checkRules(rules: PlacementRules): void {
  const { copies, bound, low, heldBound, zoneBound } = rules;
  const refuse = (what: string, received: number): never => {
    throw new BreakwaterError('PLACEMENT_INVALID', `cannot place ranges: ${what}, received ${received}`);
  };
  if (!(Number.isInteger(copies) && copies >= 1 && copies <= MAX_COPIES))
    refuse(`copies must be from 1 to ${MAX_COPIES}`, copies);
  if (!(bound >= 1)) refuse('bound must be at least 1', bound);
  if (!(low >= 0 && low < 1)) refuse('low must be from 0 and below 1', low);
  if (!(heldBound >= 1)) refuse('heldBound must be at least 1', heldBound);
  if (!(zoneBound >= heldBound)) refuse('zoneBound must be at least heldBound', zoneBound);
}
