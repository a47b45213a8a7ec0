-- Gives a lock a new time to live.
--
-- KEYS[1]  the lock
-- ARGV[1]  the value under which it is held
-- ARGV[2]  milliseconds
-- Returns  1, or 0 where it is no longer held

local value = redis.pcall('GET', KEYS[1])
if value ~= ARGV[1] then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
