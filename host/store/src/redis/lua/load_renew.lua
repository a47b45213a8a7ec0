-- Keeps the grant of a load.
--
-- ARGV[1]  the token of the load
-- ARGV[2]  for how many milliseconds from now
-- Returns  1, or 0 where the grant was taken away

if redis.call('HGET', note, 'loader') ~= ARGV[1] then
  return 0
end
redis.call('HSET', note, 'lease', now + ARGV[2])
stay(tonumber(ARGV[2]))
return 1
