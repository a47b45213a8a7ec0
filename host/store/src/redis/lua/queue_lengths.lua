-- Counts jobs by state.
--
-- KEYS[1]  the list
-- KEYS[2]  records that are ready
-- KEYS[3]  records that wait for their time
-- KEYS[4]  the deadlines of leases
-- KEYS[5]  the dead letters
-- ARGV[1]  where the keys of leases begin
-- Returns  {ready, delayed, leased, dead}

local due = redis.call('ZCOUNT', KEYS[3], '-inf', now_ms())
local leased = 0
for _, id in ipairs(redis.call('ZRANGE', KEYS[4], 0, -1)) do
  leased = leased + redis.call('HLEN', ARGV[1] .. id)
end
return {
  redis.call('LLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2]) + due,
  redis.call('ZCARD', KEYS[3]) - due,
  leased,
  redis.call('XLEN', KEYS[5]),
}
