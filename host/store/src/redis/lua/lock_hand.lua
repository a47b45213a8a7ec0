-- Shared by the scripts that give locks to somebody; it stands before each of them.

-- How long the number of a lock's last holder is kept, in milliseconds: 7 days. A counter that is gone begins at the clock, which
-- is ahead of it.
local TOKEN_TTL_MS = 604800000
-- How long a line is kept when nobody joins it, in milliseconds: longer than anybody waits.
local WAITERS_TTL_MS = 7200000

-- Reads a claim, `node:ttl:host:plugin:id`.
local function parse(claim)
  local node, ttl_ms, host, plugin, id = string.match(claim, '^([^:]*):(%d+):([^:]*):([^:]*):([^:]*)$')
  if not id then
    return nil
  end
  return { node = node, ttl_ms = ttl_ms, host = host, plugin = plugin, id = id }
end

-- The value under which a claim would hold the lock now, and the number in it: larger than the last one, and than the clock in
-- microseconds was, so that it grows even where the counter was lost.
local function value_for(claim, token_key)
  local time = redis.call('TIME')
  local last = tonumber(redis.call('GET', token_key) or '0') or 0
  local token = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
  local now_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
  return token .. ':' .. claim.host .. ':' .. claim.plugin .. ':' .. now_ms .. ':' .. claim.id, token
end

-- Lets a claim hold the lock, which nobody holds, under a value that was made for it.
local function take(key, token_key, claim, value, token)
  redis.call('SET', token_key, token, 'PX', TOKEN_TTL_MS)
  redis.call('SET', key, value, 'PX', claim.ttl_ms)
  return value
end

-- The channel on which a process hears of the locks that are handed to it. That of a tenant which is confined to its prefix lies
-- below the prefix, which is what stands before the name of the lock in both of its keys.
local function channel_of(node, key, waiters_key)
  local channel = 'sandbar:wake:' .. node
  if string.sub(node, 1, 1) ~= '@' then
    return channel
  end
  local from = 1
  while true do
    local at, to = string.find(waiters_key, 'sandbar:lock:', from, true)
    if not at then
      return channel
    end
    local prefix = string.sub(waiters_key, 1, at - 1)
    if prefix .. string.sub(waiters_key, to + 1) == key .. ':waiters' then
      return prefix .. channel
    end
    from = at + 1
  end
end

-- Hands the lock, which nobody holds, to the first of the line who is still there. Hosts that are gone do not hear that it is theirs,
-- and are skipped. Returns the value where `mine` (a claim as text, or nil) was the first, true where somebody else was, false
-- where nobody waits.
local function hand_over(key, token_key, waiters_key, mine)
  while true do
    local first = redis.call('LPOP', waiters_key)
    if not first then
      return false
    end
    local claim = parse(first)
    if claim then
      local value, token = value_for(claim, token_key)
      if first == mine then
        return take(key, token_key, claim, value, token)
      end
      local message = table.concat({ value, key, token_key, waiters_key }, '\n')
      if redis.call('PUBLISH', channel_of(claim.node, key, waiters_key), message) > 0 then
        take(key, token_key, claim, value, token)
        return true
      end
    end
  end
end

-- What the key holds where that is text, else nil.
local function held(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and value or nil
end

