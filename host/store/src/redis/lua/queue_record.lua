-- Shared by the scripts that move jobs of queues; it stands before each of them.
--
-- A record is `id attempt crashes priority time-ms`, a line feed, and the payload.

-- Where a record stands among those that are ready: higher priorities first, then as they were numbered.
local function rank(record)
  local id, priority = string.match(record, '^(%d+) %d+ %d+ (%d+) ')
  return (255 - tonumber(priority)) * 17592186044416 + tonumber(id)
end

-- Puts the jobs of a lease back among those that are ready, with so many more crashes, and deletes the lease.
local function put_back(ready_key, lease_key, crashes)
  local records = redis.call('HVALS', lease_key)
  for _, record in ipairs(records) do
    local head, before, at = string.match(record, '^(%d+ %d+ )(%d+)()')
    local counted = head .. (tonumber(before) + crashes) .. string.sub(record, at)
    redis.call('ZADD', ready_key, rank(counted), counted)
  end
  redis.call('DEL', lease_key)
  return #records
end

-- Milliseconds since 1970.
local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

