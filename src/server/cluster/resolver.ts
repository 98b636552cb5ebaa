/**
 * Names and files as a port: what `discovery.ts` asks, so that tests can answer it.
 *
 * DNS is asked by Node's own resolver (c-ares), which reports what the server said; a name that it does not know is then asked of the system, whose search list and hosts file it does not read. In Kubernetes a short name
 * (`cache`) is found by that second way, a full one (`cache.default.svc.cluster.local`) by the first.
 */
import { Resolver as DnsResolver, lookup } from 'node:dns/promises';
import { open } from 'node:fs/promises';
import { isIP } from 'node:net';

export interface Resolver {
  /** Every address of the name; empty: it exists and has none. @throws when it cannot be said */
  addresses(name: string): Promise<readonly string[]>;
  /** Its SRV records. @throws when it cannot be said */
  services(name: string): Promise<readonly { readonly host: string; readonly port: number }[]>;
  /** A file's text. @throws when it cannot be read */
  file(path: string): Promise<string>;
}

const QUERY_MS = 2000;
const TRIES = 2;
/** A list of members is no larger. */
const MOST_FILE_BYTES = 256 * 1024;
/** The server was asked and knows none of this kind. */
const NONE = new Set(['ENODATA', 'ENOTFOUND']);

/**
 * @param servers whom to ask, as `dns.Resolver.setServers` takes them. Default: the system's
 * @param asksSystem is the system asked for names that the server does not know? Default true
 */
export function systemResolver(servers: readonly string[] | null = null, asksSystem = true): Resolver {
  // One for each question: servers that were changed meanwhile (resolv.conf) are read anew.
  const dns = (): DnsResolver => {
    const resolver = new DnsResolver({ timeout: QUERY_MS, tries: TRIES });
    if (servers !== null) resolver.setServers(servers);
    return resolver;
  };
  return {
    addresses: async (name) => {
      if (isIP(name) !== 0) return [name];
      const asked = dns();
      const answers = await Promise.allSettled([asked.resolve4(name), asked.resolve6(name)]);
      const found = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
      if (found.length > 0) return found;
      const failed = answers.find((answer) => answer.status === 'rejected' && !NONE.has(codeOf(answer.reason)));
      if (asksSystem) {
        try {
          return (await lookup(name, { all: true })).map(({ address }) => address);
        } catch (error) {
          if (failed === undefined) throw error;
        }
      }
      // The first that says why; of two that know nothing either.
      for (const answer of [failed, ...answers]) if (answer?.status === 'rejected') throw answer.reason;
      return [];
    },
    services: async (name) => (await dns().resolveSrv(name)).map(({ name: host, port }) => ({ host, port })),
    file: async (path) => {
      const handle = await open(path, 'r');
      try {
        const { buffer, bytesRead } = await handle.read(Buffer.alloc(MOST_FILE_BYTES + 1), 0, MOST_FILE_BYTES + 1, 0);
        if (bytesRead > MOST_FILE_BYTES) throw new Error(`it has more than ${MOST_FILE_BYTES} bytes`);
        return buffer.toString('utf8', 0, bytesRead);
      } finally {
        await handle.close();
      }
    },
  };
}

function codeOf(error: unknown): string {
  return String((error as NodeJS.ErrnoException).code ?? '');
}
