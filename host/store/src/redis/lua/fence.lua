-- Advances the epoch of a consumer, or begins a new one where its fence key is gone.
--
-- KEYS[1]  the fence key
-- ARGV[1]  a random number to begin with
-- ARGV[2]  milliseconds after which an unused fence key goes away
-- Returns  the epoch

if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('INCR', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('GET', KEYS[1])
