-- Takes over an origin: from now on only its new owner may write rows of it. Returns its position, '' if there is none.
-- KEYS  1 state   ARGV  1 origin  2 owner
local held = redis.call('HGET', KEYS[1], ARGV[1])
local position = held and string.match(held, '^%S+ (.*)$') or ''
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. position)
return position
