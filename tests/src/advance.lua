-- Moves all that this server knows of time ARGV[1] milliseconds into the past, and one more, since what Redis expires is
-- there up to and in its last millisecond.
local by = tonumber(ARGV[1]) + 1

local function whole(number)
  return string.format('%.0f', number)
end

local function age_stream(key)
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    for _, entry in ipairs(redis.call('XPENDING', key, group[2], '-', '+', 10000)) do
      redis.call('XCLAIM', key, group[2], entry[2], 0, entry[1], 'IDLE', whole(entry[3] + by), 'RETRYCOUNT', entry[4], 'JUSTID')
    end
  end
end

local function age(key)
  local at = redis.call('PEXPIRETIME', key)
  if at > 0 then
    redis.call('PEXPIREAT', key, whole(at - by))
  end
  if string.sub(key, 1, 10) == 'nexus-due:' then
    local names = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 1, #names, 2 do
      redis.call('ZADD', key, whole(names[i + 1] - by), names[i])
    end
  elseif string.sub(key, 1, 13) == 'nexus-stream:' then
    age_stream(key)
  end
end

local cursor, keys = '0', {}
repeat
  local page = redis.call('SCAN', cursor, 'COUNT', 1000)
  cursor = page[1]
  for _, key in ipairs(page[2]) do
    keys[key] = true
  end
until cursor == '0'
for key in pairs(keys) do
  age(key)
end
return 'OK'
