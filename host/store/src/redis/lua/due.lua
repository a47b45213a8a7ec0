-- Hands out events whose time for a retry has come. While an id is listed nobody handles it, so no consumer has to be
-- fenced.
--
-- KEYS[1]  the stream
-- KEYS[2]  the fence key of the caller
-- KEYS[3]  the retry list of the group
-- KEYS[4]  the attempts of the group
-- ARGV[1]  the group
-- ARGV[2]  the calling consumer
-- ARGV[3]  now, milliseconds since 1970
-- ARGV[4]  how many are handed out at most
-- Returns  {epoch of the caller or false, when the next one is due or false, vanished, entries}

local ids = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[3], 'LIMIT', 0, ARGV[4])
if #ids > 0 then
  redis.call('ZREM', KEYS[3], unpack(ids))
end
local entries, vanished = claim(KEYS[1], KEYS[4], ARGV[1], ARGV[2], ids)
local next_due = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2] or false
return { redis.call('GET', KEYS[2]), next_due, vanished, entries }
