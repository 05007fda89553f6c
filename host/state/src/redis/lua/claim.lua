-- Claims idle entries of the stream KEYS[1]. ARGV: group, consumer, idle time in milliseconds, how many at the most.
-- Returns id, value and deliveries of each, one after the other.
local found, cursor, left = {}, '0-0', tonumber(ARGV[4])
repeat
  local page = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], cursor, 'COUNT', left)
  cursor = page[1]
  for _, entry in ipairs(page[2]) do
    local pending = redis.call('XPENDING', KEYS[1], ARGV[1], entry[1], entry[1], 1)
    table.insert(found, entry[1])
    table.insert(found, entry[2][2])
    table.insert(found, pending[1][4])
    left = left - 1
  end
until cursor == '0-0' or left <= 0
return found
