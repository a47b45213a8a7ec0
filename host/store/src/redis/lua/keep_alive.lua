-- Marks entries as still being handled, as long as their consumer has not been fenced.
--
-- KEYS[1]  the stream
-- KEYS[2]  the fence key of the consumer
-- ARGV[1]  the group
-- ARGV[2]  the consumer
-- ARGV[3]  the epoch in which the entries were read
-- ARGV[4…] ids
-- Returns  1, or 0 where the epoch is over

if redis.call('GET', KEYS[2]) ~= ARGV[3] then
  return 0
end
local arguments = { KEYS[1], ARGV[1], ARGV[2], 0 }
for i = 4, #ARGV do
  -- An event that was given back for a retry meanwhile may be in other hands by now.
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2]) > 0 then
    arguments[#arguments + 1] = ARGV[i]
  end
end
if #arguments == 4 then
  return 1
end
arguments[#arguments + 1] = 'JUSTID'
redis.call('XCLAIM', unpack(arguments))
return 1
