//! What a Redis sends, and what it means. A Redis may be broken, or be another program: each reply has limits, which hold
//! before any of it is decoded.

use std::sync::Arc;
use std::time::Duration;

use anabranch_core::location::{Owner, Reply};
use percent_encoding::percent_decode;
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame as Frame;

use super::record::{LONGEST_NODE, NodeRecord, is_name};

/// The longest reply, in bytes. The longest of those that are asked for lists a thousand servers.
pub(crate) const LONGEST_REPLY: usize = 1 << 20;
/// The longest line in a reply: a number, a status or an error.
const LONGEST_LINE: usize = 8 << 10;
/// The most values in a reply, and how deep lists may be nested.
const MOST_VALUES: usize = 8192;
const DEEPEST: usize = 4;
/// The longest name of a stream, decoded.
const LONGEST_NAME: usize = 8 << 10;

/// Why a reply cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReplyError {
    /// It is not in the protocol of Redis.
    NotRedis,
    /// It is larger than any that was asked for.
    TooLarge,
    /// It is not what was asked for.
    Unexpected,
}

impl ReplyError {
    /// As a sentence.
    pub(crate) fn words(&self) -> &'static str {
        match self {
            ReplyError::NotRedis => "it does not speak the protocol of Redis",
            ReplyError::TooLarge => "it sends a reply that is larger than any that was asked for",
            ReplyError::Unexpected => "it sends a reply that does not fit the request",
        }
    }
}

/// The bytes of a connection as replies.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    buffer: Vec<u8>,
    measure: Measure,
}

impl Replies {
    /// Adds what was received.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole reply.
    ///
    /// # Errors
    /// What was received cannot be a reply; nothing more can be read from this connection.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, ReplyError> {
        let Some(end) = self.measure.end(&self.buffer)? else {
            return Ok(None);
        };
        let whole = self.buffer.get(..end).ok_or(ReplyError::NotRedis)?;
        let decoded = decode(whole).map_err(|_| ReplyError::NotRedis)?;
        let (frame, length) = decoded.ok_or(ReplyError::NotRedis)?;
        if length != end {
            return Err(ReplyError::NotRedis);
        }
        self.buffer.drain(..end);
        Ok(Some(frame))
    }
}

/// Finds the end of a reply, however it is cut, and applies the limits. The codec has none: nested lists would use up the
/// stack.
#[derive(Debug, Default)]
struct Measure {
    /// What is before this is measured.
    at: usize,
    /// For each list that is not complete: how many values are still to come.
    open: Vec<usize>,
    values: usize,
}

impl Measure {
    /// The length of the first reply in the buffer, if it is complete.
    fn end(&mut self, buffer: &[u8]) -> Result<Option<usize>, ReplyError> {
        loop {
            if self.at > LONGEST_REPLY {
                return Err(ReplyError::TooLarge);
            }
            let Some((kind, rest)) = buffer.get(self.at..).and_then(<[u8]>::split_first) else {
                return Ok(None);
            };
            if !b"+-:$*".contains(kind) {
                return Err(ReplyError::NotRedis);
            }
            let Some(length) = rest.windows(2).take(LONGEST_LINE).position(|end| end == b"\r\n") else {
                return if rest.len() > LONGEST_LINE { Err(ReplyError::TooLarge) } else { Ok(None) };
            };
            let mut next = self.at + 1 + length + 2;
            let count = || {
                let line = rest.get(..length).and_then(|line| std::str::from_utf8(line).ok());
                let count: i64 = line.and_then(|line| line.parse().ok()).ok_or(ReplyError::NotRedis)?;
                match usize::try_from(count) {
                    Ok(count) if count <= LONGEST_REPLY => Ok(Some(count)),
                    Ok(_) => Err(ReplyError::TooLarge),
                    Err(_) if count == -1 => Ok(None),
                    Err(_) => Err(ReplyError::NotRedis),
                }
            };
            self.values += 1;
            match kind {
                b'$' => {
                    if let Some(bytes) = count()? {
                        next += bytes + 2;
                        if next > LONGEST_REPLY {
                            return Err(ReplyError::TooLarge);
                        }
                        if buffer.len() < next {
                            // It is measured again when more has come.
                            self.values -= 1;
                            return Ok(None);
                        }
                    }
                }
                b'*' => {
                    if let Some(values @ 1..) = count()? {
                        if values > MOST_VALUES || self.open.len() == DEEPEST {
                            return Err(ReplyError::TooLarge);
                        }
                        self.open.push(values);
                        self.at = next;
                        continue;
                    }
                }
                _ => {}
            }
            if self.values > MOST_VALUES {
                return Err(ReplyError::TooLarge);
            }
            self.at = next;
            // The value may be the last one of a list, and that list the last value of another.
            while let Some(left) = self.open.last_mut() {
                *left -= 1;
                if *left > 0 {
                    break;
                }
                self.open.pop();
            }
            if self.open.is_empty() {
                self.values = 0;
                return Ok(Some(std::mem::take(&mut self.at)));
            }
        }
    }
}

/// The error that a reply is, if it is one.
pub(crate) fn error_of(frame: &Frame) -> Option<&str> {
    if let Frame::Error(words) = frame { Some(words) } else { None }
}

/// The reply to a claim or a renewal.
pub(crate) fn lease(frame: &Frame) -> Result<Reply, ReplyError> {
    let values = list(frame)?;
    let value = |index: usize| values.get(index).ok_or(ReplyError::Unexpected);
    match bytes(value(0)?)? {
        b"ok" => Ok(Reply::Granted { fencing: number(value(1)?)? }),
        b"held" => Ok(Reply::Held(owner(value(1)?, value(2)?, value(3)?)?)),
        b"hold" => Ok(Reply::Hold(Duration::from_millis(number(value(1)?)?))),
        _ => Err(ReplyError::Unexpected),
    }
}

/// The reply to a question where a name is.
pub(crate) fn found(frame: &Frame) -> Result<Reply, ReplyError> {
    if *frame == Frame::Null {
        return Ok(Reply::Found(None));
    }
    match list(frame)? {
        [node, fencing, record] => Ok(Reply::Found(Some(owner(node, fencing, record)?))),
        _ => Err(ReplyError::Unexpected),
    }
}

/// The reply to an announcement.
#[derive(Debug)]
pub(crate) struct Announcement {
    /// The record that was there before.
    pub(crate) before: Option<NodeRecord>,
    /// The secret of the cluster, if the directory keeps it.
    pub(crate) secret: Option<String>,
    /// The time of the directory, since 1970.
    pub(crate) time: Duration,
}

pub(crate) fn announced(frame: &Frame) -> Result<Announcement, ReplyError> {
    let [before, secret, time] = list(frame)? else {
        return Err(ReplyError::Unexpected);
    };
    let before = if *before == Frame::Null { None } else { NodeRecord::read(bytes(before)?) };
    let secret = match secret {
        Frame::Null => None,
        secret => Some(text(secret)?.to_owned()).filter(|secret| !secret.is_empty()),
    };
    Ok(Announcement { before, secret, time: Duration::from_millis(number(time)?) })
}

/// The reply to `TIME`: seconds since 1970, and microseconds.
pub(crate) fn time(frame: &Frame) -> Result<Duration, ReplyError> {
    let [seconds, micros] = list(frame)? else {
        return Err(ReplyError::Unexpected);
    };
    Ok(Duration::from_secs(number(seconds)?).saturating_add(Duration::from_micros(number(micros)?)))
}

/// The reply to a question for the servers. A record that no server writes is left out.
pub(crate) fn nodes(frame: &Frame) -> Result<Vec<NodeRecord>, ReplyError> {
    let records = list(frame)?.iter().filter_map(|record| NodeRecord::read(bytes(record).ok()?));
    Ok(records.collect())
}

/// A name that has another owner now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) name: Arc<str>,
    pub(crate) node: Arc<str>,
    pub(crate) fencing: u64,
}

/// A message on the channel of notices: name, server and fencing number, with a blank between. `None` for what is no
/// notice, such as the answer to the subscription, and for what no server sends.
pub(crate) fn notice(frame: &Frame) -> Option<Notice> {
    let [kind, _, message] = list(frame).ok()? else {
        return None;
    };
    if bytes(kind).ok()? != b"message" {
        return None;
    }
    let mut words = text(message).ok()?.split(' ');
    let (name, node, fencing) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
    if words.next().is_some() || node.is_empty() || node.len() > LONGEST_NODE || name.len() > 3 * LONGEST_NAME {
        return None;
    }
    let name = percent_decode(name.as_bytes()).decode_utf8().ok().filter(|name| !name.is_empty())?;
    Some(Notice { name: (*name).into(), node: node.into(), fencing })
}

/// The address that Sentinels give for a master: `None` if they know no master of that name.
pub(crate) fn master(frame: &Frame) -> Result<Option<(String, u16)>, ReplyError> {
    if *frame == Frame::Null {
        return Ok(None);
    }
    let [host, port] = list(frame)? else {
        return Err(ReplyError::Unexpected);
    };
    let port = number(port)?.try_into().map_err(|_| ReplyError::Unexpected)?;
    let host = text(host)?;
    if host.is_empty() || host.len() > 253 {
        return Err(ReplyError::Unexpected);
    }
    Ok(Some((host.to_owned(), port)))
}

/// The first value of a list as text, such as the role in the reply to `ROLE`.
pub(crate) fn first(frame: &Frame) -> Option<&str> {
    text(list(frame).ok()?.first()?).ok()
}

fn owner(node: &Frame, fencing: &Frame, record: &Frame) -> Result<Owner, ReplyError> {
    let node = text(node)?;
    if node.is_empty() || !is_name(node) {
        return Err(ReplyError::Unexpected);
    }
    let record = if let Frame::BulkString(record) = record { NodeRecord::read(record) } else { None };
    let address = record.as_ref().and_then(NodeRecord::address).map(Arc::from);
    let is_draining = record.is_some_and(|record| record.draining);
    Ok(Owner { node: node.into(), fencing: number(fencing)?, address, is_draining })
}

fn list(frame: &Frame) -> Result<&[Frame], ReplyError> {
    if let Frame::Array(values) = frame { Ok(values) } else { Err(ReplyError::Unexpected) }
}

pub(crate) fn bytes(frame: &Frame) -> Result<&[u8], ReplyError> {
    match frame {
        Frame::BulkString(bytes) | Frame::SimpleString(bytes) => Ok(bytes),
        Frame::Error(_) | Frame::Integer(_) | Frame::Array(_) | Frame::Null => Err(ReplyError::Unexpected),
    }
}

pub(crate) fn text(frame: &Frame) -> Result<&str, ReplyError> {
    std::str::from_utf8(bytes(frame)?).map_err(|_| ReplyError::Unexpected)
}

/// A number, which scripts return as text: their own numbers have 53 bits.
fn number(frame: &Frame) -> Result<u64, ReplyError> {
    match frame {
        Frame::Integer(number) => u64::try_from(*number).map_err(|_| ReplyError::Unexpected),
        frame => text(frame)?.parse().map_err(|_| ReplyError::Unexpected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(replies: &mut Replies) -> Result<Vec<Frame>, ReplyError> {
        let mut found = Vec::new();
        while let Some(frame) = replies.next()? {
            found.push(frame);
        }
        Ok(found)
    }

    /// The replies in these bytes, which must be the same however they are cut.
    fn read(bytes: &[u8]) -> Result<Vec<Frame>, ReplyError> {
        let mut whole = Replies::default();
        whole.add(bytes);
        let whole = all(&mut whole);
        let mut cut = Replies::default();
        let mut found = Ok(Vec::new());
        for byte in bytes {
            cut.add(&[*byte]);
            found = found.and_then(|mut found: Vec<_>| {
                found.append(&mut all(&mut cut)?);
                Ok(found)
            });
        }
        assert_eq!(found, whole, "{bytes:?}");
        whole
    }

    fn one(bytes: &[u8]) -> Frame {
        read(bytes).unwrap().pop().unwrap()
    }

    #[test]
    fn replies_are_found_however_they_are_cut() {
        let bytes = b"+OK\r\n*2\r\n$2\r\nok\r\n$3\r\n1\r\n\r\n$-1\r\n*-1\r\n*0\r\n-ERR no\r\n:7\r\n*2\r\n*1\r\n:1\r\n*0\r\n$0\r\n\r\n";
        let frames = read(bytes).unwrap();
        assert_eq!(frames.len(), 9);
        assert_eq!(
            frames[1],
            Frame::Array(vec![Frame::BulkString(b"ok".to_vec()), Frame::BulkString(b"1\r\n".to_vec())])
        );
        assert_eq!(error_of(&frames[5]), Some("ERR no"));
        assert_eq!(read(b"*2\r\n:1\r\n"), Ok(Vec::new()), "the second value is still to come");
    }

    #[test]
    fn what_no_redis_sends_ends_the_connection() {
        for bytes in [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"$x\r\n", b"*-2\r\n", b"$-7\r\n", b"\0", b"-\xff\r\n"] {
            assert_eq!(read(bytes), Err(ReplyError::NotRedis), "{bytes:?}");
        }
        let nested = b"*1\r\n".repeat(DEEPEST + 1);
        let long = [b"+".to_vec(), vec![b'a'; LONGEST_LINE + 10]].concat();
        for bytes in [&b"$1048577\r\n"[..], b"*8193\r\n", b"*99999999999\r\n", &nested, &long] {
            let mut replies = Replies::default();
            replies.add(bytes);
            assert_eq!(replies.next(), Err(ReplyError::TooLarge), "{:?}", &bytes[..bytes.len().min(20)]);
        }
        // Each list is allowed, all of them together are not.
        let mut many = format!("*{MOST_VALUES}\r\n").into_bytes();
        many.extend(b"*1\r\n:1\r\n".repeat(MOST_VALUES));
        let mut replies = Replies::default();
        replies.add(&many);
        assert_eq!(replies.next(), Err(ReplyError::TooLarge));
    }

    #[test]
    fn the_replies_of_the_scripts_are_read() {
        assert_eq!(
            lease(&one(b"*2\r\n$2\r\nok\r\n$16\r\n1700000000000000\r\n")),
            Ok(Reply::Granted { fencing: 1_700_000_000_000_000 })
        );
        assert_eq!(lease(&one(b"*2\r\n$4\r\nhold\r\n:250\r\n")), Ok(Reply::Hold(Duration::from_millis(250))));
        let record = br#"{"id":"b","advertise":{"rtmp":"rtmp://b:1"}}"#;
        let with_record = |record: &[u8]| {
            let mut bytes = b"*4\r\n$4\r\nheld\r\n$1\r\nb\r\n$1\r\n7\r\n".to_vec();
            bytes.extend(format!("${}\r\n", record.len()).into_bytes());
            bytes.extend(record.iter().chain(b"\r\n"));
            lease(&one(&bytes))
        };
        let owner = |address: Option<&str>| Owner {
            node: "b".into(),
            fencing: 7,
            address: address.map(Arc::from),
            is_draining: false,
        };
        assert_eq!(with_record(record), Ok(Reply::Held(owner(Some("rtmp://b:1")))));
        assert_eq!(with_record(b"no record"), Ok(Reply::Held(owner(None))), "it is as good as dead");
        assert_eq!(lease(&one(b"*4\r\n$4\r\nheld\r\n$1\r\nb\r\n$1\r\n7\r\n$-1\r\n")), Ok(Reply::Held(owner(None))));
        assert_eq!(found(&one(b"*3\r\n$1\r\nb\r\n$1\r\n7\r\n$-1\r\n")), Ok(Reply::Found(Some(owner(None)))));
        assert_eq!(found(&one(b"*-1\r\n")), Ok(Reply::Found(None)));
        for wrong in [
            &b"*0\r\n"[..],
            b":1\r\n",
            b"*1\r\n$2\r\nok\r\n",
            b"*2\r\n$2\r\nok\r\n$2\r\n-1\r\n",
            b"*2\r\n$2\r\nno\r\n$1\r\n1\r\n",
            b"*4\r\n$4\r\nheld\r\n$3\r\na b\r\n$1\r\n7\r\n$-1\r\n",
            b"*2\r\n$4\r\nhold\r\n:-1\r\n",
        ] {
            assert_eq!(lease(&one(wrong)), Err(ReplyError::Unexpected), "{wrong:?}");
        }
    }

    #[test]
    fn notices_have_a_name_a_server_and_a_number() {
        let message = |text: &str| {
            let frame = ["message", "ab:c", text].map(|text| Frame::BulkString(text.as_bytes().to_vec()));
            notice(&Frame::Array(frame.to_vec()))
        };
        let expected = Notice { name: "v/live/a b".into(), node: "n:1".into(), fencing: 7 };
        assert_eq!(message("v/live/a%20b n:1 7"), Some(expected));
        for wrong in ["", "a", "a n", "a n x", "a n 7 8", " n 7", "a  7", "%ff n 7"] {
            assert_eq!(message(wrong), None, "{wrong:?}");
        }
        assert_eq!(notice(&one(b"*3\r\n$9\r\nsubscribe\r\n$4\r\nab:c\r\n:1\r\n")), None);
    }

    #[test]
    fn sentinels_name_the_master() {
        let known = one(b"*2\r\n$9\r\n127.0.0.1\r\n$4\r\n6379\r\n");
        assert_eq!(master(&known), Ok(Some(("127.0.0.1".to_owned(), 6379))));
        assert_eq!(master(&Frame::Null), Ok(None));
        assert_eq!(master(&one(b"*2\r\n$1\r\nh\r\n$5\r\n65536\r\n")), Err(ReplyError::Unexpected));
        assert_eq!(first(&one(b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n")), Some("master"));
    }
}
