/**
 * Which names an HTTP client may call this node by, when it listens on loopback only.
 *
 * A page of any web site may tell the browser to ask `http://evil.example:8379/cache/user:1`. The browser lets the page read the answer, because
 * it is the page's own host; and the owner of `evil.example` can have the name point to 127.0.0.1 by then (DNS rebinding). So a node that is
 * meant for this machine alone would be read and written by every web page that its user opens. What gives it away is the `Host` header, which the
 * page cannot choose: it says `evil.example`. Loopback names and addresses are accepted, and what the setting `http-hosts` adds.
 *
 * A node that listens on other addresses is meant to be called by names that it cannot know: there only a given `http-hosts` is checked.
 */
const LOOPBACK = /^(?:localhost|(?:[a-z0-9-]+\.)*localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])$/;

/**
 * @param bindsLoopback the node listens on a loopback address only
 * @param allowed names beside those of loopback, lower case, without port; `*` = any
 * @returns whether a request with this `Host` header is served. HTTP/1.0 clients send none: no browser does that.
 */
export function hostCheck(bindsLoopback: boolean, allowed: readonly string[]): (host: string | undefined) => boolean {
  if (allowed.includes('*') || (!bindsLoopback && allowed.length === 0)) return () => true;
  const names = new Set(allowed);
  return (host) => {
    if (host === undefined) return true;
    const name = host
      .toLowerCase()
      .replace(/:\d{1,5}$/, '')
      .replace(/\.$/, '');
    return LOOPBACK.test(name) || names.has(name);
  };
}

/** True for addresses that only this machine can reach. */
export function isLoopback(bind: string): boolean {
  return bind === 'localhost' || bind === '::1' || /^127\.\d+\.\d+\.\d+$/.test(bind);
}
