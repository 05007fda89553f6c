-- Applies a batch or nothing. ARGV: stem, most bytes, most keys, whether KEYS[5] is a fence, its expected value, then for
-- each of KEYS[6..]: `S` or `D`, ttl, whether it counts, value. Returns `fenced`, what the batch would break, or an empty text.
if ARGV[4] == '1' and redis.call('GET', KEYS[5]) ~= ARGV[5] then
  return 'fenced'
end
sweep(2 * #KEYS + 16)
local seen, more_bytes, more_keys = {}, 0, 0
for i = 6, #KEYS do
  local at = 4 * (i - 6) + 6
  if ARGV[at + 2] == '1' then
    local name = member(KEYS[i])
    local before = seen[name]
    if before == nil then
      before = counted(name) or -1
    end
    local after = ARGV[at] == 'S' and #name + #ARGV[at + 3] or -1
    more_bytes = more_bytes + math.max(after, 0) - math.max(before, 0)
    more_keys = more_keys + (after >= 0 and 1 or 0) - (before >= 0 and 1 or 0)
    seen[name] = after
  end
end
local broken = refuse(more_bytes, more_keys, ARGV[2], ARGV[3])
if broken then
  return broken
end
for i = 6, #KEYS do
  local at = 4 * (i - 6) + 6
  if ARGV[at] == 'S' then
    put(KEYS[i], ARGV[at + 3], ARGV[at + 1], ARGV[at + 2])
  else
    redis.call('DEL', KEYS[i])
    forget(member(KEYS[i]))
  end
end
return ''
