/** What is hashed of a server that has no other name: the same text for everybody, and without its password. */
import { BreakwaterError } from '../../base/errors.ts';
import { parseStoreUrl } from '../../client/url.ts';

/** `host:port` of the URL. @throws BreakwaterError `STORE_URL_INVALID`, also for more than one host */
export function serverName(url: string): string {
  const { hosts } = parseStoreUrl(url);
  const [host] = hosts;
  if (host !== undefined && hosts.length === 1) return `${host.host}:${host.port}`;
  throw new BreakwaterError(
    'STORE_URL_INVALID',
    `cannot use ${hosts.length} hosts as one server of a ring: a ring is made of independent servers, each with a URL of its own`,
  );
}
