/**
 * Whether what the gateway stands on can be reached: each source and the store are asked every few seconds, in the background, and /readyz tells what is known.
 * So a probe costs the database nothing, however many ask.
 *
 * Ready means "send me requests", and a gateway can answer many of them while its database is away: what is cached, and what is within its grace. If every
 * gateway said "not ready" then, the load balancer would have nobody left and an outage of the database would be one of everything. So the gateway is ready once
 * everything has been reached for the first time, and stays so until it is told to stop; what is away now is told in the body (`degraded`). Who wants it the other
 * way asks `/readyz?strict`.
 */
import { messageOf } from '../base/errors.ts';

/** Asks one thing; rejects when it does not answer. */
export interface Probe {
  readonly name: string;
  ask(signal: AbortSignal): Promise<void>;
}

export interface Reach {
  readonly isUp: boolean;
  /** What it last failed with; null = it has not. */
  readonly lastError: string | null;
}

const EVERY_MS = 2_000;
/** Until everything was reached once. */
const FIRST_EVERY_MS = 500;
const TIMEOUT_MS = 2_000;

export class Readiness {
  readonly #probes: readonly Probe[];
  readonly #reached = new Map<string, Reach>();
  readonly #onChange: (name: string, reach: Reach) => void;
  #hasReachedAll = false;
  #isStopping = false;
  #timer: NodeJS.Timeout | null = null;
  #ending = new AbortController();

  /** @param onChange told when something comes or goes */
  constructor(probes: readonly Probe[], onChange: (name: string, reach: Reach) => void) {
    this.#probes = probes;
    this.#onChange = onChange;
  }

  /** Asks for the first time; resolves when everything has answered or failed. */
  async start(): Promise<void> {
    await this.#askAll();
  }

  isUp(name: string): boolean {
    return this.#reached.get(name)?.isUp ?? false;
  }

  /** What is away now, by name, with why. */
  get away(): { readonly name: string; readonly error: string }[] {
    return this.#probes.flatMap(({ name }) => {
      const reach = this.#reached.get(name);
      return reach?.isUp === true ? [] : [{ name, error: reach?.lastError ?? 'not asked yet' }];
    });
  }

  state(isStrict: boolean): 'ready' | 'degraded' | 'starting' | 'stopping' {
    if (this.#isStopping) return 'stopping';
    if (this.#reached.size < this.#probes.length) return 'starting';
    if (this.away.length === 0) return 'ready';
    return this.#hasReachedAll && !isStrict ? 'degraded' : 'starting';
  }

  stopping(): void {
    this.#isStopping = true;
  }

  close(): void {
    this.#isStopping = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#ending.abort();
  }

  async #askAll(): Promise<void> {
    await Promise.all(this.#probes.map((probe) => this.#ask(probe)));
    if (this.#ending.signal.aborted) return;
    if (this.away.length === 0) this.#hasReachedAll = true;
    this.#timer = setTimeout(() => void this.#askAll(), this.#hasReachedAll ? EVERY_MS : FIRST_EVERY_MS);
    this.#timer.unref();
  }

  async #ask({ name, ask }: Probe): Promise<void> {
    const before = this.#reached.get(name);
    let reach: Reach = { isUp: true, lastError: null };
    try {
      await within(ask, this.#ending.signal);
    } catch (error) {
      reach = { isUp: false, lastError: messageOf(error) };
    }
    if (this.#ending.signal.aborted) return;
    this.#reached.set(name, reach);
    if (before === undefined ? !reach.isUp : before.isUp !== reach.isUp) this.#onChange(name, reach);
  }
}

/** Ends by itself after {@link TIMEOUT_MS}, whatever `ask` does with its signal. */
async function within(ask: Probe['ask'], ending: AbortSignal): Promise<void> {
  const cut = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const onEnd = (): void => cut.abort();
  ending.addEventListener('abort', onEnd, { once: true });
  const isLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      cut.abort();
      reject(new Error(`no answer within ${TIMEOUT_MS} ms`));
    }, TIMEOUT_MS);
  });
  try {
    await Promise.race([ask(cut.signal), isLate]);
  } finally {
    clearTimeout(timer);
    ending.removeEventListener('abort', onEnd);
  }
}
