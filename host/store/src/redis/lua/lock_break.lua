-- Takes a lock from its holder, and hands it to the first waiter.
--
-- KEYS[1]  the lock
-- KEYS[2]  the number of its last holder
-- KEYS[3]  those who wait for it
-- Returns  what the key held, or false

local value = redis.call('GET', KEYS[1])
if not value then
  return false
end
redis.call('DEL', KEYS[1])
hand_over(KEYS[1], KEYS[2], KEYS[3], nil)
return value
