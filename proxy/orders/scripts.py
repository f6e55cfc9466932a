"""The scripts that a Redis or Valkey runs for shared.py. Each is one step that nothing interrupts.

    KEYS: index      sorted set of ids; score: when the record ends, in ms since the epoch, or +inf
          open       set of ids that are reserved or sent
          unknown    sorted set of ids; score: when the order was placed
          order      the record: a hash
          lease      of the caller, kept as long as its process lives
    ARGV: prefix of the leases, prefix of the records, id, then what each script says

All keys share the hash tag {telenor-proxy}, so in a cluster they live on one node. The rules are
those of states.py; the tests run one model against all stores.
"""

from typing import Final

from proxy.orders.states import OrderRecord

#: What a hash has of a record, and of its answer.
FIELDS: Final = (*OrderRecord._fields[1:-1], "status", "fields", "content")

#: What each script begins with.
COMMON: Final = (
    f"""
local function read(key)
  return redis.call('HMGET', key, {str(FIELDS)[1:-1]})
end
"""
    """
local index, open, unknown, lease = KEYS[1], KEYS[2], KEYS[3], KEYS[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function drop(id)
  redis.call('DEL', ARGV[2] .. id)
  redis.call('ZREM', index, id)
  redis.call('SREM', open, id)
  redis.call('ZREM', unknown, id)
end

local function enter(id, state)
  local key = ARGV[2] .. id
  redis.call('HSET', key, 'state', state)
  local found = redis.call('HMGET', key, 'lifetime', 'key', 'created_at')
  local guarded = not found[2]
  if state == 'reserved' or state == 'answered' or (guarded and state == 'unknown') then
    local milliseconds = math.ceil(tonumber(found[1]) * 1000)
    redis.call('PEXPIRE', key, milliseconds)
    redis.call('ZADD', index, now + milliseconds, id)
  else
    redis.call('PERSIST', key)
    redis.call('ZADD', index, '+inf', id)
  end
  if state == 'reserved' or state == 'sent' then
    redis.call('SADD', open, id)
  else
    redis.call('SREM', open, id)
  end
  if state == 'unknown' then
    redis.call('ZADD', unknown, found[3], id)
  else
    redis.call('ZREM', unknown, id)
  end
end

-- The state and the claim of a record; what a process that has died left is settled first.
local function look(id)
  local found = redis.call('HMGET', ARGV[2] .. id, 'state', 'claim')
  local state, claim = found[1], found[2]
  if not state then
    drop(id)
    return false, false
  end
  if state == 'reserved' or state == 'sent' then
    local owner = ARGV[1] .. string.match(claim, '^[^.]*')
    if owner ~= lease and redis.call('EXISTS', owner) == 0 then
      if state == 'reserved' then
        drop(id)
        return false, false
      end
      state = 'unknown'
      enter(id, state)
    end
  end
  return state, claim
end

local function live(milliseconds)
  redis.call('SET', lease, '1', 'PX', milliseconds)
end
"""
)

#: claim, lease in ms, most records, then fields and values. Gives 'full', or the record that is
#: there, or nothing.
RESERVE: Final = """
local id = ARGV[3]
live(ARGV[5])
local state, claim = look(id)
if state then
  if claim == ARGV[4] then return {} end
  return read(KEYS[4])
end
redis.call('ZREMRANGEBYSCORE', index, '-inf', now)
if redis.call('ZCARD', index) >= tonumber(ARGV[6]) then return 'full' end
redis.call('HSET', KEYS[4], unpack(ARGV, 7))
enter(id, 'reserved')
return {}
"""

#: claim, lease in ms, the states that it may be in (with spaces around), the new state, then
#: fields and values. Gives 1, or 0 if the claim is lost.
ENTER: Final = """
local id = ARGV[3]
live(ARGV[5])
local state, claim = look(id)
if not state or claim ~= ARGV[4] or not string.find(ARGV[6], ' ' .. state .. ' ', 1, true) then
  return 0
end
if state == ARGV[7] then return 1 end
if ARGV[8] then redis.call('HSET', KEYS[4], unpack(ARGV, 8)) end
enter(id, ARGV[7])
return 1
"""

#: claim. Gives 1 if it was dropped.
RELEASE: Final = """
if redis.call('HGET', KEYS[4], 'claim') ~= ARGV[4] then return 0 end
drop(ARGV[3])
return 1
"""

#: Gives the record, or nothing.
LOOK_UP: Final = """
if not look(ARGV[3]) then return {} end
return read(KEYS[4])
"""

#: Gives 1 if it was dropped.
FORGET: Final = """
local state = look(ARGV[3])
if state == 'answered' or state == 'unknown' then
  drop(ARGV[3])
  return 1
end
return 0
"""

#: lease in ms ('' for one who places no orders), how many to look at, how many to name. Gives how
#: many are held, how many unknown, and ids of those, the oldest first.
UPKEEP: Final = """
if ARGV[4] ~= '' then live(ARGV[4]) end
redis.call('ZREMRANGEBYSCORE', index, '-inf', now)
for _, id in ipairs(redis.call('SRANDMEMBER', open, ARGV[5])) do look(id) end
for _, id in ipairs(redis.call('ZRANGE', unknown, 0, ARGV[5] - 1)) do look(id) end
return {
  redis.call('ZCARD', index),
  redis.call('ZCARD', unknown),
  redis.call('ZRANGE', unknown, 0, ARGV[6] - 1),
}
"""

ALL: Final = (RESERVE, ENTER, RELEASE, LOOK_UP, FORGET, UPKEEP)
