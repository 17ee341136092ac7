-- Rows as hashes: one field for each column that is not NULL.
local TYPE = 'hash'
local function skip_whole(a) return a + 3 + 2 * tonumber(ARGV[a + 2]) end
local function skip_merge(a)
  a = a + 4 + 2 * tonumber(ARGV[a + 3])
  return a + 1 + tonumber(ARGV[a])
end

local function write_rows(keys, at, fresh, known, W, M)
  local ttl, old = ARGV[6], {}
  local function live(key)
    if ttl ~= '0' then call('PEXPIRE', key, ttl) end
  end
  for row = 1, W + M do
    if fresh[row] and (row <= W or ARGV[at[row] + 2] == '1') then old[#old + 1] = keys[row] end
  end
  each_slice('DEL', nil, old)
  for row = 1, W do
    if fresh[row] then
      local n = 2 * tonumber(ARGV[at[row] + 2])
      if n > 0 then call('HSET', keys[row], unpack(ARGV, at[row] + 3, at[row] + 2 + n)) end
      live(keys[row])
    end
  end
  for row = W + 1, W + M do
    if fresh[row] then
      local a = at[row] + 3
      local n = 2 * tonumber(ARGV[a])
      local nulls = a + n + 1
      local done = n == 0 or pcall('HSET', keys[row], unpack(ARGV, a + 1, a + n))
      if type(done) == 'table' then
        fresh[row] = nil
        refuse(row, 'its key holds something that is not a hash')
      else
        local d = tonumber(ARGV[nulls])
        if d > 0 then call('HDEL', keys[row], unpack(ARGV, nulls + 1, nulls + d)) end
        live(keys[row])
      end
    end
  end
end

