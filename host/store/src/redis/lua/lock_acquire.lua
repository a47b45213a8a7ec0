-- Takes a lock, or joins the line of those who wait for it. Those in line come first. May be repeated: who holds the lock already is
-- answered again, and who is in line keeps his place.
--
-- KEYS[1]  the lock
-- KEYS[2]  the number of its last holder
-- KEYS[3]  those who wait for it
-- ARGV[1]  the claim, node:ttl:host:plugin:id
-- ARGV[2]  1 to join the line, else 0
-- ARGV[3]  how many may wait
-- Returns  {value} where the lock is held by the claim, else {false, milliseconds that are left to its holder (-1 for ever),
--          1 where the claim is in line, 0 where it is not, -1 where too many wait}

local mine = parse(ARGV[1])
local value = held(KEYS[1])
if value and string.sub(value, -#mine.id - 1) == ':' .. mine.id then
  return { value }
end
if redis.call('EXISTS', KEYS[1]) == 0 then
  local handed = hand_over(KEYS[1], KEYS[2], KEYS[3], ARGV[1])
  if type(handed) == 'string' then
    return { handed }
  end
  if not handed then
    return { take(KEYS[1], KEYS[2], mine, value_for(mine, KEYS[2])) }
  end
end
local left_ms = redis.call('PTTL', KEYS[1])
if ARGV[2] ~= '1' then
  return { false, left_ms, 0 }
end
if not redis.call('LPOS', KEYS[3], ARGV[1]) then
  if redis.call('LLEN', KEYS[3]) >= tonumber(ARGV[3]) then
    return { false, left_ms, -1 }
  end
  redis.call('RPUSH', KEYS[3], ARGV[1])
end
redis.call('PEXPIRE', KEYS[3], WAITERS_TTL_MS)
return { false, left_ms, 1 }
