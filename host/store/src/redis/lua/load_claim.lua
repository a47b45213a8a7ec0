-- Answers what there is of a key, or grants its load.
--
-- ARGV[1]  the token of who asks
-- ARGV[2]  for how many milliseconds the load is granted
-- ARGV[3]  the token of the load that was waited for, or ''
-- ARGV[4]  '1' where the stale value is wanted
-- ARGV[5]  how many milliseconds earlier than it should a key may expire without being taken for deleted
-- Returns  {'value', value, milliseconds left or -1}, {'missing', milliseconds}, {'failed', reason, value, age},
--          {'busy', token, value, age} or {'granted', '', value, age}; the value is missing where there is no stale one

local value, failed = plain()
if failed then
  return failed
end
if value then
  return { 'value', value, redis.call('PTTL', key) }
end

local fields = redis.call('HMGET', note, 'expires', 'missing', 'loader', 'lease', 'ended', 'told', 'failure')
local expires, missing, loader, lease = tonumber(fields[1] or nil), tonumber(fields[2] or nil), fields[3], tonumber(fields[4] or nil)
local ended, told, failure = fields[5], tonumber(fields[6] or nil), fields[7]

if missing and missing > now then
  return { 'missing', missing - now }
end

-- A copy whose key should still be there is that of a value which was deleted.
local stale, age = false, 0
if expires and now >= expires - tonumber(ARGV[5]) then
  age = math.max(now - expires, 0)
  stale = ARGV[4] == '1' and redis.call('HGET', note, 'value')
end

if told and told > now then
  local waited = ended == ARGV[3]
  if failure == '' and waited then
    return { 'missing', 0 }
  end
  if failure ~= '' and (waited or stale) then
    return { 'failed', failure, stale, age }
  end
end

if lease and lease > now and loader ~= ARGV[1] then
  return { 'busy', loader, stale, age }
end

redis.call('HSET', note, 'loader', ARGV[1], 'lease', now + ARGV[2])
stay(tonumber(ARGV[2]))
return { 'granted', '', stale, age }
