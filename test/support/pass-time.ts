/**
 * Lets time pass on a real Redis: every key's remaining time to live is cut by so much, and what has none left is gone. Keys
 * without one are left alone.
 */
import type { RespClient } from '../../src/client/client.ts';

const SCRIPT = `
local cursor = '0'
repeat
  local page = redis.call('SCAN', cursor, 'COUNT', 1000)
  cursor = page[1]
  for _, key in ipairs(page[2]) do
    local at = redis.call('PEXPIRETIME', key)
    if at >= 0 then redis.call('PEXPIREAT', key, string.format('%.0f', at - tonumber(ARGV[1]))) end
  end
until cursor == '0'
`;

/** On each of `servers`, which are primaries. */
export async function passTime(servers: readonly RespClient[], ms: number): Promise<void> {
  await Promise.all(servers.map((server) => server.command(['EVAL', SCRIPT, 0, ms], { timeoutMs: 60_000 })));
}
