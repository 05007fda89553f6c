-- Changes when KEYS[5] goes. ARGV: stem, ttl. Returns whether it was there.
if redis.call('EXISTS', KEYS[5]) == 0 then
  return 0
end
redis.call('PEXPIREAT', KEYS[5], deadline(member(KEYS[5]), ARGV[2]))
return 1
