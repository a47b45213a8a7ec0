-- Takes entries from consumers that were not heard of for a while, and fences those consumers in the same step.
--
-- KEYS[1]  the stream
-- KEYS[2]  the fence key of the caller
-- KEYS[3]  the retry list of the group
-- KEYS[4]  the attempts of the group
-- ARGV[1]  the group
-- ARGV[2]  the calling consumer
-- ARGV[3]  milliseconds after which an entry counts as abandoned
-- ARGV[4]  the id behind which pending entries are looked at
-- ARGV[5]  how many are looked at
-- ARGV[6]  where the fence keys of the group begin
-- ARGV[7]  milliseconds after which a consumer with nothing pending is removed
-- Returns  {epoch of the caller or false, last id looked at or false at the end, vanished, entries}

local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]

if ARGV[4] == '0-0' then
  for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    local info = {}
    for i = 1, #flat, 2 do
      info[flat[i]] = flat[i + 1]
    end
    if info.pending == 0 and info.idle > tonumber(ARGV[7]) and info.name ~= consumer then
      redis.call('XGROUP', 'DELCONSUMER', stream, group, info.name)
      redis.call('DEL', ARGV[6] .. info.name)
    end
  end
end

local pending = redis.call('XPENDING', stream, group, '(' .. ARGV[4], '+', ARGV[5])
local ids, victims = {}, {}
for _, entry in ipairs(pending) do
  if entry[2] ~= consumer and entry[3] >= tonumber(ARGV[3]) and not waits(KEYS[3], entry[1]) then
    ids[#ids + 1] = entry[1]
    victims[entry[2]] = true
  end
end
for victim in pairs(victims) do
  -- A consumer whose fence key is gone cannot commit anyway, and making the key anew would leave it behind.
  if redis.call('EXISTS', ARGV[6] .. victim) == 1 then
    redis.call('INCR', ARGV[6] .. victim)
  end
end
local entries, vanished = claim(stream, KEYS[4], group, consumer, ids)
local last = #pending == tonumber(ARGV[5]) and pending[#pending][1]
return { redis.call('GET', KEYS[2]), last, vanished, entries }
