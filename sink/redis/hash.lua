-- Rows as hashes: one field for each column that is not NULL.
local TYPE = 'hash'

local function write_rows(fresh)
  local ttl, old, at = ARGV[5], {}, 1
  local function live(key)
    if ttl ~= '0' then call('PEXPIRE', key, ttl) end
  end
  for row = 1, W + M do
    -- What is whole replaces what was there, with fields of columns that are gone.
    if fresh[row] and (row <= W or numbers[W + 3 * (row - W) - 2] == 1) then old[#old + 1] = keys[row] end
  end
  each_slice('DEL', nil, old)
  for row = 1, W do
    local n = 2 * numbers[row]
    if fresh[row] then
      if n > 0 then call('HSET', keys[row], unpack(body, at, at + n - 1)) end
      live(keys[row])
    end
    at = at + n
  end
  for row = W + 1, W + M do
    local i = W + 3 * (row - W) - 2
    local n, nulls = 2 * numbers[i + 1], numbers[i + 2]
    if fresh[row] then
      local done = n == 0 or pcall('HSET', keys[row], unpack(body, at, at + n - 1))
      if type(done) == 'table' then
        fresh[row] = nil
        refuse(row, 'its key holds something that is not a hash')
      else
        if nulls > 0 then call('HDEL', keys[row], unpack(body, at + n, at + n + nulls - 1)) end
        live(keys[row])
      end
    end
    at = at + n + nulls
  end
end

