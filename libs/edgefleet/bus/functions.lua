#!lua name=@LIBRARY@

-- The one library of the fleet. Everything that must happen whole or not at all happens here.
-- Rules: every length is checked before the first write (a Function's error keeps earlier writes); nothing caller-sized
-- is unpacked (about 8,000 values wedge the Lua stack); ids are compared as numbers ("9-0" is before "10-0").
-- Redis 7.0 semantics only.

local MAX_ENTRIES = 1024
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

-- Return -1, 0 or 1, as a is before, at or after b; nil where one of them is no id.
local function compare(a, b)
  local a_ms, a_seq = parse(a)
  local b_ms, b_seq = parse(b)
  if not (a_ms and b_ms) then
    return nil
  end
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

-- Show the position to tools that ask for consumer groups. A gauge: nothing reads it back, so its errors are nothing,
-- and since it costs as much as half a commit, a busy stage shows it ten times a second and when it has nothing to do.
local function show_lag(stream, group, position, read)
  local answer = redis.pcall('XGROUP', 'SETID', stream, group, position, 'ENTRIESREAD', read)
  if type(answer) == 'table' and answer.err then
    redis.pcall('XGROUP', 'CREATE', stream, group, position, 'ENTRIESREAD', read)
  end
end

-- `head` is the caller's part of the entry, an open JSON object; what only the server knows follows.
local function journal_json(head, n, spans)
  local outputs = {}
  for i, span in ipairs(spans) do
    outputs[i] = '["' .. span.stream .. '","' .. span.first .. '","' .. span.last .. '",' .. span.count .. ']'
  end
  return head .. ',"n":' .. n .. ',"outputs":[' .. table.concat(outputs, ',') .. ']}'
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

-- keys: 1 state, 2 snapshot, 3 journal, 4 input (a source: state again), 5 state of the reader of targets,
--       6 mode, 7 trading:state, 8 the account's lease (where something leaves; else as 1), 9.. output streams
-- args: 1 the request (msgpack), 2 the snapshot where there is one
-- The request is one value because every argument costs the server an object: service, identity, epoch, input, expected,
-- first, last, count, skipped, head of the journal's entry, cap of targets (0: none), whether to show the lag, whether to
-- answer ids, fields (name, value, ..), outputs (index of its stream among the output keys from 1, type, data, ..),
-- of what leaves for the venue the lease's token (else nil) and whether an intent reduces, and the number of the
-- identity's last commit where none may have come since (else nil), a name for the commit behind this one and the name
-- of the one before it ('' each where there is none).
-- Answers: the answer, n, what may leave where a token was given (else -1), ids.
local OUTPUT_KEYS = 8
local NONE, REDUCING, ALL = 0, 1, 2

-- Return what may leave for the venue now. A trading state that was never set, a lease that lapsed: nothing.
local function clearance(keys, lease)
  local mode = redis.call('GET', keys[6])
  local state = redis.call('HGET', keys[7], 'state')
  if lease == '' or mode == 'halt' or redis.call('GET', keys[8]) ~= lease then
    return NONE
  end
  if state == 'ACTIVE' then
    return mode == 'reduce' and REDUCING or ALL
  end
  return state == 'REDUCING' and REDUCING or NONE
end

local function commit(keys, args, permit)
  local request, snapshot = cmsgpack.unpack(args[1]), args[2]
  local service, identity, epoch, input, expected = request[1], request[2], request[3], request[4], request[5]
  local last, count, skipped, cap = request[7], request[8], request[9], request[11]
  local fields, outputs = request[14], request[15]
  if not (type(epoch) == 'number' and type(count) == 'number' and type(skipped) == 'number' and type(cap) == 'number') then
    return refuse('a number of the commit is not a number')
  end
  local after = parse(request[6]) and compare(last, expected)
  if not after then
    return refuse('an id of the commit is not of the form ms-seq')
  end
  if count < 0 or count > MAX_ENTRIES or #outputs > 3 * MAX_OUTPUTS then
    return refuse('a batch has at most ' .. MAX_ENTRIES .. ' entries and ' .. MAX_OUTPUTS .. ' outputs')
  end
  if #outputs % 3 ~= 0 or #fields % 2 ~= 0 then
    return refuse('the commit is cut short')
  end
  local field_bytes, output_bytes, to_targets = 0, 0, false
  for i = 1, #fields do
    field_bytes = field_bytes + #fields[i]
  end
  for i = 1, #outputs, 3 do
    local key = keys[OUTPUT_KEYS + outputs[i]]
    if not key then
      return refuse('an output has no stream')
    end
    to_targets = to_targets or key == 'targets'
    output_bytes = output_bytes + #outputs[i + 2]
  end
  if field_bytes > MAX_FIELD_BYTES or output_bytes > MAX_BYTES or (snapshot and #snapshot > MAX_SNAPSHOT_BYTES) then
    return refuse('too large: fields ' .. field_bytes .. ', outputs ' .. output_bytes .. ', snapshot ' .. #(snapshot or '') .. ' bytes')
  end
  if count == 0 and #outputs > 0 then
    return refuse('outputs without an input')
  end
  if count > 0 and after <= 0 then
    return refuse('the batch ends before it begins')
  end
  if not is_stream_or_absent(keys[3]) then
    return refuse(keys[3] .. ' is not a stream')
  end
  for i = OUTPUT_KEYS + 1, #keys do
    if not is_stream_or_absent(keys[i]) then
      return refuse(keys[i] .. ' is not a stream')
    end
  end

  local stored = redis.call('HMGET', keys[1], 'epoch', 'pos:' .. input, 'read:' .. input, 'n', 'turn')
  local owner, position, read = tonumber(stored[1] or 0), stored[2] or FIRST, tonumber(stored[3] or 0)
  local n = tonumber(stored[4] or 0)
  if owner > epoch then
    return { 'FENCED', n }
  end
  if permit and not permit(request) then
    return { 'HALTED', n }
  end
  local moved = position ~= expected and compare(position, expected) ~= 0
  if moved and count > 0 and compare(position, last) >= 0 then
    return { 'DUP', n }
  end
  -- An owner older than the caller is a server that lost the claim: it must be claimed again before anything is written.
  local overtaken = (request[18] and n ~= request[18]) or (request[20] ~= '' and stored[5] ~= request[20])
  if owner < epoch or moved or overtaken then
    return { 'CONFLICT', n }
  end
  if to_targets and cap > 0 then
    local seen = tonumber(redis.call('HGET', keys[5], 'read:targets') or 0)
    if entries_added('targets') - seen >= cap then
      return { 'BUSY', n }
    end
  end

  local result = { 'OK', n, request[16] and clearance(keys, request[16]) or -1 }
  local spans = {}
  for i = 1, #outputs, 3 do
    local at = outputs[i]
    local id = redis.call('XADD', keys[OUTPUT_KEYS + at], '*', 'type', outputs[i + 1], 'data', outputs[i + 2])
    local span = spans[at]
    if span then
      span.last, span.count = id, span.count + 1
    else
      spans[at] = { stream = keys[OUTPUT_KEYS + at], first = id, last = id, count = 1 }
    end
    if request[13] then
      result[#result + 1] = id
    end
  end
  read = string.format('%.0f', read + skipped + count)
  if count > 0 then
    n = n + 1
    local entry = journal_json(request[10], n, spans)
    local journal_id = redis.call('XADD', keys[3], '*', 'type', 'journal.v1', 'data', entry)
    redis.call('HSET', keys[1], 'pos:' .. input, last, 'read:' .. input, read, 'n', n, 'jid', journal_id)
    result[2] = n
    if request[19] ~= '' then
      redis.call('HSET', keys[1], 'turn', request[19])
    end
  elseif skipped > 0 then
    redis.call('HSET', keys[1], 'read:' .. input, read)
  end
  if request[12] and keys[4] ~= keys[1] then
    show_lag(keys[4], service, last, read)
  end
  for i = 1, #fields, 2 do
    redis.call('HSET', keys[1], 'f:' .. fields[i], fields[i + 1])
  end
  if snapshot then
    save_snapshot(keys[1], keys[2], keys[3], snapshot)
  end
  return result
end

local function fleet_commit(keys, args)
  return commit(keys, args, nil)
end

local function fleet_intent(keys, args)
  return commit(keys, args, function(request)
    local cleared = clearance(keys, request[16])
    return cleared == ALL or (cleared == REDUCING and request[17])
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

-- Whose REDUCING lets go by itself when a feed speaks again, and is taken over by whoever else asks for REDUCING.
local FEEDS = 'feeds'
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
  local held = now[1] == 'REDUCING' and now[3] == FEEDS
  local mode = keys[3] and redis.call('GET', keys[3])
  local lets_go = held and args[3] == FEEDS and args[1] == 'ACTIVE' and mode ~= 'halt' and mode ~= 'reduce'
  local takes_over = held and args[1] == 'REDUCING' and args[3] ~= FEEDS
  if (now[1] == args[1] and not takes_over) or (loosens and args[5] ~= '1' and not lets_go) then
    return { now[1] or '', now[2] or '', now[3] or '' }
  end
  if loosens and keys[3] then
    -- `mode` would tighten again within a second what a person has just loosened.
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
