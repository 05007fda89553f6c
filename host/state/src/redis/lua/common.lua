-- What every script begins with. KEYS[1..4] belong to the application: its keys in order, the keys that expire by their
-- time, the sizes of the keys that count, and the sum of those sizes. ARGV[1] is what all its keys begin with.
local index, due, sizes, total = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local stem = ARGV[1]

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function member(key)
  return string.sub(key, #stem + 1)
end

local function whole(number)
  return string.format('%.0f', number)
end

-- Forgets a key that is gone.
local function forget(name)
  redis.call('ZREM', index, name)
  redis.call('ZREM', due, name)
  local size = redis.call('HGET', sizes, name)
  if size then
    redis.call('HDEL', sizes, name)
    redis.call('DECRBY', total, size)
  end
end

-- Forgets keys that Redis has expired, at most `limit`; returns how many it looked at.
local function sweep(limit)
  local names = redis.call('ZRANGE', due, '-inf', '(' .. whole(now), 'BYSCORE', 'LIMIT', 0, limit)
  for _, name in ipairs(names) do
    if redis.call('EXISTS', stem .. name) == 0 then
      forget(name)
    else
      redis.call('ZREM', due, name)
    end
  end
  return #names
end

-- Says what more bytes and keys would break, or nil.
local function refuse(more_bytes, more_keys, most_bytes, most_keys)
  if more_bytes > 0 and tonumber(redis.call('GET', total) or '0') + more_bytes > tonumber(most_bytes) then
    return 'bytes'
  end
  if more_keys > 0 and redis.call('HLEN', sizes) + more_keys > tonumber(most_keys) then
    return 'keys'
  end
  return nil
end

-- The size that is counted for a key, or nil.
local function counted(name)
  local size = redis.call('HGET', sizes, name)
  return size and tonumber(size)
end

-- Notes that a key is there, and its size where it counts.
local function note(name, size)
  redis.call('ZADD', index, 0, name)
  if size then
    redis.call('INCRBY', total, size - (counted(name) or 0))
    redis.call('HSET', sizes, name, size)
  end
end

-- Notes when a key goes; never where `ttl` is empty.
local function deadline(name, ttl)
  if ttl == '' then
    redis.call('ZREM', due, name)
    return nil
  end
  local at = whole(now + tonumber(ttl))
  redis.call('ZADD', due, at, name)
  return at
end

local function put(key, value, ttl, counts)
  local name = member(key)
  local at = deadline(name, ttl)
  if at then
    redis.call('SET', key, value, 'PXAT', at)
  else
    redis.call('SET', key, value)
  end
  note(name, counts == '1' and #name + #value or nil)
end

