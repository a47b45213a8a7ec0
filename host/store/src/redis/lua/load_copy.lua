-- Keeps a copy of a value that somebody else has set, where it is still the same and expires.
--
-- ARGV[1]  the value
-- ARGV[2]  its sum
-- ARGV[3]  for how many milliseconds longer than the key the copy stays
-- Returns  1, or 0 where nothing was changed

if plain() ~= ARGV[1] then
  return 0
end
local left = redis.call('PTTL', key)
if left <= 0 then
  return 0
end
redis.call('HSET', note, 'value', ARGV[1], 'sum', ARGV[2], 'expires', now + left)
stay(left + ARGV[3])
return 1
