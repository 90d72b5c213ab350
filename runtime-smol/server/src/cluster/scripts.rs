//! What a Redis is asked, and the scripts that do it there. A script runs as a whole, so no other request comes between.
//!
//! | key, with the prefix `ab:` | holds | lives |
//! |---|---|---|
//! | `ab:s:{NAME}` | hash: the server that has the name (`node`), its `session`, the fencing number (`epoch`) | one time to live |
//! | `ab:n:NODE` | the record of a server | one time to live |
//! | `ab:nodes` | sorted set: servers by the time of their last announcement, in milliseconds | always |
//! | `ab:born` | hash: when the first claim came (`at`), and the last fencing number (`epoch`), in microseconds | always |
//! | `ab:secret` | the secret of the cluster | always |
//! | `ab:c` | channel: `NAME NODE EPOCH` for each new lease, and for each claim that asks the owner to yield | |
//!
//! A fencing number is the time of the Redis in microseconds, or one more than the last one if that is greater. So it does
//! not fall when all data is lost, as long as the clocks of its machines agree better than the loss lasts.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What a name in a key or in a notice may not have: the marks of a hash tag, blanks, and the mark of an encoded byte.
/// Bytes above ASCII are always encoded.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'{').add(b'}').add(b'%');

/// Claims a name, or renews its lease.
///
/// KEYS: the name's key, `born`. ARGV: node, session, time to live, what happens to another owner (`never` nothing, `now`,
/// `ask`, the same with `_if_draining`, or `renew` for a renewal), hold in milliseconds, channel, name in notices, prefix of
/// records, whether leases of an earlier run of the same node end (`1`), the number of the only lease that `now` and `ask`
/// mean (empty: of any).
const CLAIM: &str = r#"
local owner = redis.call('HMGET', KEYS[1], 'node', 'session', 'epoch')
if owner[1] == ARGV[1] and owner[2] == ARGV[2] then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return {'ok', owner[3]}
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local born = redis.call('HMGET', KEYS[2], 'at', 'epoch')
local at = tonumber(born[1] or '')
if not at or at > now then
  at = now
  redis.call('HSET', KEYS[2], 'at', string.format('%.0f', now))
end
if owner[1] then
  local own = owner[1] == ARGV[1] and ARGV[9] == '1' and ARGV[4] ~= 'renew'
  local record = redis.call('GET', ARGV[8] .. owner[1])
  local mode = ARGV[4]
  if ARGV[10] ~= '' and ARGV[10] ~= owner[3] then
    mode = mode .. '_if_draining'
  end
  if record and string.find(record, '"draining":true', 1, true) then
    mode = string.gsub(mode, '_if_draining', '')
  end
  if mode == 'ask' and not own then
    redis.call('PUBLISH', ARGV[6], ARGV[7] .. ' ' .. ARGV[1] .. ' ' .. owner[3])
  end
  if mode ~= 'now' and not own then
    return {'held', owner[1], owner[3], record}
  end
elseif ARGV[4] ~= 'renew' then
  local left = at + ARGV[5] * 1000 - now
  if left > 0 then
    return {'hold', string.format('%.0f', math.ceil(left / 1000))}
  end
end
local epoch = math.max(now, (tonumber(owner[3] or '') or 0) + 1, (tonumber(born[2] or '') or 0) + 1)
local number = string.format('%.0f', epoch)
redis.call('HSET', KEYS[1], 'node', ARGV[1], 'session', ARGV[2], 'epoch', number)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('HSET', KEYS[2], 'epoch', number)
redis.call('PUBLISH', ARGV[6], ARGV[7] .. ' ' .. ARGV[1] .. ' ' .. number)
return {'ok', number}
"#;

/// Ends a lease. KEYS: the name's key. ARGV: node, session.
const RELEASE: &str = r"
local owner = redis.call('HMGET', KEYS[1], 'node', 'session')
if owner[1] == ARGV[1] and owner[2] == ARGV[2] then
  return redis.call('DEL', KEYS[1])
end
return 0
";

/// Which server has a name. KEYS: the name's key. ARGV: prefix of records.
const FIND: &str = r"
local owner = redis.call('HMGET', KEYS[1], 'node', 'epoch')
if not owner[1] then
  return false
end
return {owner[1], owner[2], redis.call('GET', ARGV[1] .. owner[1])}
";

/// Writes a server's record, and keeps the secret of the cluster. KEYS: the record's key, `nodes`, `secret`. ARGV:
/// node, record, time to live, a secret for the case that there is none (empty: the cluster's is not kept here).
/// Servers that are gone stay in the list for a day, so that operators see them. The answer: the record before, the
/// secret, and the time in milliseconds.
const ANNOUNCE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local before = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - 86400000)
if ARGV[4] == '' then
  return {before, false, now}
end
redis.call('SET', KEYS[3], ARGV[4], 'NX')
return {before, redis.call('GET', KEYS[3]), now}
";

/// Removes a server's record when it stops. KEYS: the record's key, `nodes`. ARGV: node, how the record of this run begins.
const LEAVE: &str = r"
local record = redis.call('GET', KEYS[1])
if record and string.sub(record, 1, string.len(ARGV[2])) == ARGV[2] then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 1
end
return 0
";

/// The records of the servers that are there, at most a thousand. KEYS: `nodes`. ARGV: prefix of records.
const LIST: &str = r"
local found = {}
for _, node in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, 999)) do
  local record = redis.call('GET', ARGV[1] .. node)
  if record and string.len(record) <= 1000 then
    found[#found + 1] = record
  end
end
return found
";

/// One of the scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Claim,
    Release,
    Find,
    Announce,
    Leave,
    List,
}

impl Script {
    pub(super) const ALL: [Script; 6] =
        [Script::Claim, Script::Release, Script::Find, Script::Announce, Script::Leave, Script::List];

    pub(super) fn text(self) -> &'static str {
        match self {
            Script::Claim => CLAIM,
            Script::Release => RELEASE,
            Script::Find => FIND,
            Script::Announce => ANNOUNCE,
            Script::Leave => LEAVE,
            Script::List => LIST,
        }
    }
}

/// The names of keys.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Keys { prefix: prefix.to_owned() }
    }

    /// The key of a stream's name. With the braces, all keys of a name would be on one node of a Redis Cluster.
    pub(super) fn stream(&self, name: &str) -> String {
        format!("{}s:{{{}}}", self.prefix, encoded(name))
    }

    pub(super) fn node(&self, node: &str) -> String {
        format!("{}{node}", self.nodes_prefix())
    }

    /// What the keys of all servers' records begin with.
    pub(super) fn nodes_prefix(&self) -> String {
        format!("{}n:", self.prefix)
    }

    pub(super) fn nodes(&self) -> String {
        format!("{}nodes", self.prefix)
    }

    pub(super) fn born(&self) -> String {
        format!("{}born", self.prefix)
    }

    pub(super) fn secret(&self) -> String {
        format!("{}secret", self.prefix)
    }

    pub(super) fn channel(&self) -> String {
        format!("{}c", self.prefix)
    }
}

/// A name in a key or in a notice.
pub(super) fn encoded(name: &str) -> String {
    utf8_percent_encode(name, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;

    use super::*;

    #[test]
    fn no_two_names_share_a_key_and_none_reaches_another_kind_of_key() {
        let keys = Keys::new("ab:");
        assert_eq!(keys.stream("v/live/cam"), "ab:s:{v/live/cam}");
        assert_eq!(keys.stream("v/live/a} {b%20é"), "ab:s:{v/live/a%7D%20%7Bb%2520%C3%A9}");
        for name in ["v/live/a%20b", "v/live/a b", "v/é/ü", "a{b}"] {
            let encoded = encoded(name);
            assert_eq!(percent_decode_str(&encoded).decode_utf8().unwrap(), name);
            assert!(encoded.is_ascii() && !encoded.contains([' ', '{', '}']), "{encoded}");
        }
        assert_eq!((keys.node("h:1935").as_str(), keys.nodes().as_str()), ("ab:n:h:1935", "ab:nodes"));
    }
}
