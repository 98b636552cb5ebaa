/**
 * The scripts of write-behind queues (stores/queues.ts says what they are for). All keys of a queue are in one slot:
 *
 *   bw.queue:{name}         set: its streams
 *   bw.queue:{name}:m:S     hash: holder, beat, hold, about, next (position), life (of the server when it was begun)
 *   bw.queue:{name}:s:S     stream: <position>-0, field w
 *   bw.queue:{name}:d:S     hash: letters
 *
 * None has a TTL, so a `volatile-*` eviction policy leaves them alone.
 */

/** KEYS list, meta. ARGV stream, holder, hold, about. Sent again it does nothing. */
export const QUEUE_BEGIN = `
if redis.call('HEXISTS', KEYS[2], 'holder') == 1 then return 1 end
redis.call('HSET', KEYS[2], 'holder', ARGV[2], 'beat', 0, 'hold', ARGV[3], 'about', ARGV[4], 'next', 1, 'life', LIFE)
redis.call('SADD', KEYS[1], ARGV[1])
return 1
`;

/**
 * KEYS meta, stream. ARGV holder, first position, count, records, positions to remove. Returns 1 done, 0 another's, 2 of another life of the server, 3 not there.
 * Under a full memory a server refuses the first command of a script that may need more, and none after a write: so records come first, and what only removes begins with a removal.
 */
export const QUEUE_PUSH = `
local meta = redis.call('HMGET', KEYS[1], 'holder', 'life', 'next')
if not meta[1] then return 3 end
if meta[1] ~= ARGV[1] then return 0 end
if meta[2] ~= LIFE then return 2 end
local next_, first, count = tonumber(meta[3]), tonumber(ARGV[2]), tonumber(ARGV[3])
if count == 0 then redis.call('XDEL', KEYS[2], '0-1') end
for i = 0, count - 1 do
  if first + i >= next_ then redis.call('XADD', KEYS[2], string.format('%.0f-0', first + i), 'w', ARGV[4 + i]) end
end
if count > 0 and first + count > next_ then redis.call('HSET', KEYS[1], 'next', string.format('%.0f', first + count)) end
for i = 4 + count, #ARGV do redis.call('XDEL', KEYS[2], ARGV[i] .. '-0') end
redis.call('HINCRBY', KEYS[1], 'beat', 1)
return 1
`;

/** KEYS meta. ARGV holder and beat as they were seen, new holder. Sent again it answers the same. */
export const QUEUE_TAKE = `
local meta = redis.call('HMGET', KEYS[1], 'holder', 'beat')
if meta[1] == ARGV[3] then return 1 end
if (meta[1] or '') ~= ARGV[1] or (meta[2] or '0') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'holder', ARGV[3])
redis.call('HINCRBY', KEYS[1], 'beat', 1)
return 1
`;

/** KEYS list, meta, stream, letters. ARGV stream, holder. For an hour it is known that it was dropped, and not lost: whoever it was taken from is told so. */
export const QUEUE_DROP = `
if redis.call('HGET', KEYS[2], 'holder') ~= ARGV[2] then return 0 end
redis.call('UNLINK', KEYS[3], KEYS[4])
redis.call('SREM', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[2], 'holder', 'dropped')
redis.call('PEXPIRE', KEYS[2], 3600000)
return 1
`;

/** KEYS meta. ARGV holder. */
export const QUEUE_RELEASE = `
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'holder', '')
return 1
`;

/** KEYS meta, letters. ARGV holder, name, letter. */
export const QUEUE_LETTER = `
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 1
`;

/** KEYS list, letters, new meta, new stream. ARGV new stream, about, then name and record of each letter. Returns the names of those that were there. */
export const QUEUE_MOVE = `
local moved = {}
for i = 3, #ARGV, 2 do
  if redis.call('HDEL', KEYS[2], ARGV[i]) == 1 then
    moved[#moved + 1] = ARGV[i]
    redis.call('XADD', KEYS[4], #moved .. '-0', 'w', ARGV[i + 1])
  end
end
if #moved > 0 then
  redis.call('HSET', KEYS[3], 'holder', '', 'beat', 0, 'hold', 0, 'about', ARGV[2], 'next', #moved + 1, 'life', LIFE)
  redis.call('SADD', KEYS[1], ARGV[1])
end
return moved
`;
