-- Forgets expired keys. ARGV: stem, how many at the most. Returns how many it looked at.
return sweep(tonumber(ARGV[2]))
