-- Ends a load that found something, or nothing.
--
-- ARGV[1]  the token of the load
-- ARGV[2]  'value' or 'missing'
-- ARGV[3]  for how many milliseconds the value stays, or it is remembered that there is none
-- ARGV[4]  for how many milliseconds longer a copy stays; for how many it is remembered that there is no value
-- ARGV[5]  the value
-- ARGV[6]  its sum
-- Returns  {'kept'}, {'overtaken', value, milliseconds left or -1} or {'revoked'}

if redis.call('HGET', note, 'loader') ~= ARGV[1] then
  return { 'revoked' }
end
local value, failed = plain()
if value or failed then
  redis.call('HDEL', note, 'loader', 'lease')
  return failed or { 'overtaken', value, redis.call('PTTL', key) }
end

local ttl, longer = tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('DEL', note)
if ARGV[2] == 'value' then
  redis.call('SET', key, ARGV[5], 'PX', ttl)
  if longer > 0 then
    redis.call('HSET', note, 'value', ARGV[5], 'sum', ARGV[6], 'expires', now + ttl)
    redis.call('PEXPIRE', note, ttl + longer)
  end
else
  redis.call('HSET', note, 'missing', now + ttl, 'ended', ARGV[1], 'told', now + longer, 'failure', '')
  redis.call('PEXPIRE', note, math.max(ttl, longer))
end
return { 'kept' }
