-- Removes the oldest entries of a stream, but none that some group has not read or not acknowledged.
--
-- KEYS[1]  the stream
-- ARGV[1]  '=' for exactly so many entries, '~' for about so many, 'MINID' for entries from an id on
-- ARGV[2]  how many of the newest entries stay, or the oldest id that stays
-- Returns  the number of entries removed

local stream = KEYS[1]

-- How many entries are looked at in one step when single entries are removed.
local STEP = 100

-- Ids count to 2^64, more than a number holds exactly here: compare their digits.
local function less(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)$')
  if a_ms == b_ms then
    a_ms, b_ms = a_seq, b_seq
  end
  if #a_ms ~= #b_ms then
    return #a_ms < #b_ms
  end
  return a_ms < b_ms
end

local length = redis.call('XLEN', stream)
if length == 0 then
  return 0
end

-- The oldest entry that some group still needs; nil when no group needs any.
local floor = nil
local function needs(id)
  if id and (floor == nil or less(id, floor)) then
    floor = id
  end
end

for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  local group = {}
  for i = 1, #info, 2 do
    group[info[i]] = info[i + 1]
  end
  local unread = redis.call('XRANGE', stream, '(' .. group['last-delivered-id'], '+', 'COUNT', 1)[1]
  needs(unread and unread[1])
  if group['pending'] > 0 then
    needs(redis.call('XPENDING', stream, group['name'])[2])
  end
end

if ARGV[1] == 'MINID' then
  needs(ARGV[2])
  return redis.call('XTRIM', stream, 'MINID', '=', floor)
end

if floor == nil then
  return redis.call('XTRIM', stream, 'MAXLEN', ARGV[1], ARGV[2])
end

local excess = length - tonumber(ARGV[2])
if excess <= 0 then
  return 0
end

-- Whole nodes below the floor first: never more than the excess, and without reading the entries.
local removed = redis.call('XTRIM', stream, 'MINID', '~', floor, 'LIMIT', excess)
if ARGV[1] == '~' then
  return removed
end

-- What is left of the excess is part of a node: find the id up to which it goes.
while removed < excess do
  local step = math.min(excess - removed, STEP)
  local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', step + 1)
  local cut = floor
  if #oldest > step and less(oldest[step + 1][1], floor) then
    cut = oldest[step + 1][1]
  end
  local count = redis.call('XTRIM', stream, 'MINID', '=', cut)
  if count == 0 then
    break
  end
  removed = removed + count
end
return removed
