-- Rows as JSON documents in strings. A merge splices the stored document's own text: no value is ever decoded, so
-- 9007199254740993 and 1.0 stay what they are.
local TYPE = 'string'
-- The position after the string that begins at doc[i].
local function after_string(doc, i)
  i = i + 1
  while true do
    local p = find(doc, '["\\]', i)
    if not p then return nil end
    if sub(doc, p, p) == '"' then return p + 1 end
    i = p + 2
  end
end

-- The position after the value that begins at doc[i].
local function after_value(doc, i)
  local c = sub(doc, i, i)
  if c == '"' then return after_string(doc, i) end
  if c ~= '{' and c ~= '[' then return find(doc, '[,}]', i) end
  local depth = 0
  while true do
    local p = find(doc, '["{}%[%]]', i)
    if not p then return nil end
    c = sub(doc, p, p)
    if c == '"' then
      i = after_string(doc, p)
      if not i then return nil end
    else
      depth = depth + ((c == '{' or c == '[') and 1 or -1)
      i = p + 1
      if depth == 0 then return i end
    end
  end
end

-- The members of a document as we write them, name in quotation marks -> text of the value; nil for anything else.
local function members(doc)
  local all, i = {}, 2
  if sub(doc, 1, 1) ~= '{' then return nil end
  if doc == '{}' then return all end
  while true do
    if sub(doc, i, i) ~= '"' then return nil end
    local colon = after_string(doc, i)
    if not colon or sub(doc, colon, colon) ~= ':' then return nil end
    local stop = after_value(doc, colon + 1)
    if not stop or stop == colon + 1 then return nil end
    all[sub(doc, i, colon - 1)] = sub(doc, colon + 1, stop - 1)
    local c = sub(doc, stop, stop)
    if c == '}' then
      return stop == #doc and all or nil
    elseif c ~= ',' then
      return nil
    end
    i = stop + 1
  end
end

-- The document of a row of which only some columns were sent; the others come from the stored one, in table order.
-- first is the row's place in body, n the number of its columns.
local function merged(key, replace, first, n)
  local old = {}
  if replace == 0 then
    local doc = pcall('GET', key)
    if type(doc) == 'table' then return nil end
    if doc then old = members(doc) end
    if not old then return nil end
  end
  local out = {}
  for i = first, first + 2 * n - 1, 2 do
    local value = body[i + 1]
    if value == '' then value = old[body[i]] end
    if value then out[#out + 1] = body[i] .. ':' .. value end
  end
  return '{' .. table.concat(out, ',') .. '}'
end

local function write_rows(fresh)
  local sets, n, ttl, at = {}, 0, ARGV[5], W + 1
  for row = 1, W do
    if fresh[row] then
      sets[n + 1], sets[n + 2] = keys[row], body[row]
      n = n + 2
    end
  end
  for row = W + 1, W + M do
    local i = 2 * (row - W) - 1
    local columns = numbers[i + 1]
    if fresh[row] then
      local doc = merged(keys[row], numbers[i], at, columns)
      if doc then
        sets[n + 1], sets[n + 2] = keys[row], doc
        n = n + 2
      else
        fresh[row] = nil
        refuse(row, 'its key holds something that is not a document of ours')
      end
    end
    at = at + 2 * columns
  end
  if ttl == '0' then return each_slice('MSET', nil, sets) end
  for i = 1, n, 2 do call('SET', sets[i], sets[i + 1], 'PX', ttl) end
end

