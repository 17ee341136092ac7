-- Takes over an origin: from now on only its new owner may write rows of it. Returns the mark and the position, as the
-- entry has them; '0 ' if there is no entry; 'type ' and the stored form of its rows if that is another one.
-- KEYS  1 state   ARGV  1 owner  2 form of the rows: json or hash
local form = redis.call('HGET', KEYS[1], 'type')
if form and form ~= ARGV[2] then
  return 'type ' .. form
end
local entry = redis.call('HGET', KEYS[1], 'entry')
local rest = entry and string.match(entry, '^%S+ (.*)$') or '0 '
redis.call('HSET', KEYS[1], 'entry', ARGV[1] .. ' ' .. rest, 'type', ARGV[2])
return rest
