local floor = call('HGET', KEYS[5], ARGV[4])
local held, known = {}, {}
if rows > 0 then
  held = lookup(KEYS[1], keys)
  for h = 2, 4 do
    if h == 3 then
      for i = 1, rows do known[i] = held[i] end
    end
    if KEYS[h] ~= KEYS[1] and call('EXISTS', KEYS[h]) == 1 then
      local more = lookup(KEYS[h], keys)
      for i = 1, rows do
        if more[i] and newer(more[i], held[i]) then held[i] = more[i] end
      end
    end
  end
end

-- What is to be done: rows that are newer, and rows whose key has got lost (evicted, removed by hand) since.
local fresh, again, strange = {}, {}, {}
for row = 1, rows do
  local version, old = versions[row], held[row]
  if not old or #version > #old or (#version == #old and version > old) then
    if not floor or newer(version, floor) then
      fresh[row] = true
      if not known[row] then strange[#strange + 1] = row end
    end
  elseif version == old and row <= W and known[row] then
    again[#again + 1] = row
  end
end
for _, row in ipairs(again) do
  if call('EXISTS', keys[row]) == 0 and newer(versions[row], floor) then fresh[row] = true end
end

-- A key that is not ours yet must be free or of our type; what else is there is refused, and spared by a delete.
local spared = {}
local function of_ours(list)
  for i = 1, #list, SLICE do
    local names = {}
    for j = i, math.min(i + SLICE - 1, #list) do names[#names + 1] = keys[list[j]] end
    if call('EXISTS', unpack(names)) > 0 then
      for j = i, math.min(i + SLICE - 1, #list) do
        local kind = call('TYPE', keys[list[j]]).ok
        if kind ~= 'none' and kind ~= TYPE then
          if list[j] > W + M then
            spared[list[j]] = true
          else
            fresh[list[j]] = nil
            refuse(list[j], 'its key holds a ' .. kind .. ' that is not ours')
          end
        end
      end
    end
  end
end
of_ours(strange)

local marks, unmarks, gone, graves = {}, {}, {}, {}
write_rows(fresh)
local n = 0
for row = 1, W + M do
  if fresh[row] then
    marks[n + 1], marks[n + 2] = keys[row], versions[row]
    n = n + 2
  end
end
for row = W + M + 1, W + M + D do
  if fresh[row] then
    if not spared[row] then gone[#gone + 1] = keys[row] end
    if known[row] then unmarks[#unmarks + 1] = keys[row] end
    graves[#graves + 1] = keys[row]
    graves[#graves + 1] = versions[row]
  end
end
each_slice('DEL', nil, gone)
each_slice('HSET', KEYS[1], marks)
each_slice('HDEL', KEYS[1], unmarks)
if KEYS[2] ~= KEYS[1] then
  each_slice('HDEL', KEYS[2], unmarks)
  if #marks > 0 then call('PEXPIRE', KEYS[1], ARGV[6]) end
end
if #graves > 0 then
  each_slice('HSET', KEYS[3], graves)
  call('PEXPIRE', KEYS[3], ARGV[6])
end

if ARGV[1] ~= '' then
  call('HSET', KEYS[5], 'entry', #answer == 1 and ARGV[2] or ARGV[3])
end
return answer
