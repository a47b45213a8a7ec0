-- Gives a lock back, and hands it to the first of the line.
--
-- KEYS[1]  the lock
-- KEYS[2]  the number of its last holder
-- KEYS[3]  those who wait for it
-- ARGV[1]  the value under which it is held
-- Returns  1, or 0 where it is no longer held

if held(KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
hand_over(KEYS[1], KEYS[2], KEYS[3], nil)
return 1
