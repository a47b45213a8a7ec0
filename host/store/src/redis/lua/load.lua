-- What the scripts for loads share; see store/loading.rs.
--
-- KEYS[1]  the key
-- KEYS[2]  the note beside it, a hash that expires:
--            value, sum, expires   a copy of the key's value, a number that differs for other values, when the key expires
--            missing               until when it is remembered that the source has nothing
--            loader, lease         the token of who loads, and until when
--            ended, told, failure  the token of the load that ended last, until when that is announced, and why it failed: ''
--                                  where the source had nothing
-- All times are milliseconds since 1970 by the server's clock.

local key, note = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Lets the note stay for at least so many milliseconds.
local function stay(ms)
  if redis.call('PTTL', note) < ms then
    redis.call('PEXPIRE', note, ms)
  end
end

-- The plain value of the key, or an error to answer.
local function plain()
  local value = redis.pcall('GET', key)
  if type(value) == 'table' then
    return nil, value
  end
  return value
end

