"""The ledger's atomic steps, in Lua. Each may run twice with the same effect as once."""

from __future__ import annotations

WRITE = """
-- ARGV: epoch, version, names of the figures, then one account after the other:
--   id, study, state, figures, providers, how many minutes, (bucket, micro-dollars)...,
--   how many notices, (id, body)...
-- then "*", then one mark of a study or the fleet after the other:
--   scope, mark, how many notices, (id, body)...
-- then "*". Lists within an argument are separated by blanks.
local p, epoch, version = KEYS[1], ARGV[1], tonumber(ARGV[2])
if redis.call('GET', p .. 'epoch') ~= epoch then return 'FENCED' end
local at = 2
local function take() at = at + 1; return ARGV[at] end
local function whole(n) return string.format('%.0f', n) end
local function words(text)
  local found = {}
  for word in string.gmatch(text or '', '%S+') do found[#found + 1] = word end
  return found
end

-- What is to be added to sums, collected over the accounts: key -> field -> by how much.
local sums = {}
local function add(key, field, by)
  if by == 0 then return end
  if not sums[key] then sums[key] = {} end
  sums[key][field] = (sums[key][field] or 0) + by
end

local function notices(newer)
  for _ = 1, tonumber(take()) do
    local notice, body = take(), take()
    if newer then redis.call('HSET', p .. 'outbox', notice, body) end
  end
end

local names = words(take())
local open = 0
for n, name in ipairs(names) do if name == 'open' then open = n end end

local id = take()
while id ~= '*' do
  local study, state, figures, providers = take(), take(), take(), take()
  local key, buckets = p .. 'session:' .. id, p .. 'minutes:session:' .. id
  local scopes = {'study:' .. study, 'fleet'}
  local had = redis.call('HMGET', key, 'version', 'figures', 'providers')
  local newer = tonumber(had[1] or 0) <= version
  if newer then
    local was, is = words(had[2]), words(figures)
    for n, name in ipairs(names) do
      if is[n] ~= was[n] then
        local by = tonumber(is[n]) - tonumber(was[n] or 0)
        for _, scope in ipairs(scopes) do add(p .. scope, name, by) end
      end
    end
    if providers ~= had[3] then
      local known = {}
      for _, provider in ipairs(words(had[3])) do known[provider] = true end
      for _, provider in ipairs(words(providers)) do
        if not known[provider] then
          for _, scope in ipairs(scopes) do add(p .. scope, 'sessions:' .. provider, 1) end
        end
      end
    end
    redis.call('HSET', key, 'version', whole(version), 'state', state, 'figures', figures,
               'providers', providers)
    if is[open] ~= was[open] then
      redis.call(is[open] == '1' and 'SADD' or 'SREM', p .. 'open', id)
    end
    if not had[1] then
      redis.call('SADD', p .. 'studies', study)
      redis.call('ZADD', p .. 'sessions:' .. study, 0, id)
    end
  end
  for _ = 1, tonumber(take()) do
    local bucket, micro = take(), take()
    if newer then
      local by = tonumber(micro) - tonumber(redis.call('HGET', buckets, bucket) or 0)
      if by ~= 0 then
        redis.call('HSET', buckets, bucket, micro)
        for _, scope in ipairs(scopes) do add(p .. 'minutes:' .. scope, bucket, by) end
      end
    end
  end
  notices(newer)
  id = take()
end
local scope = take()
while scope ~= '*' do
  local mark = take()
  local newer = tonumber(redis.call('HGET', p .. 'marks:versions', scope) or 0) <= version
  if newer then
    redis.call('HSET', p .. 'marks', scope, mark)
    redis.call('HSET', p .. 'marks:versions', scope, whole(version))
  end
  notices(newer)
  scope = take()
end
for key, fields in pairs(sums) do
  for field, by in pairs(fields) do
    if by ~= 0 then redis.call('HINCRBY', key, field, whole(by)) end
  end
end
return 'OK'
"""

SET_LIMIT = """
-- ARGV: epoch, scope, micro-dollars or "none".
if redis.call('GET', KEYS[1] .. 'epoch') ~= ARGV[1] then return 'FENCED' end
redis.call('HSET', KEYS[1] .. 'limits', ARGV[2], ARGV[3])
return 'OK'
"""

CALL = """
-- ARGV: a call, seconds that it is kept. For whoever has the newest epoch.
local p = KEYS[1]
local key = p .. 'calls:' .. (redis.call('GET', p .. 'epoch') or '0')
redis.call('RPUSH', key, ARGV[1])
redis.call('EXPIRE', key, ARGV[2])
"""
