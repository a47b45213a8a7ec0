-- Shared by the scripts that hand pending entries to a consumer; it stands before each of them.

-- The score of an id in the retry list, or false.
local function waits(retry_key, id)
  return redis.call('ZSCORE', retry_key, id)
end

-- Claims ids for a consumer. Returns entries as {id, fields, failed attempts} and how many have vanished from the
-- stream; those are acknowledged, since nobody can handle them any more.
local function claim(stream, attempts_key, group, consumer, ids)
  if #ids == 0 then
    return {}, 0
  end
  local claimed = redis.call('XCLAIM', stream, group, consumer, 0, unpack(ids))
  local entries, present = {}, {}
  for _, entry in ipairs(claimed) do
    -- Before Redis 7 an entry that was deleted comes as false, or without fields.
    if entry and entry[2] then
      local failed = redis.call('HGET', attempts_key, entry[1])
      entries[#entries + 1] = { entry[1], entry[2], tonumber(failed or 0) }
      present[entry[1]] = true
    end
  end
  local vanished = 0
  for _, id in ipairs(ids) do
    if not present[id] then
      redis.call('XACK', stream, group, id)
      redis.call('HDEL', attempts_key, id)
      vanished = vanished + 1
    end
  end
  return entries, vanished
end

