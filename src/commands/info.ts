/**
 * INFO: what the node knows about itself, in Redis's format (`# Section`, `name:value`) and under Redis's names where the meaning is
 * the same, so that dashboards and clients read it. A field without meaning here is left out rather than answered 0.
 */
import { formatBytes } from '../base/units.ts';
import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import { REDIS_VERSION } from './compatibility.ts';
import type { Context, Totals } from './context.ts';
import { textOf } from './words.ts';

export type CommandName = (row: number) => string;

type Section = (context: Context, nameOf: CommandName) => readonly (readonly [string, string | number])[];

/** Redis's policy names for ours. */
export const POLICY_NAMES = {
  tinylfu: 'allkeys-tinylfu',
  lru: 'allkeys-lru',
  lfu: 'allkeys-lfu',
  fifo: 'allkeys-fifo',
  random: 'allkeys-random',
  ttl: 'allkeys-ttl',
  noeviction: 'noeviction',
} as const;

const SECTIONS: Readonly<Record<string, Section>> = {
  Server: (context) => {
    const uptime = Math.max(0, Math.floor((context.nowMs - context.startedMs) / 1000));
    return [
      ['redis_version', REDIS_VERSION],
      ['breakwater_version', context.settings.version],
      ['redis_mode', context.cluster === null ? 'standalone' : 'cluster'],
      ['os', context.host.os],
      ['arch_bits', 64],
      ['runtime', context.host.runtime],
      ['process_id', context.host.processId],
      ['run_id', context.settings.runId],
      ['tcp_port', context.host.port],
      ['server_time_usec', context.nowMs * 1000],
      ['uptime_in_seconds', uptime],
      ['uptime_in_days', Math.floor(uptime / 86_400)],
    ];
  },
  Clients: (context) => [
    ['connected_clients', context.sessions.size],
    ['cluster_connections', 0],
    ['maxclients', context.settings.maxClients],
    ['blocked_clients', 0],
    ['tracking_clients', 0],
  ],
  Memory: (context) => {
    const { stats } = context.store;
    return [
      ['used_memory', stats.usedBytes],
      ['used_memory_human', human(stats.usedBytes)],
      ['used_memory_rss', context.host.rssBytes],
      ['used_memory_rss_human', human(context.host.rssBytes)],
      ['used_memory_dataset', stats.liveBytes],
      ['used_memory_overhead', Math.max(0, stats.usedBytes - stats.liveBytes)],
      ['used_memory_heap', context.host.heapUsedBytes],
      ['used_memory_freshness', context.freshness.sizeBytes],
      ['total_system_memory', context.host.totalMemoryBytes],
      ['total_system_memory_human', human(context.host.totalMemoryBytes)],
      ['maxmemory', stats.memoryBytes],
      ['maxmemory_human', human(stats.memoryBytes)],
      ['maxmemory_policy', POLICY_NAMES[context.settings.eviction]],
      ['mem_fragmentation_ratio', ratio(context.host.rssBytes, stats.usedBytes)],
      ['mem_allocator', 'arena'],
      ['arena_segments', stats.segments],
      ['arena_segments_free', stats.freeSegments],
    ];
  },
  Persistence: () => [
    ['loading', 0],
    ['aof_enabled', 0],
  ],
  Stats: (context) => {
    const { leases, tags, namespaces } = context.freshness;
    const now = totals(context);
    const since = (name: keyof Totals): number => now[name] - (context.statsBase?.[name] ?? 0);
    return [
      ['total_connections_received', since('sessions')],
      ['total_commands_processed', since('commands')],
      ['total_net_input_bytes', since('inputBytes')],
      ['total_net_output_bytes', since('outputBytes')],
      ['expired_keys', since('expirations')],
      ['evicted_keys', since('evictions')],
      ['invalidated_keys', since('invalidations')],
      ['keyspace_hits', since('hits')],
      ['keyspace_misses', since('misses')],
      ['total_error_replies', since('errorReplies')],
      ['unknown_commands', since('unknownCommands')],
      ['protocol_errors', since('protocolErrors')],
      ['leases_live', leases.live],
      ['leases_granted', leases.stats.granted],
      ['leases_held', leases.stats.held],
      ['leases_filled', leases.stats.filled],
      ['leases_refused', leases.stats.refused],
      ['leases_voided', leases.stats.voided],
      ['leases_forgotten', leases.stats.forgotten],
      ['generations', tags.size + namespaces.size],
      ['generations_forgotten', tags.forgotten + namespaces.forgotten],
    ];
  },
  Replication: ({ cluster }) => {
    const { offset, copies } = cluster?.replication ?? { offset: 0, copies: [] };
    return [
      ['role', 'master'],
      ['connected_slaves', copies.length],
      // `lag` in whole seconds, as Redis has it; what follows it are ours: ranges, and effects of the range where most are missing.
      ...copies.map(({ host, port, ranges, staged, applied, behind, behindMs }, index) => {
        const state = ranges === 0 ? 'wait_bgsave' : 'online';
        const lag = Math.floor(behindMs / 1000);
        const text = `ip=${host},port=${port},state=${state},offset=${applied},lag=${lag},ranges=${ranges},staged=${staged},behind=${behind}`;
        return [`slave${index}`, text] as const;
      }),
      ['master_repl_offset', offset],
    ];
  },
  CPU: (context) => [
    ['used_cpu_sys', context.host.cpuSystemSeconds.toFixed(6)],
    ['used_cpu_user', context.host.cpuUserSeconds.toFixed(6)],
  ],
  Commandstats: (context, nameOf) => {
    const base = context.callsBase;
    const rows: (readonly [string, string])[] = [];
    for (let row = 0; row < context.calls.length; row += 1) {
      const calls = context.calls[row]! - (base?.calls[row] ?? 0);
      const rejected = context.rejections[row]! - (base?.rejections[row] ?? 0);
      const failed = context.failures[row]! - (base?.failures[row] ?? 0);
      if (calls + rejected === 0) continue;
      rows.push([`cmdstat_${nameOf(row)}`, `calls=${calls},rejected_calls=${rejected},failed_calls=${failed}`]);
    }
    return rows;
  },
  Cluster: (context) => [['cluster_enabled', context.cluster === null ? 0 : 1]],
  Keyspace: (context) => (context.store.size === 0 ? [] : [['db0', `keys=${context.store.size},expires=0,avg_ttl=0`]]),
};

/** Sections that only `all` and `everything` or their own name show. */
const NOT_BY_DEFAULT = new Set(['Commandstats']);

/** The counters of INFO, since the start. */
export function totals(context: Context): Totals {
  const { hits, misses, evictions, expirations, invalidations } = context.store.stats;
  return {
    hits,
    misses,
    evictions,
    expirations,
    invalidations,
    sessions: context.sessionsOpened,
    commands: context.commandsProcessed,
    errorReplies: context.errorReplies,
    unknownCommands: context.unknownCommands,
    protocolErrors: context.protocolErrors,
    inputBytes: context.inputBytes,
    outputBytes: context.outputBytes,
  };
}

/** INFO [section ...] */
export function info(context: Context, args: Args, out: ReplyWriter, nameOf: CommandName): void {
  const wanted = new Set<string>();
  if (args.count === 1) wanted.add('default');
  for (let i = 1; i < args.count; i += 1) wanted.add(textOf(args, i).toLowerCase());
  const all = wanted.has('all') || wanted.has('everything');
  const byDefault = wanted.has('default');
  const parts: string[] = [];
  for (const [title, section] of Object.entries(SECTIONS)) {
    if (!all && !wanted.has(title.toLowerCase()) && !(byDefault && !NOT_BY_DEFAULT.has(title))) continue;
    const rows = section(context, nameOf).map(([name, value]) => `${name}:${value}\r\n`);
    parts.push(`# ${title}\r\n${rows.join('')}`);
  }
  out.verbatim(parts.join('\r\n'));
}

/** `1.50M`, as Redis writes sizes for people. */
function human(bytes: number): string {
  if (bytes < 1024) return `${bytes}B`;
  const [amount, unit] = formatBytes(bytes).split(' ') as [string, string];
  return `${amount}${unit[0]}`;
}

function ratio(a: number, b: number): string {
  return (b === 0 ? 0 : a / b).toFixed(2);
}
