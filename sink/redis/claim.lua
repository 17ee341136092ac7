-- Takes over an origin: from now on only its new owner may write rows of it. Returns the mark and the position, as the
-- entry has them; '0 ' if there is no entry.
-- KEYS  1 state   ARGV  1 owner
local entry = redis.call('HGET', KEYS[1], 'entry')
local rest = entry and string.match(entry, '^%S+ (.*)$') or '0 '
redis.call('HSET', KEYS[1], 'entry', ARGV[1] .. ' ' .. rest)
return rest
