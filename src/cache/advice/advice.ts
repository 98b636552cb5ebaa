/** One piece of the advisor's advice. */
export interface Advice {
  /** Stable, as in `ADVICE_L1_WITHOUT_FEED`: silence by it. docs/advice.md lists all. */
  readonly code: string;
  /** `warning`: likely to hurt. `hint`: worth a thought. */
  readonly level: 'warning' | 'hint';
  /** What it is about: `cache "user"`, `createBreakwater`, `store`, `source "pg"`. */
  readonly about: string;
  /** What was found, why it is unwise and what to do, in one sentence. */
  readonly message: string;
}
