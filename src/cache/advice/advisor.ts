/**
 * Applies the rules and tells: keeps the advice for `bw.advice()`, says warnings aloud once a process, and lets listeners know, in a turn of its own so that
 * those who listen right after `createBreakwater` hear the first.
 */
import type { Watch } from '../observe/watch.ts';
import type { Advice } from './advice.ts';

/** What the application wants to hear. */
export interface AdvisorSettings {
  readonly silenced: ReadonlySet<string>;
  /** Warnings go to `process.emitWarning` too. */
  readonly isAloud: boolean;
}

interface AppliedRule<Facts> {
  readonly code: string;
  readonly level: 'warning' | 'hint';
  readonly why: string;
  readonly what: string;
  readonly found: (facts: Facts) => string | null;
}

/** Said already in this process: a service with many Breakwaters of one making is told once. */
const said = new Set<string>();
const MOST_SAID = 1_000;

export const SILENT: AdvisorSettings = { silenced: new Set(), isAloud: false };

export class Advisor {
  readonly #settings: AdvisorSettings;
  readonly #watch: Watch;
  readonly #given: Advice[] = [];

  constructor(settings: AdvisorSettings, watch: Watch) {
    this.#settings = settings;
    this.#watch = watch;
  }

  get given(): readonly Advice[] {
    return [...this.#given];
  }

  consider<Facts>(rules: readonly AppliedRule<Facts>[], about: string, facts: Facts): void {
    for (const { code, level, why, what, found } of rules) {
      if (this.#settings.silenced.has(code)) continue;
      const finding = found(facts);
      if (finding === null) continue;
      const advice: Advice = { code, level, about, message: `${about}: ${finding}: ${why}; ${what}` };
      this.#given.push(advice);
      queueMicrotask(() => this.#tell(advice));
    }
  }

  #tell(advice: Advice): void {
    if (this.#watch.hears('advice')) this.#watch.tell('advice', advice);
    const { code, level, message } = advice;
    if (!this.#settings.isAloud || level === 'hint' || said.has(message) || said.size >= MOST_SAID) return;
    said.add(message);
    process.emitWarning(message, { type: 'BreakwaterAdvice', code });
  }
}
