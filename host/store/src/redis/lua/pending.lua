-- Answers the pending entries of one consumer, but not those that wait for a retry.
--
-- KEYS[1]  the stream
-- KEYS[2]  the fence key of the consumer
-- KEYS[3]  the retry list of the group
-- KEYS[4]  the attempts of the group
-- ARGV[1]  the group
-- ARGV[2]  the consumer
-- ARGV[3]  the id behind which pending entries are looked at
-- ARGV[4]  how many are looked at
-- Returns  {epoch of the consumer or false, last id looked at or false at the end, vanished, entries}

local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '(' .. ARGV[3], '+', ARGV[4], ARGV[2])
local ids = {}
for _, entry in ipairs(pending) do
  if not waits(KEYS[3], entry[1]) then
    ids[#ids + 1] = entry[1]
  end
end
local entries, vanished = claim(KEYS[1], KEYS[4], ARGV[1], ARGV[2], ids)
local last = #pending == tonumber(ARGV[4]) and pending[#pending][1]
return { redis.call('GET', KEYS[2]), last, vanished, entries }
