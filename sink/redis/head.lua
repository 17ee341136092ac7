-- Writes a run of rows if, and only if, each is newer than what is there. Atomic, as all scripts are.
--
-- KEYS  1 rows      hash: row key -> version of the row that is there
--       2 rows of the window before this one (the same key if rows have no time to live)
--       3 deleted   hash: row key -> version of its delete
--       4 deleted in the window before
--       5 state     hash: entry; floors of truncates
-- ARGV  1 the entry that state must hold: owner, mark and position; '' does not check
--       2 the entry after this run; that it is there already is no objection: the answer was lost
--       3 the entry after this run if rows are refused: with the old position
--       4 floor: the field of state with the version of the last truncate
--       5 milliseconds that rows live, '0' for ever
--       6 milliseconds that the windows' keys live
--       7 number of whole rows, of rows to merge, of deletes: 'W M D'
--       8 keys, 9 versions, 10 body, 11 numbers of the rows, in MessagePack; see encode.go
-- Versions are decimal numbers without leading zeros. They pass 2^53, so they are compared as text.
-- Returns {'ok', row number, reason, ...} or {'moved', what state holds}.
local call, pcall, find, sub, min = redis.call, redis.pcall, string.find, string.sub, math.min
local KEYS, ARGV = KEYS, ARGV -- locals are faster than globals, and this runs for every row
local W, M, D = string.match(ARGV[7], '^(%d+) (%d+) (%d+)$')
W, M, D = tonumber(W), tonumber(M), tonumber(D)
local rows = W + M + D

if ARGV[1] ~= '' then
  local entry = call('HGET', KEYS[5], 'entry')
  if entry ~= ARGV[1] and entry ~= ARGV[2] and entry ~= ARGV[3] then
    return {'moved', entry or ''}
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


local unpack_list = cmsgpack.unpack
local keys, versions, body, numbers = unpack_list(ARGV[8]), unpack_list(ARGV[9]), unpack_list(ARGV[10]), unpack_list(ARGV[11])

