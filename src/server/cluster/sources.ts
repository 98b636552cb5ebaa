/**
 * Where the addresses of a cluster's members are found: what stands behind `--join` when it is no list.
 *
 *   dns:cache.default.svc[:17379]      every address of the name (A and AAAA records), as a Kubernetes headless service has one for each pod; the port is this node's own link port unless it is said
 *   srv:_link._tcp.cache.default.svc   hosts and ports by SRV records
 *   file:/etc/breakwater/members       one address a line, # begins a comment
 *   10.0.0.1:17379                     the address itself, beside others
 *
 * What is found is only ever whom to ask. Who is a member, and of what, members say to each other (`gathering.ts`, `joining.ts`).
 */
import { BreakwaterError } from '../../base/errors.ts';

export interface Address {
  /** A name or an address, IPv6 without brackets. */
  readonly host: string;
  readonly linkPort: number;
}

export type Source =
  | { readonly kind: 'address'; readonly address: Address }
  /** `linkPort` null: ours. */
  | { readonly kind: 'dns'; readonly name: string; readonly linkPort: number | null }
  | { readonly kind: 'srv'; readonly name: string }
  | { readonly kind: 'file'; readonly path: string };

const NAME = /^[0-9A-Za-z_](?:[0-9A-Za-z._-]{0,251}[0-9A-Za-z._])?$/;
const ADDRESS = /^(?:\[([0-9A-Fa-f:.%]{2,64})\]|([0-9A-Za-z._-]{1,253}))(?::(\d{1,5}))?$/;

/** `dns:`, `srv:` or `file:` and what belongs to it; null: it begins with none of these, or is none. */
export function sourceIn(text: string): Source | null {
  const at = text.indexOf(':');
  const rest = text.slice(at + 1);
  switch (text.slice(0, at)) {
    case 'dns': {
      const [name = '', port, ...more] = rest.split(':');
      const linkPort = port === undefined ? null : portIn(port);
      if (!NAME.test(name) || more.length > 0 || linkPort === 0) return null;
      return { kind: 'dns', name, linkPort };
    }
    case 'srv':
      return NAME.test(rest) && rest.startsWith('_') ? { kind: 'srv', name: rest } : null;
    case 'file':
      return rest === '' || rest.includes('\0') ? null : { kind: 'file', path: rest };
    default:
      return null;
  }
}

/** Does it begin as one? Then it is meant as one, also where it is wrong. */
export function isSource(text: string): boolean {
  return /^(?:dns|srv|file):(?!\d{1,5}$)/.test(text);
}

/** For people. */
export function nameOf(source: Source): string {
  switch (source.kind) {
    case 'address':
      return shown(source.address);
    case 'dns':
      return `dns:${source.name}${source.linkPort === null ? '' : `:${source.linkPort}`}`;
    case 'srv':
      return `srv:${source.name}`;
    case 'file':
      return `file:${source.path}`;
  }
}

export function shown({ host, linkPort }: Address): string {
  return host.includes(':') ? `[${host}]:${linkPort}` : `${host}:${linkPort}`;
}

/** A file's addresses. @throws BreakwaterError `MEMBERS_FILE_INVALID`, naming the line */
export function addressesIn(text: string, linkPort: number): readonly Address[] {
  return text.split('\n').flatMap((raw, index) => {
    const line = raw.replace(/#.*/, '').trim();
    if (line === '') return [];
    const match = ADDRESS.exec(line);
    const port = match?.[3] === undefined ? linkPort : portIn(match[3]);
    if (match === null || port === 0) {
      throw new BreakwaterError(
        'MEMBERS_FILE_INVALID',
        `cannot read line ${index + 1}: expected host or host:port, received ${JSON.stringify(line.slice(0, 80))}`,
      );
    }
    return [{ host: match[1] ?? match[2]!, linkPort: port }];
  });
}

/** 0: it is none. */
function portIn(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port <= 65_535 ? port : 0;
}
