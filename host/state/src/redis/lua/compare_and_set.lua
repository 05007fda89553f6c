-- Sets KEYS[5] if it is as expected. ARGV: stem, most bytes, most keys, whether a value is expected, that value, ttl,
-- whether it counts, value. Returns 1, 0, or what it would break.
sweep(16)
local present = redis.call('GET', KEYS[5])
local matches
if ARGV[4] == '1' then
  matches = present == ARGV[5]
else
  matches = present == false
end
if not matches then
  return 0
end
if ARGV[7] == '1' then
  local name = member(KEYS[5])
  local before = counted(name)
  local broken = refuse(#name + #ARGV[8] - (before or 0), before and 0 or 1, ARGV[2], ARGV[3])
  if broken then
    return broken
  end
end
put(KEYS[5], ARGV[8], ARGV[6], ARGV[7])
return 1
