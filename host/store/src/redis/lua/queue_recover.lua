-- Moves a lease to a new name, so that a commit that watches the old one fails. The second of two equal calls changes
-- nothing more.
--
-- KEYS[1]  the deadlines of leases
-- KEYS[2]  the lease
-- KEYS[3]  the lease under its new name
-- ARGV[1]  the id of the lease
-- ARGV[2]  its new id
-- ARGV[3]  how long it lasts from now, in milliseconds
-- Returns  the records that are in it

if KEYS[2] ~= KEYS[3] and redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('RENAME', KEYS[2], KEYS[3])
end
if KEYS[2] ~= KEYS[3] then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
local records = redis.call('HVALS', KEYS[3])
if #records > 0 then
  redis.call('ZADD', KEYS[1], now_ms() + ARGV[3], ARGV[2])
end
return records
