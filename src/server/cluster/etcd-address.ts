/**
 * Where etcd is, in one line: `etcd://[user:password@]host:port[,host:port...][/prefix]`, `etcds` where it speaks TLS. The hosts are those of one etcd: they are asked one after the other.
 *
 * A password in it is never shown: not in errors, not in logs, not in what a member says of itself.
 */
import { BreakwaterError } from '../../base/errors.ts';
import { PORT_MAX, type Read } from '../setting.ts';

export interface EtcdAddress {
  readonly isTls: boolean;
  /** Without brackets for IPv6. */
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  readonly user: string | null;
  readonly password: string;
  /** With a slash in front and none behind; null: made of the cluster's name. */
  readonly prefix: string | null;
}

/** Files of PEM, for TLS. */
export interface EtcdFiles {
  /** Who signed etcd's certificate; null: one of those that this machine trusts. */
  readonly ca: string | null;
  /** What this member shows of itself, if etcd asks; both or neither. */
  readonly cert: string | null;
  readonly key: string | null;
}

export interface EtcdConfig extends EtcdAddress {
  readonly files: EtcdFiles;
}

const DEFAULT_PORT = 2379;
const MOST_HOSTS = 16;
const ADDRESS = /^(etcds?):\/\/(?:([^:@/]{1,128})(?::([^@/]{0,256}))?@)?([^/]{1,1024})(\/[A-Za-z0-9._:/-]{0,200})?$/;
const HOST = /^(?:\[([0-9A-Fa-f:.]{2,64})\]|([0-9A-Za-z._-]{1,253}))(?::(\d{1,5}))?$/;

export const readEtcdAddress: Read<EtcdAddress> = (text, what) => {
  const match = ADDRESS.exec(text.trim());
  const hosts = (match?.[4] ?? '').split(',').map((part) => {
    const found = HOST.exec(part.trim());
    const port = Number(found?.[3] ?? DEFAULT_PORT);
    return found === null || port < 1 || port > PORT_MAX ? null : { host: found[1] ?? found[2]!, port };
  });
  if (match === null || hosts.length > MOST_HOSTS || hosts.includes(null)) {
    // What was received may have a password in it.
    throw new BreakwaterError(
      'CONFIG_INVALID',
      `cannot read ${what}: expected etcd://host:2379, or etcds:// for TLS, with user:password@ in front of the hosts, more of them behind commas, and a /prefix for its keys, received ${JSON.stringify(text.replace(/\/\/.*@/, '//...@'))}`,
    );
  }
  const prefix = (match[5] ?? '').replaceAll(/\/+/g, '/').replace(/\/$/, '');
  return {
    isTls: match[1] === 'etcds',
    hosts: hosts as { host: string; port: number }[],
    user: match[2] === undefined ? null : decoded(match[2], what),
    password: decoded(match[3] ?? '', what),
    prefix: prefix === '' ? null : prefix,
  };
};

/** Its hosts, as people write them. */
export function hostsOf({ hosts }: EtcdAddress): string {
  return hosts.map(({ host, port }) => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`)).join(',');
}

function decoded(text: string, what: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new BreakwaterError(
      'CONFIG_INVALID',
      `cannot read ${what}: its user or password has a % that is none of a URL's`,
    );
  }
}
