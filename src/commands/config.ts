/**
 * CONFIG: reading the parameters that are true of this node under Redis's names. Nothing can be set at run time: the configuration
 * comes from flags, environment and file, and a cache whose settings differ from its file surprises at the next restart.
 */
import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import type { Context } from './context.ts';
import { globMatches } from './glob.ts';
import { POLICY_NAMES, totals } from './info.ts';
import type { Session } from './session.ts';
import { latinOf } from './words.ts';

const encoder = new TextEncoder();

/** All parameters, by name. What the server told (`settings.parameters`) comes before the defaults of a bare node. */
function parameters(context: Context): Record<string, string> {
  const { settings } = context;
  return {
    appendfsync: 'no',
    appendonly: 'no',
    bind: '127.0.0.1',
    'cluster-enabled': 'no',
    databases: '1',
    'max-key-bytes': String(settings.maxKeyBytes),
    maxclients: String(settings.maxClients),
    maxmemory: String(settings.memoryBytes),
    'maxmemory-policy': POLICY_NAMES[settings.eviction],
    port: String(context.host.port),
    'proto-max-bulk-len': String(settings.maxValueBytes),
    requirepass: '',
    save: '',
    timeout: '0',
    ...settings.parameters,
  };
}

/** CONFIG GET pattern [pattern ...]. A name asked for without glob characters is answered as it was written, as Redis does. */
export function configGet(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  const all = parameters(context);
  const found = new Map<string, string>();
  for (let i = 2; i < args.count; i += 1) {
    const asked = latinOf(args, i);
    const exact = /[*?[]/.test(asked) ? undefined : all[asked.toLowerCase()];
    if (exact !== undefined) found.set(asked, exact);
    for (const [name, value] of Object.entries(all)) {
      const bytes = encoder.encode(name);
      if (
        exact === undefined &&
        globMatches(args.bytes, args.start[i]!, args.length[i]!, bytes, 0, bytes.length, true)
      ) {
        found.set(name, value);
      }
    }
  }
  out.map(found.size);
  for (const [name, value] of found) {
    out.bulkText(name);
    out.bulkText(value);
  }
}

/** CONFIG SET is refused, clearly. */
export function configSet(_context: Context, _session: Session, _args: Args, out: ReplyWriter): void {
  out.error(
    'ERR CONFIG SET is not supported: the configuration is read at start, from flags, BREAKWATER_* variables and the file of --config',
  );
}

/** CONFIG REWRITE: in Redis's words for a server without a file. */
export function configRewrite(_context: Context, _session: Session, _args: Args, out: ReplyWriter): void {
  out.error('ERR The server is running without a config file');
}

/** CONFIG RESETSTAT: the counters of INFO start again. The counters themselves go on: to Prometheus a counter that falls is a restart. */
export function configResetstat(context: Context, _session: Session, _args: Args, out: ReplyWriter): void {
  context.statsBase = totals(context);
  context.callsBase = {
    calls: context.calls.slice(),
    failures: context.failures.slice(),
    rejections: context.rejections.slice(),
  };
  out.ok();
}
