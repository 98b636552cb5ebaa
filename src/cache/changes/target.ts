/**
 * What a stream of changes invalidates with: the Breakwater's own invalidation, tried until the store has it.
 *
 * Why it tries on where `bw.invalidate` gives up: behind that stands a caller who can be told, behind this a row that is committed already.
 *
 * Why it does not stand still while a store is away: the outbox has what was not acknowledged, and on a ring or a cluster the other servers are there and must hear
 * what comes next. So what is *queued* counts as done for the order of things and not for the position: the database keeps its log until the outbox is empty again. That log
 * is the more durable of the two.
 */
import type { InvalidateRequest } from '../../stores/store.ts';
import { UnacknowledgedError } from '../acknowledged.ts';
import type { FlightPorts } from '../loads.ts';
import { jittered, pause } from './pause.ts';
import type { ChangesEvent, ChangeTarget } from './port.ts';

/** What of a Breakwater is needed. */
export interface TargetParts {
  readonly ports: FlightPorts;
  /** Rejects with an {@link UnacknowledgedError}, or because it is closed. */
  invalidate(what: Required<InvalidateRequest>): Promise<void>;
  /** How long the oldest invalidation has waited in the outbox; null = none waits. */
  oldestPendingMs(): number | null;
  /** The bytes under a full key; null: nothing. */
  read(key: string, signal: AbortSignal): Promise<Uint8Array | null>;
  write(key: string, value: Uint8Array, signal: AbortSignal): Promise<void>;
  tell(event: ChangesEvent): void;
}

/** Names of one call of the store: a request that every server takes at once, and that its deadline is long enough for. */
const NAMES_PER_CALL = 1_000;
const RETRY = { baseMs: 50, capMs: 2_000 };
/** No cache can have this name's keys by accident: it is not announced anywhere. */
const MEMORY = 'breakwater.changes:';

export function targetFor(stream: string, parts: TargetParts): ChangeTarget {
  const { clock, scheduler, random } = parts.ports;
  const deliver = async (what: Required<InvalidateRequest>, signal: AbortSignal): Promise<boolean> => {
    for (let attempt = 0; ; attempt += 1) {
      signal.throwIfAborted();
      try {
        await parts.invalidate(what);
        return true;
      } catch (error) {
        if (!(error instanceof UnacknowledgedError)) throw error;
        if (error.queued) return false;
      }
      await pause(scheduler, jittered(attempt, RETRY, random), signal);
    }
  };
  return {
    clock,
    scheduler,
    random,
    invalidate: async (what, signal) => {
      let isAcknowledged = true;
      for (const part of chunks(what)) if (!(await deliver(part, signal))) isAcknowledged = false;
      return isAcknowledged ? 'acknowledged' : 'queued';
    },
    hasSettled: (untilMs) => {
      const ageMs = parts.oldestPendingMs();
      return ageMs === null || clock.now() - ageMs > untilMs;
    },
    recall: async (name, signal) => {
      const bytes = await parts.read(MEMORY + name, signal);
      return bytes === null ? null : new TextDecoder().decode(bytes);
    },
    remember: (name, text, signal) => parts.write(MEMORY + name, new TextEncoder().encode(text), signal),
    tell: (event) => parts.tell({ stream, ...event }),
  };
}

/** What is wider first: while a long list of keys is on its way, what they are part of is dead already. */
function* chunks({ keys = [], tags = [], namespaces = [] }: InvalidateRequest): Generator<Required<InvalidateRequest>> {
  const all = [
    ...namespaces.map((name) => ['namespaces', name] as const),
    ...tags.map((name) => ['tags', name] as const),
    ...keys.map((name) => ['keys', name] as const),
  ];
  for (let at = 0; at < all.length; at += NAMES_PER_CALL) {
    const part = { keys: [] as string[], tags: [] as string[], namespaces: [] as string[] };
    for (const [kind, name] of all.slice(at, at + NAMES_PER_CALL)) part[kind].push(name);
    yield part;
  }
}
