/**
 * What a node counts, as one plain object: read by /metrics, the status page and `breakwater stats`. Counters only grow (CONFIG
 * RESETSTAT changes what INFO shows, not these).
 */
import type { Context } from '../commands/context.ts';
import type { PushStats } from '../commands/pushes.ts';
import { COMMANDS } from '../commands/table.ts';
import type { StoreStats } from '../engine/face.ts';
import type { Generations } from '../freshness/generations.ts';
import type { LeaseStats } from '../freshness/leases.ts';

export interface CommandStats {
  /** Executed. */
  readonly calls: number;
  /** Executed and answered with an error. */
  readonly failures: number;
  /** Refused for their number of arguments. */
  readonly rejections: number;
}

/** Invalidations of tags or of namespaces. */
export interface GenerationStats {
  /** Names remembered. */
  readonly size: number;
  /** Invalidations so far. */
  readonly bumps: number;
  /** Names forgotten because the table was full. */
  readonly forgotten: number;
  /** Version below which everything is dead. */
  readonly floor: number;
  /** Version of the last invalidation. */
  readonly newest: number;
  readonly sizeBytes: number;
}

export interface NodeStats {
  readonly id: string;
  readonly version: string;
  readonly startedMs: number;
  readonly nowMs: number;
  readonly store: StoreStats;
  readonly leases: LeaseStats & { readonly live: number; readonly sizeBytes: number };
  readonly tags: GenerationStats;
  readonly namespaces: GenerationStats;
  readonly sessions: { readonly open: number; readonly opened: number };
  readonly commands: {
    readonly processed: number;
    readonly errorReplies: number;
    readonly unknown: number;
    readonly protocolErrors: number;
    /** Failed for a bug of ours; how often all entries were thrown away after one. */
    readonly internalErrors: number;
    readonly internalResets: number;
    /** Only commands that were called. */
    readonly byName: Readonly<Record<string, CommandStats>>;
  };
  readonly network: { readonly inputBytes: number; readonly outputBytes: number };
  /** Keys whose versioned entry left and is remembered. */
  readonly sources: { readonly size: number; readonly forgotten: number; readonly sizeBytes: number };
  /** Plain SETs not stored, by the setting of their namespace. */
  readonly plainSets: { readonly heldOff: number; readonly refused: number };
  readonly feed: PushStats;
  readonly frames: { readonly refused: number };
}

export function statsOf(id: string, context: Context, framesRefused: number): NodeStats {
  const { leases, tags, namespaces, sources } = context.freshness;
  const byName: Record<string, CommandStats> = {};
  COMMANDS.forEach(({ name }, row) => {
    const calls = context.calls[row]!;
    const rejections = context.rejections[row]!;
    if (calls + rejections > 0) byName[name] = { calls, failures: context.failures[row]!, rejections };
  });
  return {
    id,
    version: context.settings.version,
    startedMs: context.startedMs,
    nowMs: context.nowMs,
    store: context.store.stats,
    leases: { ...leases.stats, live: leases.live, sizeBytes: leases.sizeBytes },
    tags: generationStats(tags),
    namespaces: generationStats(namespaces),
    sessions: { open: context.sessions.size, opened: context.sessionsOpened },
    commands: {
      processed: context.commandsProcessed,
      errorReplies: context.errorReplies,
      unknown: context.unknownCommands,
      protocolErrors: context.protocolErrors,
      internalErrors: context.internalErrors,
      internalResets: context.internalResets,
      byName,
    },
    network: { inputBytes: context.inputBytes, outputBytes: context.outputBytes },
    sources: { size: sources.size, forgotten: sources.forgotten, sizeBytes: sources.sizeBytes },
    plainSets: { heldOff: context.plainSets.heldOff, refused: context.plainSets.refused },
    feed: context.pushes.stats,
    frames: { refused: framesRefused },
  };
}

function generationStats({ size, bumps, forgotten, floor, newest, sizeBytes }: Generations): GenerationStats {
  return { size, bumps, forgotten, floor, newest, sizeBytes };
}
