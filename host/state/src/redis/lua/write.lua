-- Applies a batch or nothing. ARGV: stem, most bytes, most keys, then for each of KEYS[5..]: `S` or `D`, ttl, whether
-- it counts, value. Returns what the batch would break, or an empty text.
sweep(2 * #KEYS + 16)
local seen, more_bytes, more_keys = {}, 0, 0
for i = 5, #KEYS do
  local at = 4 * (i - 5) + 4
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
for i = 5, #KEYS do
  local at = 4 * (i - 5) + 4
  if ARGV[at] == 'S' then
    put(KEYS[i], ARGV[at + 3], ARGV[at + 1], ARGV[at + 2])
  else
    redis.call('DEL', KEYS[i])
    forget(member(KEYS[i]))
  end
end
return ''
