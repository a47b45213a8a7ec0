-- Removes a consumer that has nothing pending.
--
-- KEYS[1]  the stream
-- KEYS[2]  the fence key of the consumer
-- ARGV[1]  the group
-- ARGV[2]  the consumer
-- Returns  1 where it was removed, 0 where it has entries pending

if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then
  return 0
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
redis.call('DEL', KEYS[2])
return 1
