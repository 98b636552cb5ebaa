/**
 * Reads where a store is: `breakwater://user:secret@a:7379,b:7379,[::1]:7380?commandTimeout=250ms`.
 *
 * Not `new URL`: that knows one host only, and puts the whole text, password included, into its errors. Nothing here repeats
 * the credentials.
 *
 *   scheme://[user[:password]@ | :password@]host[:port][,host[:port]...][/0][?name=value&...]
 *
 * Schemes: `breakwater` (port 7379), `redis`, `valkey` (6379); `breakwaters`, `rediss`, `valkeys` the same over TLS. User and password are
 * percent-decoded. Of databases only 0 exists.
 */
import { BreakwaterError } from '../base/errors.ts';
import { parseDurationMs } from '../base/units.ts';
import type { ClientOptions } from './client.ts';

export type StoreKind = 'breakwater' | 'redis' | 'valkey';

export interface HostPort {
  /** Name or address; an IPv6 address without brackets. */
  readonly host: string;
  readonly port: number;
}

export interface StoreUrl {
  readonly kind: StoreKind;
  readonly tls: boolean;
  /** At least one, in the order given, no two the same. */
  readonly hosts: readonly HostPort[];
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** The query, each name once. Who uses the URL decides which names it knows. */
  readonly options: Readonly<Record<string, string>>;
}

const SCHEMES: Readonly<Record<string, { readonly kind: StoreKind; readonly tls: boolean }>> = {
  breakwater: { kind: 'breakwater', tls: false },
  breakwaters: { kind: 'breakwater', tls: true },
  redis: { kind: 'redis', tls: false },
  rediss: { kind: 'redis', tls: true },
  valkey: { kind: 'valkey', tls: false },
  valkeys: { kind: 'valkey', tls: true },
};
const DEFAULT_PORT: Readonly<Record<StoreKind, number>> = { breakwater: 7379, redis: 6379, valkey: 6379 };

/** @throws BreakwaterError `STORE_URL_INVALID`; the message never holds the credentials */
export function parseStoreUrl(text: string): StoreUrl {
  const match = /^([a-z]+):\/\/([^/?#]*)(\/[^?#]*)?(?:\?([^#]*))?$/i.exec(text.trim());
  if (match === null) throw invalid('expected scheme://host:port, as in breakwater://127.0.0.1:7379', text);
  const [, scheme = '', authority = '', path = '', query = ''] = match;
  const known = Object.hasOwn(SCHEMES, scheme.toLowerCase()) ? SCHEMES[scheme.toLowerCase()]! : undefined;
  if (known === undefined)
    throw invalid(`unknown scheme "${scheme}": expected one of ${Object.keys(SCHEMES).join(', ')}`, text);
  if (!/^(\/0?)?$/.test(path)) throw invalid(`unknown path "${path}": there is one database, 0`, text);

  const at = authority.lastIndexOf('@');
  const { username, password } = credentialsIn(at < 0 ? '' : authority.slice(0, at), text);
  const hosts = authority
    .slice(at + 1)
    .split(',')
    .map((host) => hostIn(host, DEFAULT_PORT[known.kind], text));
  const seen = new Set<string>();
  for (const { host, port } of hosts) {
    const name = `${host} ${port}`;
    if (seen.has(name)) throw invalid(`the host "${host}" with port ${port} stands there twice`, text);
    seen.add(name);
  }
  return { ...known, hosts, username, password, options: optionsIn(query, text) };
}

const CLIENT_OPTIONS = ['connectTimeout', 'commandTimeout', 'hangTimeout', 'name', 'protocol', 'whenDown'] as const;

/**
 * Options of a client for host number `index` of the URL. Knows the query names connectTimeout, commandTimeout, hangTimeout
 * (durations), name, protocol (2 or 3), whenDown (wait or reject); the names in `alsoKnown` are the caller's own.
 * @throws BreakwaterError `STORE_URL_INVALID` for any other name or a bad value
 */
export function clientOptionsOf(url: StoreUrl, index = 0, alsoKnown: readonly string[] = []): ClientOptions {
  const { options } = url;
  for (const name of Object.keys(options)) {
    if (!(CLIENT_OPTIONS as readonly string[]).includes(name) && !alsoKnown.includes(name)) {
      const names = [...CLIENT_OPTIONS, ...alsoKnown].join(', ');
      throw new BreakwaterError(
        'STORE_URL_INVALID',
        `cannot use the store URL: unknown option "${name}"; known are ${names}`,
      );
    }
  }
  const duration = (name: string): number | undefined => {
    const text = options[name];
    return text === undefined ? undefined : parseDurationMs(/^\d+$/.test(text) ? Number(text) : text, name);
  };
  const { protocol, whenDown } = options;
  if (protocol !== undefined && protocol !== '2' && protocol !== '3') {
    throw new BreakwaterError(
      'STORE_URL_INVALID',
      `cannot use the store URL: protocol must be 2 or 3, received "${protocol}"`,
    );
  }
  if (whenDown !== undefined && whenDown !== 'wait' && whenDown !== 'reject') {
    throw new BreakwaterError(
      'STORE_URL_INVALID',
      `cannot use the store URL: whenDown must be wait or reject, received "${whenDown}"`,
    );
  }
  const { host, port } = url.hosts[index]!;
  return {
    host,
    port,
    tls: url.tls,
    username: url.username,
    password: url.password,
    connectTimeoutMs: duration('connectTimeout'),
    commandTimeoutMs: duration('commandTimeout'),
    hangTimeoutMs: duration('hangTimeout'),
    name: options['name'],
    protocol: protocol === undefined ? undefined : protocol === '2' ? 2 : 3,
    whenDown,
  };
}

function credentialsIn(text: string, url: string): { username: string | undefined; password: string | undefined } {
  if (text === '') return { username: undefined, password: undefined };
  const colon = text.indexOf(':');
  const username = decoded(colon < 0 ? text : text.slice(0, colon), 'user name', url);
  const password = colon < 0 ? undefined : decoded(text.slice(colon + 1), 'password', url);
  if (username !== '' && password === undefined)
    throw invalid('a user name needs a password: expected user:password@host', url);
  return { username: username === '' ? undefined : username, password: password === '' ? undefined : password };
}

function hostIn(text: string, defaultPort: number, url: string): HostPort {
  const match = /^(?:\[([0-9a-fA-F:.]+(?:%[\w.]+)?)\]|([^\s:[\]]+))(?::(\d{1,5}))?$/.exec(text);
  if (match === null) {
    throw invalid(
      text === '' ? 'a host is missing' : `cannot read the host "${text}": expected host, host:port or [ipv6]:port`,
      url,
    );
  }
  const port = match[3] === undefined ? defaultPort : Number(match[3]);
  if (port < 1 || port > 65_535) throw invalid(`cannot use port ${port} of "${text}": expected 1 to 65535`, url);
  return { host: match[1] ?? match[2]!, port };
}

function optionsIn(query: string, url: string): Record<string, string> {
  const options: Record<string, string> = Object.create(null) as Record<string, string>;
  if (query === '') return options;
  for (const part of query.split('&')) {
    const equals = part.indexOf('=');
    const name = decoded(equals < 0 ? part : part.slice(0, equals), 'option', url);
    if (name === '' || equals < 0) throw invalid(`cannot read the option "${part}": expected name=value`, url);
    if (name in options) throw invalid(`the option "${name}" stands there twice`, url);
    options[name] = decoded(part.slice(equals + 1), `option ${name}`, url);
  }
  return options;
}

function decoded(text: string, what: string, url: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid(`cannot decode the ${what}: a "%" must be written %25`, url);
  }
}

/** The sentence, and the URL with what stands before its last "@" blacked out. */
function invalid(why: string, url: string): BreakwaterError {
  const shown = url.replace(/^([^:]*:\/\/)?.*@/s, '$1***@');
  return new BreakwaterError('STORE_URL_INVALID', `cannot use the store URL: ${why}; received "${shown}"`);
}
