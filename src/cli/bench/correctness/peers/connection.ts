/** ioredis connections as the peers get them: they reconnect at once, and a lost connection is not an unhandled error. */
import type { Redis } from 'ioredis';

export async function openRedis(port: number): Promise<Redis> {
  const { Redis } = await import('ioredis');
  const open = (): Redis => {
    const redis = new Redis({ port, host: '127.0.0.1', retryStrategy, maxRetriesPerRequest: 20 });
    redis.on('error', () => {});
    // Some libraries open more connections like the one that they were given.
    redis.duplicate = open;
    return redis;
  };
  return open();
}

/** At once, but not for ever: one that its library forgot to close gives up when the bench is over. */
function retryStrategy(times: number): number | null {
  return times > 500 ? null : 20;
}

/** How a peer's own version is found, without trusting `exports` to have its package.json. */
export async function versionOf(name: string): Promise<string> {
  const { createRequire } = await import('node:module');
  const { readFileSync } = await import('node:fs');
  const { dirname, join } = await import('node:path');
  const require = createRequire(import.meta.url);
  let folder = dirname(require.resolve(name));
  for (;;) {
    try {
      const found: unknown = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
      if (typeof found === 'object' && found !== null && 'name' in found && found.name === name && 'version' in found) {
        return String(found.version);
      }
    } catch {
      // one folder up
    }
    const up = dirname(folder);
    if (up === folder) return 'unknown';
    folder = up;
  }
}
