/**
 * The scripts: everything that must happen at once on the server. Each touches keys of one slot only, names all of them in KEYS, and
 * asks no clock but TIME, for version numbers, for the moment at which an entry expires, and with the keys' own remaining times to live for who waits.
 *
 * The *table of invalidations* is a sorted set under one key:
 *
 *   'h' life epoch    score n        the head: n invalidations so far. Always the highest score.
 *   't' tag           score n - 0.5  this tag was invalidated as number n
 *   'n' namespace     score n - 0.5
 *   'f'               score s        the floor: what had a lower number was forgotten, so entries with tags of before are dead
 *
 * An entry carries the epoch and the n of before its load. Dead = another epoch, or a name with a score above n, or n below the floor (entries
 * with tags). So a tag is invalidated by one ZADD whatever it covers, and a table that is lost (evicted, flushed, an older
 * copy loaded from disk after a restart) gets a new random epoch: it takes all entries with it and revives none. Nothing has to be written
 * for a tag that was never invalidated.
 *
 * Versions: a write's is one above what the key had, or the server's microseconds where that is more, so that they rise across deletes too.
 * They tell writes apart and say which was later; whether anything is stale is never judged by them.
 *
 * `life`: the server's run id stands in the text of every script (see scripts.ts), so a script knows in which life of the server it runs.
 */

import { END_AT, EPOCH_AT, GONE_AT, ID_BYTES, MARK_BYTES, MARK_MS } from './format.ts';
import {
  QUEUE_BEGIN,
  QUEUE_DROP,
  QUEUE_LETTER,
  QUEUE_MOVE,
  QUEUE_PUSH,
  QUEUE_RELEASE,
  QUEUE_TAKE,
} from './queue-lua.ts';

const PRELUDE = `
local LIFE = '%LIFE%'
local ENTRY, LEASE = '\\193BWE', '\\193BWL'
local function head(table_, fresh)
  local top = redis.call('ZREVRANGE', table_, 0, 0, 'WITHSCORES')
  if top[1] and string.sub(top[1], 1, ${ID_BYTES + 1}) == 'h' .. LIFE then
    return string.sub(top[1], ${ID_BYTES + 2}), tonumber(top[2])
  end
  redis.call('DEL', table_)
  redis.call('ZADD', table_, 1, 'h' .. LIFE .. fresh)
  return fresh, 1
end
local function digits(n)
  return string.format('%016.0f', n)
end
local function is_ours(text)
  local magic = string.sub(text, 1, 4)
  return (magic == ENTRY or magic == LEASE) and string.sub(text, 21, 32) == LIFE
end
-- the version of what is there, also of another life
local function version(text)
  local magic = string.sub(text, 1, 4)
  return (magic == ENTRY or magic == LEASE) and tonumber(string.sub(text, 5, 20)) or 0
end
local function ending(text)
  return tonumber(string.sub(text, ${END_AT + 1}, ${GONE_AT})) or #text
end
-- the lease in what stands behind the value; others may have written there
local function lease_in(text)
  if (#text - 17) % ${ID_BYTES} == 0 and string.find(text, '^[pt]') then return text end
  return ''
end
-- what stands before the value, and the lease: nil = this life knows nothing of the key, or it was cut off
local function start(key)
  local text = redis.pcall('GETRANGE', key, 0, ${EPOCH_AT - 1})
  if type(text) ~= 'string' then return '', nil end
  if not is_ours(text) or redis.call('STRLEN', key) < ending(text) then return text, nil end
  return text, lease_in(redis.call('GETRANGE', key, ending(text), -1))
end
local function store(key, before, body, ttl)
  local time = redis.call('TIME')
  local number = math.max(version(before) + 1, time[1] * 1000000 + time[2])
  local gone = ttl == '' and 0 or time[1] * 1000 + math.floor(time[2] / 1000) + ttl
  local text = ENTRY .. digits(number) .. LIFE .. string.format('%010.0f', ${EPOCH_AT} + #body) .. digits(gone) .. body
  if ttl == '' then redis.call('SET', key, text) else redis.call('SET', key, text, 'PX', ttl) end
end
-- the mark of a source version with the key ('' = none), and what stands before the mark in an entry
local function mark(key, before)
  local magic, text = string.sub(before, 1, 4), ''
  if magic == ENTRY then
    text = redis.call('GETRANGE', key, ${EPOCH_AT + 28}, ${EPOCH_AT + 30 + MARK_BYTES})
    text = string.sub(text, 2, 3) == '\\0\\${MARK_BYTES}' and string.byte(text, 1) > 0 and string.sub(text, 4) or ''
  elseif magic == LEASE and ending(before) == ${EPOCH_AT + MARK_BYTES} then
    text = redis.call('GETRANGE', key, ${EPOCH_AT}, ${EPOCH_AT + MARK_BYTES - 1})
  end
  return #text == ${MARK_BYTES} and string.find(text, '^%z[vx]%d+$') and text or ''
end
-- a mark that says: this version was there, and the truth has changed since
local function past(marked)
  return marked == '' and '' or '\\0x' .. string.sub(marked, 3)
end
-- the body of an entry without a version, under the version that the key had before
local function under(body, marked)
  if marked == '' then return body end
  local count = string.char(string.byte(body, 29) + 1)
  return string.sub(body, 1, 28) .. count .. '\\0\\${MARK_BYTES}' .. past(marked) .. string.sub(body, 30)
end
-- what stands before a lease in a key that holds nothing else
local function alone(before, marked)
  return LEASE .. digits(version(before)) .. LIFE .. string.format('%010.0f', ${EPOCH_AT} + #marked) .. digits(0) .. marked
end
-- removes an entry, leaving only its source version
local function leave(key, before, marked)
  if marked == '' or redis.pcall('SET', key, alone(before, past(marked)), 'PX', ${MARK_MS}).err then redis.call('UNLINK', key) end
end
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
-- what there is to say to this caller before anything is granted; nil = grant
local function held(key, lease, token)
  if string.sub(lease, -${ID_BYTES}) == token then return { 2 } end
  local bound = tonumber(string.sub(lease, 2, 17))
  if not bound then return nil end
  local ms = redis.call('PTTL', key) - bound
  if string.sub(lease, 1, 1) == 't' then ms = bound - now() end
  if ms > 0 then return { 3, ms } end
end
-- the lease with one token more, the latest eight kept; ttl: the key's, negative = none
local function extended(lease, token, ttl, wait)
  local tokens = string.sub(string.sub(lease, 18) .. token, -${8 * ID_BYTES})
  if ttl < 0 then return 't' .. digits(now() + wait) .. tokens end
  return 'p' .. digits(ttl - wait) .. tokens
end
-- a key that holds nothing but the lease
local function grant_alone(key, before, lease, token, life, wait)
  local marked = past(mark(key, before))
  if marked ~= '' then life = math.max(life, ${MARK_MS}) end
  local text = alone(before, marked)
  local written = redis.pcall('SET', key, text .. extended(lease, token, life, wait), 'PX', life)
  return written.ok and { 2 } or { 4 }
end
local function position(lease, token)
  for at = 18, #lease, ${ID_BYTES} do
    if string.sub(lease, at, at + ${ID_BYTES - 1}) == token then return at end
  end
end
`;

/**
 * KEYS table. ARGV an id for a new epoch, names. Returns { epoch, n, floor, score of each name }, numbers as text, '' = not named.
 * ZREM of what never exists is there to be a write: on a replica it is refused, and so are reads that a former primary would answer.
 */
const SURVEY = `
redis.call('ZREM', KEYS[1], '-')
local epoch, n = head(KEYS[1], ARGV[1])
local out = { epoch, tostring(n), redis.call('ZSCORE', KEYS[1], 'f') or '0' }
for i = 2, #ARGV, 500 do
  local scores = redis.call('ZMSCORE', KEYS[1], unpack(ARGV, i, math.min(i + 499, #ARGV)))
  for k = 1, #scores do out[i + k + 1] = scores[k] or '' end
end
return out
`;

/**
 * KEYS table. ARGV an id for a new epoch, most tags to remember, names. Returns n.
 * When there are too many, the quarter invalidated longest ago is forgotten; namespaces are never forgotten (there are few).
 */
const INVALIDATE = `
local epoch, n = head(KEYS[1], ARGV[1])
n = n + 1
redis.call('ZADD', KEYS[1], n, 'h' .. LIFE .. epoch)
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], string.format('%.1f', n - 0.5), ARGV[i]) end
local most = tonumber(ARGV[2])
if redis.call('ZCARD', KEYS[1]) > most then
  local oldest = redis.call('ZRANGE', KEYS[1], 0, math.floor(most / 4), 'WITHSCORES')
  local floor = '0'
  for i = 1, #oldest, 2 do
    if string.sub(oldest[i], 1, 1) == 't' then
      redis.call('ZREM', KEYS[1], oldest[i])
      floor = oldest[i + 1]
    end
  end
  if floor ~= '0' then redis.call('ZADD', KEYS[1], floor, 'f') end
end
return n
`;

/**
 * KEYS entries. ARGV life of a token in ms ('' = no leases wanted), for how long others wait in ms, then for each key: token, version of an entry
 * known to be dead ('' = none). Returns for each: { 1, text, ttl } there, { 2 } lease granted, { 3, ms } held by another, { 0 } nothing,
 * { 4 } nothing that could be leased: another type, or no memory.
 * Asked twice with one token it grants once, so a read may be sent again.
 */
const READ = `
local out = {}
local life, wait = tonumber(ARGV[1]), tonumber(ARGV[2])
for i = 1, #KEYS do
  local key, token, dead = KEYS[i], ARGV[2 * i + 1], ARGV[2 * i + 2]
  local text = redis.pcall('GET', key) or ''
  if type(text) == 'table' then
    out[i] = { 4 }
  else
    local ours = is_ours(text) and #text >= ending(text)
    if ours and string.sub(text, 1, 4) == ENTRY and string.sub(text, 5, 20) ~= dead then
      out[i] = { 1, text, redis.call('PTTL', key) }
    elseif not life then
      out[i] = { 0 }
    else
      local lease = ours and lease_in(string.sub(text, ending(text) + 1)) or ''
      out[i] = held(key, lease, token) or grant_alone(key, text, lease, token, life, wait)
    end
  end
end
return out
`;

/**
 * KEYS entries. ARGV as for READ, with only a token for each key. Returns for each { 2 }, { 3, ms } or { 4 }. An entry stays: the lease is written
 * behind its value, in place, whatever the value's size.
 */
const LEASE = `
local out = {}
local life, wait = tonumber(ARGV[1]), tonumber(ARGV[2])
for i = 1, #KEYS do
  local key, token = KEYS[i], ARGV[i + 2]
  local before, known = start(key)
  local lease = known or ''
  out[i] = held(key, lease, token)
  if out[i] then
    -- held
  elseif known and string.sub(before, 1, 4) == ENTRY then
    local text = extended(lease, token, redis.call('PTTL', key), wait)
    out[i] = type(redis.pcall('SETRANGE', key, ending(before), text)) == 'number' and { 2 } or { 4 }
  elseif before == '' and redis.call('EXISTS', key) == 1 then
    out[i] = { 4 }
  else
    out[i] = grant_alone(key, before, lease, token, life, wait)
  end
end
return out
`;

/** KEYS entry. ARGV token, body, ttl in ms ('' = none). Returns 1 when stored, 0 when the token is not good (any more). */
const FILL = `
local before, lease = start(KEYS[1])
if not lease or not position(lease, ARGV[1]) then return 0 end
store(KEYS[1], before, under(ARGV[2], mark(KEYS[1], before)), ARGV[3])
return 1
`;

/**
 * KEYS entry. ARGV body, ttl in ms ('' = none), source version in 20 digits ('' = none), which the body carries as well. Returns 1 stored, 2 this very
 * version is there, 3 a later one is or was, 4 it cannot be told: the key was removed. The rule is freshness/source-versions.ts's. (An entry that is there
 * and dead by a tag, which a script cannot know, is answered with 2 as well: it stays dead.)
 */
const SET = `
local key, source = KEYS[1], ARGV[3]
local before, known = start(key)
local marked = mark(key, before)
if source == '' then
  store(key, before, under(ARGV[1], marked), ARGV[2])
  return 1
end
if marked ~= '' then
  local last = string.sub(marked, 3)
  if source < last then return 3 end
  if source == last then
    if string.sub(marked, 2, 2) == 'x' then
      leave(key, before, marked)
      return 4
    end
    if known then return 2 end
  end
end
store(key, before, ARGV[1], ARGV[2])
return 1
`;

/** KEYS entries. Returns how many were there; a mere lease is removed without being counted. Of an entry with a source version that version stays for a while. */
const DELETE = `
local count = 0
for i = 1, #KEYS do
  local before = start(KEYS[i])
  local there = redis.call('EXISTS', KEYS[i]) == 1 and string.sub(before, 1, 4) ~= LEASE
  leave(KEYS[i], before, mark(KEYS[i], before))
  if there then count = count + 1 end
end
return count
`;

/** KEYS entry. ARGV token. It is no longer good; if it was the last one given, the next caller is granted one at once. */
const RELEASE = `
local before, lease = start(KEYS[1])
local at = lease and position(lease, ARGV[1])
if not at then return 0 end
local tokens = string.sub(lease, 18, at - 1) .. string.rep(' ', ${ID_BYTES}) .. string.sub(lease, at + ${ID_BYTES})
if string.sub(before, 1, 4) == LEASE and ending(before) == ${EPOCH_AT} and not string.find(tokens, '%S') then
  redis.call('UNLINK', KEYS[1])
  return 1
end
local clock = string.sub(lease, 1, 17)
if at + ${ID_BYTES} > #lease then clock = 'p' .. string.rep('9', 16) end
redis.call('SETRANGE', KEYS[1], ending(before), clock .. tokens)
return 1
`;

/**
 * A lock: its owner and token under one key, the last token under another of the same slot that outlives it for a week. A token is above the last, and at
 * least the server's microseconds, so that it rises also when that key is lost, as far as the clocks of the servers go.
 */
const LOCK = `
local held = redis.call('GET', KEYS[1])
if held then
  local owner, token = string.match(held, '^([^|]*)|(%d+)$')
  if owner == ARGV[1] then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return {token, 0}
  end
  return {false, math.max(1, redis.call('PTTL', KEYS[1]))}
end
local time = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
local token = digits(math.max(last + 1, tonumber(time[1]) * 1000000 + tonumber(time[2])))
redis.call('SET', KEYS[2], token, 'PX', 604800000)
redis.call('SET', KEYS[1], ARGV[1] .. '|' .. token, 'PX', ARGV[2])
return {token, 0}
`;

const RENEW_LOCK = `
local held = redis.call('GET', KEYS[1])
if not held or string.match(held, '^[^|]*') ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
`;

const UNLOCK = `
local held = redis.call('GET', KEYS[1])
if not held or string.match(held, '^[^|]*') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1
`;

const COUNT = `
local sum = redis.call('INCRBY', KEYS[1], ARGV[1])
if ARGV[2] ~= '' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return sum
`;

/** A sum of this life: what an earlier one left may be older than what it had acknowledged. The numbers stay below 2^53. */
const DRAW = `
local text = redis.call('GET', KEYS[1])
local sum = 0
if text and string.sub(text, 1, #LIFE + 1) == LIFE .. ' ' then sum = tonumber(string.sub(text, #LIFE + 2)) or 0 end
sum = sum + tonumber(ARGV[1])
if sum > 9007199254740991 then return redis.error_reply('ERR the sum would be no safe integer') end
local digits_ = string.format('%.0f', sum)
redis.call('SET', KEYS[1], LIFE .. ' ' .. digits_)
return digits_
`;

export const SCRIPTS = {
  count: COUNT,
  draw: DRAW,
  lock: LOCK,
  renewLock: RENEW_LOCK,
  unlock: UNLOCK,
  survey: SURVEY,
  invalidate: INVALIDATE,
  read: READ,
  lease: LEASE,
  fill: FILL,
  set: SET,
  delete: DELETE,
  release: RELEASE,
  queueBegin: QUEUE_BEGIN,
  queuePush: QUEUE_PUSH,
  queueTake: QUEUE_TAKE,
  queueDrop: QUEUE_DROP,
  queueRelease: QUEUE_RELEASE,
  queueLetter: QUEUE_LETTER,
  queueMove: QUEUE_MOVE,
} as const;

export type ScriptName = keyof typeof SCRIPTS;

/** The text of a script as it is loaded into a server in its life `life`. */
export function scriptText(name: ScriptName, life: string): string {
  return (PRELUDE + SCRIPTS[name]).replace('%LIFE%', life);
}
