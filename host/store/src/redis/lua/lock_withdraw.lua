-- Takes a claim back: leaves the line, and gives the lock back where the claim holds it.
--
-- KEYS[1]  the lock
-- KEYS[2]  the number of its last holder
-- KEYS[3]  those who wait for it
-- ARGV[1]  the claim, node:ttl:host:plugin:id
-- Returns  1 where the lock was given back, else 0

redis.call('LREM', KEYS[3], 1, ARGV[1])
local mine = parse(ARGV[1])
local value = held(KEYS[1])
if not value or string.sub(value, -#mine.id - 1) ~= ':' .. mine.id then
  return 0
end
redis.call('DEL', KEYS[1])
hand_over(KEYS[1], KEYS[2], KEYS[3], nil)
return 1
