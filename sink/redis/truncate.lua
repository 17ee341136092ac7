-- Removes rows of one origin whose key begins with a prefix and whose version is not above the truncate's, a step at a
-- time. The floor that keeps replays from bringing them back is set in the first step.
-- KEYS  1 rows  2 state
-- ARGV  1 floor, a field of state  2 version of the truncate  3 prefix of the row keys  4 cursor  5 about how many
--       6 the entry that state must hold; '' does not check
-- Returns {'ok', next cursor} or {'moved', what state holds}.
local call = redis.call
local function above(a, b)
  return #a > #b or (#a == #b and a > b)
end
if ARGV[6] ~= '' then
  local entry = call('HGET', KEYS[2], 'entry')
  if entry ~= ARGV[6] then
    return {'moved', entry or ''}
  end
end
local floor = call('HGET', KEYS[2], ARGV[1])
if not floor or above(ARGV[2], floor) then
  call('HSET', KEYS[2], ARGV[1], ARGV[2])
end
local step = call('HSCAN', KEYS[1], ARGV[4], 'COUNT', ARGV[5])
local gone = {}
for i = 1, #step[2], 2 do
  local key = step[2][i]
  if string.sub(key, 1, #ARGV[3]) == ARGV[3] and not above(step[2][i + 1], ARGV[2]) then
    gone[#gone + 1] = key
  end
end
for i = 1, #gone, 1000 do
  call('UNLINK', unpack(gone, i, math.min(i + 999, #gone)))
  call('HDEL', KEYS[1], unpack(gone, i, math.min(i + 999, #gone)))
end
return {'ok', step[1]}
