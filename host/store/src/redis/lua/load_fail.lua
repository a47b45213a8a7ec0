-- Ends a load that failed. A load whose grant was taken away changes nothing.
--
-- ARGV[1]  the token of the load
-- ARGV[2]  why it failed, not empty
-- ARGV[3]  for how many milliseconds that is announced
-- Returns  1, or 0 where nothing was changed

if redis.call('HGET', note, 'loader') ~= ARGV[1] then
  return 0
end
redis.call('HDEL', note, 'loader', 'lease')
redis.call('HSET', note, 'ended', ARGV[1], 'told', now + ARGV[3], 'failure', ARGV[2])
stay(tonumber(ARGV[3]))
return 1
