"""The registry's atomic steps, in Lua. Each may run twice with the same effect as once.

Keys of one namespace are touched under names computed here, so the registry needs a Redis that
is not sharded (one primary, with or without replicas). Shapes (ns = namespace):

    {ns}:session:{id}          hash    the record: field → JSON value
    {ns}:observers:{id}        zset    identity, score = when its place is free again
    {ns}:claim:{key}           string  {"session_id", "body_hash"} of an Idempotency-Key, or of
                                       somebody else's room, by its name and id
    {ns}:id                    string  the fleet's own
    {ns}:index:{study}:{state} zset    all scores 0; member "{created_us:016d}~{id}~{study}";
                                       "*" stands for every study or state, four sets a session
    {ns}:changes               zset    which records changed last, see agent_actor.changes
    {ns}:expiry                zset    member as above, score = when the ended record expires
"""

from __future__ import annotations

from agent_actor.changes import CHANGED

_INDEX = (
    CHANGED
    + """
local function index(ns, study, state) return ns .. ':index:' .. study .. ':' .. state end

local function unindex(ns, member, study, state)
  redis.call('ZREM', index(ns, '*', '*'), member)
  redis.call('ZREM', index(ns, study, '*'), member)
  redis.call('ZREM', index(ns, '*', state), member)
  redis.call('ZREM', index(ns, study, state), member)
end

local function bare(json) return string.sub(json, 2, -2) end

local function recorded(ns, id) changed(ns .. ':changes', ns .. ':session:' .. id) end
"""
)

SWEEP = (
    _INDEX
    + """
-- ARGV: ns, now, limit. Forgets the index entries of records that have expired.
local ns = ARGV[1]
local due = redis.call('ZRANGEBYSCORE', ns .. ':expiry', '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
for _, member in ipairs(due) do
  local study = string.match(member, '^%d+~[^~]*~(.*)$')
  unindex(ns, member, study, 'gone')
  redis.call('ZREM', ns .. ':expiry', member)
end
return #due
"""
)

CREATE = (
    _INDEX
    + """
-- ARGV: ns, session_id, study, state, member, claim key or '', body hash, claim ttl_s,
--       exclusive ('1': a claim holds until its session is gone), nonce, field, value, ...
local ns, id, study, state, member = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local key = ns .. ':session:' .. id
local claim = ns .. ':claim:' .. ARGV[6]
local after = ''
if ARGV[6] ~= '' then
  local known = redis.call('GET', claim)
  if known then
    local other = cjson.decode(known)
    local record = ns .. ':session:' .. other.session_id
    local its_state = redis.call('HGET', record, 'state')
    -- A claim that outlived its record claims nothing.
    local over = not its_state or (ARGV[9] == '1' and bare(its_state) == 'gone')
    if other.session_id ~= id and over and its_state then after = other.session_id end
    if other.session_id ~= id and not over then
      if other.body_hash ~= ARGV[7] then return {'conflict', other.session_id} end
      return {'existing', redis.call('HGETALL', record)}
    end
  end
end
if redis.call('EXISTS', key) == 1 then
  -- The same call again, because its first answer was lost.
  if redis.call('HGET', key, '_nonce') == ARGV[10] then return {'created', ''} end
  return {'exists', id}
end
local fields = {'_nonce', ARGV[10], '_member', member}
for i = 11, #ARGV do fields[#fields + 1] = ARGV[i] end
redis.call('HSET', key, unpack(fields))
redis.call('ZADD', index(ns, '*', '*'), 0, member)
redis.call('ZADD', index(ns, study, '*'), 0, member)
redis.call('ZADD', index(ns, '*', state), 0, member)
redis.call('ZADD', index(ns, study, state), 0, member)
recorded(ns, id)
if ARGV[6] ~= '' then
  redis.call('SET', claim, cjson.encode({session_id = id, body_hash = ARGV[7]}), 'EX', ARGV[8])
end
return {'created', after}
"""
)

UPDATE = (
    _INDEX
    + """
-- ARGV: ns, session_id, ranks as JSON, state or '', attempt or '', life ('1' when it changes
--       more than facts), record ttl_s, now, field, value, ...
local ns, id = ARGV[1], ARGV[2]
local ranks = cjson.decode(ARGV[3])
local key = ns .. ':session:' .. id
local had = redis.call('HMGET', key, 'state', 'attempt', 'study_id', '_member', 'end_reason')
if not had[1] then return {'missing'} end
local state, attempt = bare(had[1]), tonumber(had[2])
local to = ARGV[4] ~= '' and ARGV[4] or state
local at = ARGV[5] ~= '' and tonumber(ARGV[5]) or attempt
local changes = {}
for i = 9, #ARGV, 2 do changes[ARGV[i]] = ARGV[i + 1] end

local ok = true
if state == 'gone' then
  local same = to == 'gone' and at == attempt and changes['end_reason'] == had[5]
  ok = ARGV[6] ~= '1' or (ARGV[4] == 'gone' and same)
  if ok and ARGV[6] == '1' then return {'ok', redis.call('HGETALL', key)} end
elseif at < attempt then ok = false
elseif at > attempt then ok = ranks[to] >= ranks['assigned']
else ok = ranks[to] >= ranks[state] end
if not ok then return {'conflict', state, attempt} end

if changes['spent_micro_usd'] then
  local spent = tonumber(redis.call('HGET', key, 'spent_micro_usd') or '0')
  if tonumber(changes['spent_micro_usd']) < spent then changes['spent_micro_usd'] = nil end
end
changes['attempt'] = tostring(at)
changes['state'] = '"' .. to .. '"'
for name, value in pairs(changes) do redis.call('HSET', key, name, value) end
if to ~= state then
  local study, member = bare(had[3]), had[4]
  redis.call('ZREM', index(ns, '*', state), member)
  redis.call('ZREM', index(ns, study, state), member)
  redis.call('ZADD', index(ns, '*', to), 0, member)
  redis.call('ZADD', index(ns, study, to), 0, member)
  if to == 'gone' then
    redis.call('EXPIRE', key, ARGV[7])
    redis.call('ZADD', ns .. ':expiry', tonumber(ARGV[8]) + tonumber(ARGV[7]), member)
  end
end
recorded(ns, id)
return {'ok', redis.call('HGETALL', key)}
"""
)

WITHDRAW = (
    _INDEX
    + """
-- ARGV: ns, session_id. Undoes a creation that came to nothing: record, index and claim.
local ns, id = ARGV[1], ARGV[2]
local key = ns .. ':session:' .. id
local had = redis.call('HMGET', key, 'state', 'study_id', '_member', 'idempotency_key')
if not had[1] then return {'missing'} end
local state = bare(had[1])
if state ~= 'queued' then return {'conflict', state} end
unindex(ns, had[3], bare(had[2]), state)
redis.call('DEL', key)
recorded(ns, id)
if had[4] and had[4] ~= 'null' then
  local claim = ns .. ':claim:' .. cjson.decode('[' .. had[4] .. ']')[1]
  local known = redis.call('GET', claim)
  if known and cjson.decode(known).session_id == id then redis.call('DEL', claim) end
end
return {'ok'}
"""
)

UNCLAIM = """
-- ARGV: ns, session_id, key. Frees an Idempotency-Key, if it is this session's.
local claim = ARGV[1] .. ':claim:' .. ARGV[3]
local known = redis.call('GET', claim)
if known and cjson.decode(known).session_id == ARGV[2] then return redis.call('DEL', claim) end
return 0
"""

ADD_OBSERVER = (
    _INDEX
    + """
-- ARGV: ns, session_id, identity, now, ttl_s, most. A place among those who observe a session.
local had = redis.call('HMGET', ARGV[1] .. ':session:' .. ARGV[2], 'state', 'attempt')
if not had[1] then return {'missing'} end
local state = bare(had[1])
-- Queued, it has no room yet: who joins would make one without the contract in it.
if state == 'gone' or state == 'queued' then return {'conflict', state, had[2]} end
local key = ARGV[1] .. ':observers:' .. ARGV[2]
redis.call('ZREMRANGEBYSCORE', key, '-inf', ARGV[4])
local known = redis.call('ZSCORE', key, ARGV[3])
if not known and redis.call('ZCARD', key) >= tonumber(ARGV[6]) then return {'full'} end
redis.call('ZADD', key, tonumber(ARGV[4]) + tonumber(ARGV[5]), ARGV[3])
if redis.call('TTL', key) < tonumber(ARGV[5]) then redis.call('EXPIRE', key, ARGV[5]) end
return {'ok'}
"""
)

ANONYMISE = (
    _INDEX
    + """
-- ARGV: ns, session_id, now. Takes out what points to a person; money and life stay.
local key = ARGV[1] .. ':session:' .. ARGV[2]
if redis.call('EXISTS', key) == 0 then return {'missing'} end
local claim = redis.call('HGET', key, 'idempotency_key')
if claim and claim ~= 'null' then
  redis.call('DEL', ARGV[1] .. ':claim:' .. cjson.decode('[' .. claim .. ']')[1])
end
redis.call('HSET', key, 'participant_identity', '""', 'idempotency_key', 'null',
  'error', 'null', 'erased_at', ARGV[3])
recorded(ARGV[1], ARGV[2])
return {'ok', redis.call('HGETALL', key)}
"""
)
