-- Pushes a job with a delay, a priority or a deduplication id, within a commit.
--
-- KEYS[1]  the list
-- KEYS[2]  records that are ready
-- KEYS[3]  records that wait for their time
-- KEYS[4]  the counter that numbers jobs
-- KEYS[5]  deduplication ids by the time until which they suppress others
-- ARGV[1]  the delay in milliseconds
-- ARGV[2]  the priority
-- ARGV[3]  the payload
-- ARGV[4]  how long the deduplication id suppresses others, in milliseconds; 0 without one
-- ARGV[5]  the deduplication id
-- Returns  1, or 0 where an earlier job suppresses this one

local now = now_ms()
-- Asked first: it is refused where the key holds something else, and nothing must have been written then.
redis.call('LLEN', KEYS[1])
if ARGV[4] ~= '0' then
  redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now)
  if redis.call('ZSCORE', KEYS[5], ARGV[5]) then
    return 0
  end
  redis.call('ZADD', KEYS[5], now + ARGV[4], ARGV[5])
  redis.call('PEXPIREAT', KEYS[5], redis.call('ZRANGE', KEYS[5], -1, -1, 'WITHSCORES')[2] + 1)
end
if ARGV[1] == '0' and ARGV[2] == '0' then
  redis.call('LPUSH', KEYS[1], ARGV[3])
  return 1
end
local record = redis.call('INCR', KEYS[4]) .. ' 1 0 ' .. ARGV[2] .. ' ' .. now .. '\n' .. ARGV[3]
if ARGV[1] == '0' then
  redis.call('ZADD', KEYS[2], rank(record), record)
else
  redis.call('ZADD', KEYS[3], now + ARGV[1], record)
end
return 1
