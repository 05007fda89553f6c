-- Adds to KEYS[5]. ARGV: stem, most bytes, most keys, the summand, ttl, whether it counts. Returns the sum as text with
-- `=` before it, what it would break, or `not a number`.
sweep(16)
local name = member(KEYS[5])
local is_new = redis.call('EXISTS', KEYS[5]) == 0
if ARGV[6] == '1' then
  local before = counted(name)
  local broken = refuse(before and 0 or #name + #ARGV[4], before and 0 or 1, ARGV[2], ARGV[3])
  if broken then
    return broken
  end
end
local sum = redis.pcall('INCRBY', KEYS[5], ARGV[4])
if type(sum) == 'table' and sum.err then
  return 'not a number'
end
-- Read again as text: a number of Lua's holds 53 bits only.
sum = redis.call('GET', KEYS[5])
if is_new then
  local at = deadline(name, ARGV[5])
  if at then
    redis.call('PEXPIREAT', KEYS[5], at)
  end
end
note(name, ARGV[6] == '1' and #name + #sum or nil)
return '=' .. sum
