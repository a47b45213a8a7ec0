-- Takes jobs of a queue into a new lease. Finding nothing, it writes nothing.
--
-- KEYS[1]  the list
-- KEYS[2]  records that are ready
-- KEYS[3]  records that wait for their time
-- KEYS[4]  the counter that numbers jobs
-- KEYS[5]  the deadlines of leases
-- KEYS[6]  the new lease
-- KEYS[7]  there while the queue is paused
-- KEYS[8]  how many jobs were taken, by part of the rate's time
-- ARGV[1]  the id of the new lease
-- ARGV[2]  how many jobs are taken at most
-- ARGV[3]  how long the lease lasts, in milliseconds
-- ARGV[4]  where the keys of leases begin
-- ARGV[5]  how many abandoned leases are dissolved at most
-- ARGV[6]  how many jobs become ready at most
-- ARGV[7]  how many jobs may be taken in a span of time, 0 without a limit
-- ARGV[8]  that span, in milliseconds
-- ARGV[9]  in how many parts the span is cut
-- Returns  {1 where the queue is paused, milliseconds until it is worth to look again or false, jobs that came back,
--          records}

if redis.call('EXISTS', KEYS[7]) == 1 then
  return { 1, false, 0, {} }
end
local now = now_ms()

local returned = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', now, 'LIMIT', 0, ARGV[5])) do
  returned = returned + put_back(KEYS[2], ARGV[4] .. id, 1)
  redis.call('ZREM', KEYS[5], id)
end

local due = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, ARGV[6])
if #due > 0 then
  for _, record in ipairs(due) do
    redis.call('ZADD', KEYS[2], rank(record), record)
  end
  redis.call('ZREM', KEYS[3], unpack(due))
end

-- A part of the span counts as long as some of it lies within the span that ends now.
local count, limit, span = tonumber(ARGV[2]), tonumber(ARGV[7]), tonumber(ARGV[8])
local width, part, taken, first, over = 1, 0, 0, nil, {}
if limit > 0 then
  width = math.max(1, math.floor(span / tonumber(ARGV[9])))
  part = math.floor(now / width)
  local flat = redis.call('HGETALL', KEYS[8])
  for i = 1, #flat, 2 do
    local number = tonumber(flat[i])
    if number < math.floor((now - span) / width) then
      over[#over + 1] = flat[i]
    else
      taken = taken + tonumber(flat[i + 1])
      first = math.min(first or number, number)
    end
  end
  count = math.min(count, limit - taken)
end

local records = {}
if count > 0 then
  local popped = redis.call('ZPOPMIN', KEYS[2], count)
  for i = 1, #popped, 2 do
    records[#records + 1] = popped[i]
  end
end
if count > #records then
  local plain = redis.pcall('RPOP', KEYS[1], count - #records)
  if plain and plain.err then
    -- No list: what was popped already is taken all the same, since a script undoes nothing.
    if #records == 0 then
      return plain
    end
  elseif plain then
    local before = redis.call('INCRBY', KEYS[4], #plain) - #plain
    for i, payload in ipairs(plain) do
      records[#records + 1] = (before + i) .. ' 1 0 0 ' .. now .. '\n' .. payload
    end
  end
end

if #records > 0 then
  local fields = {}
  for i, record in ipairs(records) do
    fields[2 * i - 1] = string.match(record, '^%d+')
    fields[2 * i] = record
  end
  redis.call('HSET', KEYS[6], unpack(fields))
  redis.call('ZADD', KEYS[5], now + ARGV[3], ARGV[1])
  if limit > 0 then
    taken = taken + #records
    first = math.min(first or part, part)
    if #over > 0 then
      redis.call('HDEL', KEYS[8], unpack(over))
    end
    redis.call('HINCRBY', KEYS[8], part, #records)
    redis.call('PEXPIRE', KEYS[8], span + 2 * width)
  end
end

local next_at = nil
local function look(at)
  next_at = math.min(next_at or at, at)
end
if limit > 0 and taken >= limit then
  look((first + 1) * width + span)
elseif #records < count then
  for _, key in ipairs({ KEYS[3], KEYS[5] }) do
    local earliest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
    if earliest then
      look(tonumber(earliest))
    end
  end
end
return { 0, next_at and math.max(0, math.ceil(next_at - now)) or false, returned, records }
