-- Puts the jobs of a lease back among those that are ready, and deletes the lease.
--
-- KEYS[1]  records that are ready
-- KEYS[2]  the deadlines of leases
-- KEYS[3]  the lease
-- ARGV[1]  the id of the lease
-- ARGV[2]  1 where that counts as a crash of each job, else 0
-- Returns  how many jobs

local count = put_back(KEYS[1], KEYS[3], tonumber(ARGV[2]))
redis.call('ZREM', KEYS[2], ARGV[1])
return count
