-- What kind of server this is: its version, how it persists, and whether it evicts.
local function info(section)
  local text = redis.pcall('INFO', section)
  return type(text) == 'string' and text or ''
end
return { redis.REDIS_VERSION or '', info('persistence'), info('memory') }
