#!lua name=@LIBRARY@

-- The one library of the fleet. Everything that must happen whole or not at all happens here.
-- Rules: every length is checked before the first write (a Function's error keeps earlier writes); nothing caller-sized
-- is unpacked (about 8,000 values wedge the Lua stack); ids are compared as numbers ("9-0" is before "10-0").
-- Redis 7.0 semantics only.

local MAX_ENTRIES = 256
local MAX_OUTPUTS = 1024
local MAX_BYTES = 512 * 1024
local MAX_FIELD_BYTES = 4096
local MAX_SNAPSHOT_BYTES = 16 * 1024 * 1024
local FIRST = '0-0'

local function refuse(text)
  return redis.error_reply('FLEET ' .. text)
end

local function parse(id)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  if not ms then
    return nil
  end
  return tonumber(ms), tonumber(seq)
end

-- Return -1, 0 or 1, as a is before, at or after b.
local function compare(a, b)
  local a_ms, a_seq = parse(a)
  local b_ms, b_seq = parse(b)
  if a_ms ~= b_ms then
    return a_ms < b_ms and -1 or 1
  end
  if a_seq ~= b_seq then
    return a_seq < b_seq and -1 or 1
  end
  return 0
end

local function is_stream_or_absent(key)
  local kind = redis.call('TYPE', key).ok
  return kind == 'stream' or kind == 'none'
end

local function entries_added(stream)
  if redis.call('EXISTS', stream) == 0 then
    return 0
  end
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'entries-added' then
      return tonumber(info[i + 1])
    end
  end
  return 0
end

-- Show the position to tools that ask for consumer groups. A gauge: nothing reads it back, so its errors are nothing.
local function show_lag(stream, group, position, read)
  local answer = redis.pcall('XGROUP', 'SETID', stream, group, position, 'ENTRIESREAD', read)
  if type(answer) == 'table' and answer.err then
    redis.pcall('XGROUP', 'CREATE', stream, group, position, 'ENTRIESREAD', read)
  end
end

local function journal_json(n, args, spans)
  local outputs = {}
  for i, span in ipairs(spans) do
    outputs[i] = '[' .. cjson.encode(span.stream) .. ',"' .. span.first .. '","' .. span.last .. '",' .. span.count .. ']'
  end
  return '{"type":"journal.v1","n":' .. n
    .. ',"identity":' .. cjson.encode(args[2])
    .. ',"input":' .. cjson.encode(args[4])
    .. ',"first":"' .. args[6] .. '","last":"' .. args[7] .. '","count":' .. args[8]
    .. ',"config":' .. cjson.encode(args[10])
    .. ',"epoch":' .. args[3] .. ',"crc":' .. args[11]
    .. ',"outputs":[' .. table.concat(outputs, ',') .. ']}'
end

-- The snapshot stands for every position as it is now, and for the journal up to the identity's last commit.
local function save_snapshot(state_key, snapshot_key, journal_key, bytes)
  redis.call('SET', snapshot_key, bytes)
  local state = redis.call('HGETALL', state_key)
  local last_n, last_journal = '0', FIRST
  for i = 1, #state, 2 do
    local field, value = state[i], state[i + 1]
    if string.sub(field, 1, 4) == 'pos:' then
      redis.call('HSET', state_key, 'snap' .. field, value)
    elseif field == 'n' then
      last_n = value
    elseif field == 'jid' then
      last_journal = value
    end
  end
  redis.call('HSET', state_key, 'snap_n', last_n, 'snappos:' .. journal_key, last_journal)
end

-- keys: 1 state, 2 snapshot, 3 journal, 4 input (a source: state again), 5 state of the reader of targets, `base`.. output streams
-- args: 1 service, 2 identity, 3 epoch, 4 input, 5 expected, 6 first, 7 last, 8 count, 9 skipped, 10 config, 11 crc,
--       12 cap of targets (0: none), 13 has snapshot, 14 snapshot, 15 number of fields, 16 number of outputs,
--       then per field name and value, then per output (index of its stream among the output keys, type, data)
local function commit(keys, args, base, permit)
  local epoch, count, skipped, crc = tonumber(args[3]), tonumber(args[8]), tonumber(args[9]), tonumber(args[11])
  local cap, fields, outputs = tonumber(args[12]), tonumber(args[15]), tonumber(args[16])
  if not (epoch and count and skipped and crc and cap and fields and outputs) then
    return refuse('a number of the commit is not a number')
  end
  if not (parse(args[5]) and parse(args[6]) and parse(args[7])) then
    return refuse('an id of the commit is not of the form ms-seq')
  end
  if count < 0 or count > MAX_ENTRIES or outputs < 0 or outputs > MAX_OUTPUTS then
    return refuse('a batch has at most ' .. MAX_ENTRIES .. ' entries and ' .. MAX_OUTPUTS .. ' outputs')
  end
  local fields_at = 17
  local outputs_at = fields_at + 2 * fields
  if #args < outputs_at - 1 + 3 * outputs then
    return refuse('the commit is cut short')
  end
  local field_bytes, output_bytes, to_targets = 0, 0, false
  for i = fields_at, outputs_at - 1 do
    field_bytes = field_bytes + #args[i]
  end
  for i = 0, outputs - 1 do
    local key = keys[base - 1 + (tonumber(args[outputs_at + 3 * i]) or 0)]
    if not key then
      return refuse('an output has no stream')
    end
    to_targets = to_targets or key == 'targets'
    output_bytes = output_bytes + #args[outputs_at + 3 * i + 2]
  end
  if field_bytes > MAX_FIELD_BYTES or output_bytes > MAX_BYTES or #args[14] > MAX_SNAPSHOT_BYTES then
    return refuse('too large: fields ' .. field_bytes .. ', outputs ' .. output_bytes .. ', snapshot ' .. #args[14] .. ' bytes')
  end
  if count == 0 and outputs > 0 then
    return refuse('outputs without an input')
  end
  if count > 0 and compare(args[7], args[5]) <= 0 then
    return refuse('the batch ends before it begins')
  end
  if not is_stream_or_absent(keys[3]) then
    return refuse(keys[3] .. ' is not a stream')
  end
  for i = base, #keys do
    if not is_stream_or_absent(keys[i]) then
      return refuse(keys[i] .. ' is not a stream')
    end
  end

  local input = args[4]
  local stored = redis.call('HMGET', keys[1], 'epoch', 'pos:' .. input, 'read:' .. input, 'n')
  local owner, position, read = tonumber(stored[1] or 0), stored[2] or FIRST, tonumber(stored[3] or 0)
  if owner > epoch then
    return { 'FENCED', tonumber(stored[4] or 0) }
  end
  if permit and not permit() then
    return { 'HALTED', tonumber(stored[4] or 0) }
  end
  if count > 0 and compare(position, args[7]) >= 0 then
    return { 'DUP', tonumber(stored[4] or 0) }
  end
  -- An owner older than the caller is a server that lost the claim: it must be claimed again before anything is written.
  if owner < epoch or compare(position, args[5]) ~= 0 then
    return { 'CONFLICT', tonumber(stored[4] or 0) }
  end
  if to_targets and cap > 0 then
    local seen = tonumber(redis.call('HGET', keys[5], 'read:targets') or 0)
    if entries_added('targets') - seen >= cap then
      return { 'BUSY', tonumber(stored[4] or 0) }
    end
  end

  local result = { 'OK', 0 }
  local spans, by_key = {}, {}
  for i = 0, outputs - 1 do
    local at = outputs_at + 3 * i
    local key = keys[base - 1 + tonumber(args[at])]
    local id = redis.call('XADD', key, '*', 'type', args[at + 1], 'data', args[at + 2])
    result[i + 3] = id
    local span = by_key[key]
    if not span then
      span = { stream = key, first = id, last = id, count = 0 }
      by_key[key] = span
      spans[#spans + 1] = span
    end
    span.last = id
    span.count = span.count + 1
  end
  read = string.format('%.0f', read + skipped + count)
  local is_source = string.sub(input, 1, 7) == 'source:'
  if count > 0 then
    local n = tonumber(stored[4] or 0) + 1
    local journal_id = redis.call('XADD', keys[3], '*', 'type', 'journal.v1', 'data', journal_json(n, args, spans))
    redis.call('HSET', keys[1], 'pos:' .. input, args[7], 'read:' .. input, read, 'n', n, 'jid', journal_id)
    result[2] = n
    if not is_source then
      show_lag(keys[4], args[1], args[7], read)
    end
  else
    result[2] = tonumber(stored[4] or 0)
    if skipped > 0 then
      redis.call('HSET', keys[1], 'read:' .. input, read)
      show_lag(keys[4], args[1], args[7], read)
    end
  end
  for i = fields_at, outputs_at - 1, 2 do
    redis.call('HSET', keys[1], 'f:' .. args[i], args[i + 1])
  end
  if args[13] == '1' then
    save_snapshot(keys[1], keys[2], keys[3], args[14])
  end
  return result
end

local function fleet_commit(keys, args)
  return commit(keys, args, 6, nil)
end

-- As a commit, with keys 6 mode, 7 trading:state, 8 the account's lease, and as the last two args lease and reducing.
-- A state that was never set, a lease that lapsed: refused.
local function fleet_intent(keys, args)
  local lease, reducing = args[#args - 1], args[#args] == '1'
  return commit(keys, args, 9, function()
    local mode = redis.call('GET', keys[6])
    if mode == 'halt' or (mode == 'reduce' and not reducing) then
      return false
    end
    local state = redis.call('HGET', keys[7], 'state')
    if not (state == 'ACTIVE' or (state == 'REDUCING' and reducing)) then
      return false
    end
    return lease ~= '' and redis.call('GET', keys[8]) == lease
  end)
end

-- keys: 1 state, 2 readers, 3 readers of the journal, 4.. readers of each input
-- args: 1 identity, 2 epoch found, 3 keeps snapshots, 4.. inputs. Answers the new epoch, 0 where another was faster.
local function fleet_claim(keys, args)
  if #keys ~= #args then
    return refuse('a claim names each input once')
  end
  local found = tonumber(redis.call('HGET', keys[1], 'epoch') or 0)
  if found ~= tonumber(args[2]) then
    return 0
  end
  redis.call('SADD', keys[2], args[1])
  redis.call('SADD', keys[3], args[1])
  redis.call('HSET', keys[1], 'epoch', found + 1, 'stateless', args[3] == '1' and '0' or '1')
  for i = 4, #args do
    if string.sub(args[i], 1, 7) ~= 'source:' then
      redis.call('SADD', keys[i], args[1])
      redis.call('HSETNX', keys[1], 'read:' .. args[i], 0)
    end
  end
  return found + 1
end

local RANK = { ACTIVE = 0, REDUCING = 1, HALTED = 2 }

-- keys: 1 trading:state, 2 control, 3 mode; args: 1 state, 2 reason, 3 by, 4 ts, 5 person.
-- A state that was never set counts as HALTED: only a person opens it. Answers what is now so.
local function fleet_latch(keys, args)
  if not RANK[args[1]] or not string.match(args[4], '^%d+$') then
    return refuse('no such trading state or time: ' .. args[1] .. ', ' .. args[4])
  end
  if not is_stream_or_absent(keys[2]) then
    return refuse(keys[2] .. ' is not a stream')
  end
  local now = redis.call('HMGET', keys[1], 'state', 'reason', 'by')
  local unset = not now[1]
  local loosens = RANK[args[1]] < (unset and RANK.HALTED or RANK[now[1]])
  if now[1] == args[1] or (loosens and args[5] ~= '1') then
    return { now[1] or '', now[2] or '', now[3] or '' }
  end
  if loosens and keys[3] then
    -- `mode` would tighten again within a second what a person has just loosened.
    local mode = redis.call('GET', keys[3])
    if args[1] == 'ACTIVE' and (mode == 'halt' or mode == 'reduce') then
      redis.call('SET', keys[3], 'auto')
    elseif args[1] == 'REDUCING' and mode == 'halt' then
      redis.call('SET', keys[3], 'reduce')
    end
  end
  redis.call('HSET', keys[1], 'state', args[1], 'reason', args[2], 'by', args[3], 'ts', args[4])
  redis.call('XADD', keys[2], '*', 'type', 'trading_state.v1', 'data',
    '{"type":"trading_state.v1","state":"' .. args[1] .. '","reason":' .. cjson.encode(args[2])
      .. ',"by":' .. cjson.encode(args[3]) .. ',"ts_event":' .. args[4] .. ',"ts_init":' .. args[4] .. '}')
  return { args[1], args[2], args[3] }
end

-- keys: 1 stream, 2 its readers, 3 archive:mark; args: 1 entries that always stay, 2 entries removed at most.
-- Removes from the old end what is before every reader's oldest snapshot and before the archive's mark, and answers how many.
local function fleet_trim(keys, args)
  local retain, chunk = tonumber(args[1]), math.min(tonumber(args[2]) or 0, 1000)
  local length = redis.call('XLEN', keys[1])
  local excess = math.min(length - retain, chunk)
  local bound = redis.call('HGET', keys[3], keys[1])
  if excess <= 0 or not bound or not parse(bound) then
    return 0
  end
  for _, reader in ipairs(redis.call('SMEMBERS', keys[2])) do
    local of = redis.call('HMGET', 'state:' .. reader, 'snappos:' .. keys[1], 'stateless', 'pos:' .. keys[1], 'jid')
    local passed = of[1] or FIRST
    if of[2] == '1' then
      passed = of[3] or (string.sub(keys[1], 1, 8) == 'journal.' and of[4]) or FIRST
    end
    if compare(passed, bound) < 0 then
      bound = passed
    end
  end
  local oldest = redis.call('XRANGE', keys[1], '-', '+', 'COUNT', excess)
  if compare(oldest[#oldest][1], bound) < 0 then
    return redis.call('XTRIM', keys[1], 'MAXLEN', '=', length - #oldest)
  end
  return redis.call('XTRIM', keys[1], 'MINID', '=', bound)
end

-- keys: 1 param:<component>, 2 config:current, 3 config:<hash>, 4 params.history, 5 state of the writer
-- args: 1 version found, 2 epoch of the writer, 3 version, 4 sha256, 5 body, 6 author, 7 ts, 8 reason,
--       9 config hash, 10 config body, 11 versions, 12 channel, then per history entry type and data
local function fleet_params_set(keys, args)
  if #keys ~= 5 or #args < 12 or #args % 2 ~= 0 or #args > 44 then
    return refuse('a parameter write has five keys and whole history entries')
  end
  if not is_stream_or_absent(keys[4]) then
    return refuse(keys[4] .. ' is not a stream')
  end
  if tonumber(redis.call('HGET', keys[5], 'epoch') or 0) > tonumber(args[2]) then
    return { 'FENCED' }
  end
  if (redis.call('HGET', keys[1], 'version') or '0') ~= args[1] then
    return { 'CONFLICT' }
  end
  redis.call('HSET', keys[1], 'version', args[3], 'sha256', args[4], 'body', args[5], 'author', args[6], 'ts', args[7], 'reason', args[8])
  redis.call('HSET', keys[2], 'hash', args[9], 'body', args[10], 'versions', args[11])
  redis.call('SET', keys[3], args[10])
  local result = { 'OK' }
  for i = 13, #args, 2 do
    result[#result + 1] = redis.call('XADD', keys[4], '*', 'type', args[i], 'data', args[i + 1])
  end
  redis.call('PUBLISH', args[12], args[9])
  return result
end

-- keys: 1 lease; args: 1 token, 2 milliseconds, 3 only where it is still held. Answers the holder.
local function fleet_lease(keys, args)
  local holder = redis.call('GET', keys[1])
  if holder == args[1] or (not holder and args[3] ~= '1') then
    redis.call('SET', keys[1], args[1], 'PX', args[2])
    return args[1]
  end
  return holder or ''
end

local function fleet_release(keys, args)
  if redis.call('GET', keys[1]) == args[1] then
    return redis.call('DEL', keys[1])
  end
  return 0
end

redis.register_function('fleet_commit_@SUFFIX@', fleet_commit)
redis.register_function('fleet_intent_@SUFFIX@', fleet_intent)
redis.register_function('fleet_claim_@SUFFIX@', fleet_claim)
redis.register_function('fleet_latch_@SUFFIX@', fleet_latch)
redis.register_function('fleet_trim_@SUFFIX@', fleet_trim)
redis.register_function('fleet_params_set_@SUFFIX@', fleet_params_set)
redis.register_function('fleet_lease_@SUFFIX@', fleet_lease)
redis.register_function('fleet_release_@SUFFIX@', fleet_release)
