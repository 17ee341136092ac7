-- Writes one chunk of rows if, and only if, each is newer than what is there. Atomic, as all scripts are.
--
-- KEYS  1 rows      hash: row key -> version of the row that is there
--       2 rows of the window before this one (the same key if rows have no time to live)
--       3 deleted   hash: row key -> version of its delete
--       4 deleted in the window before
--       5 state     hash: origins, floors of truncates
-- ARGV  1 origin, a field of state
--       2 owner and position that state must hold for the origin; '' does not check
--       3 owner and position after this batch; the same as 2 or already there is accepted
--       4 '1': move the origin's entry from 2 to 3 if no row is refused
--       5 floor: the field of state with the version of the last truncate
--       6 milliseconds that rows live, '0' for ever
--       7 milliseconds that the windows' keys live
--       8 number of whole rows, of rows to merge, of deletes: 'W M D'
--       then the rows: key, version and, by kind,
--         string  whole: document                  merge: replace, n, n times name and value ('' if absent)
--         hash    whole: n, n field and value      merge: replace, n, n times field and value, d, d fields to remove
--         delete: nothing
-- Versions are decimal numbers without leading zeros. They pass 2^53, so they are compared as text.
-- Returns {'ok', row number, reason, ...} or {'moved', what state holds}.
local call, pcall, find, sub, min = redis.call, redis.pcall, string.find, string.sub, math.min
local KEYS, ARGV = KEYS, ARGV -- locals are faster than globals, and this runs for every row
local W, M, D = string.match(ARGV[8], '^(%d+) (%d+) (%d+)$')
W, M, D = tonumber(W), tonumber(M), tonumber(D)

if ARGV[2] ~= '' then
  local held = call('HGET', KEYS[5], ARGV[1])
  if held ~= ARGV[2] and held ~= ARGV[3] then
    return {'moved', held or ''}
  end
end
-- The first write is one that needs memory: a server that is out of it, or read only, refuses here, before any other.
call('HSETNX', KEYS[5], 'format', '1')

local function newer(a, b)
  return not b or #a > #b or (#a == #b and a > b)
end

local answer = {'ok'}
local function refuse(row, reason)
  answer[#answer + 1] = row
  answer[#answer + 1] = reason
end

-- Commands take at most some thousand arguments from a table: long lists go in slices of at most 1000.
local SLICE = 1000
local function each_slice(command, key, list)
  for i = 1, #list, SLICE do
    if key then
      call(command, key, unpack(list, i, min(i + SLICE - 1, #list)))
    else
      call(command, unpack(list, i, min(i + SLICE - 1, #list)))
    end
  end
end

local function lookup(hash, keys)
  if #keys <= SLICE then
    return call('HMGET', hash, unpack(keys))
  end
  local all = {}
  for i = 1, #keys, SLICE do
    local part = call('HMGET', hash, unpack(keys, i, min(i + SLICE - 1, #keys)))
    for j = 1, #part do all[i + j - 1] = part[j] end
  end
  return all
end

