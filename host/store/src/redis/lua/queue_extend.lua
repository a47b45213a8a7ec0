-- Sets the deadlines of leases that are there.
--
-- KEYS[1]  the deadlines of leases
-- ARGV[1]  how long they last from now, in milliseconds
-- ARGV[2…] ids of leases
-- Returns  how many are there

local deadline, count = now_ms() + ARGV[1], 0
for i = 2, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], deadline, ARGV[i])
    count = count + 1
  end
end
return count
