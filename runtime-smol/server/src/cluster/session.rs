use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anabranch_core::location::{Reply, Request, RequestId, Taking};
use redis_protocol::resp2::types::OwnedFrame as Frame;

use super::dial::Dialed;
use super::directory::Who;
use super::link::{Link, LinkError};
use super::record::NodeRecord;
use super::replies::{self, Announcement, ReplyError, error_of};
use super::scripts::{Script, encoded};

/// The connection on which the directory is asked. Requests are sent without waiting for the replies of those before;
/// replies come in the same order.
#[derive(Debug)]
pub(super) struct Session {
    link: Link,
    scripts: Vec<String>,
    pending: VecDeque<Pending>,
    pub(super) host: String,
    pub(super) address: SocketAddr,
}

#[derive(Debug)]
struct Pending {
    what: Question,
    sent: Instant,
    /// True if the script was named by its hash, which the Redis may not know any more.
    by_name: bool,
}

/// What the directory is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// For core. For an announcement, the record's text and the secret that the directory is to keep.
    Core(RequestId, Request, Option<(String, String)>),
    /// The servers that there are.
    List,
    /// The record is to be removed.
    Leave,
}

/// A question with its answer.
#[derive(Debug)]
pub(super) enum Answered {
    Core {
        id: RequestId,
        request: Request,
        reply: Reply,
        took: Duration,
    },
    Announced {
        id: RequestId,
        request: Request,
        took: Duration,
        answer: Announcement,
    },
    List(Vec<NodeRecord>),
    Left,
    /// The directory refuses to do it, with these words. Core's request has failed.
    Refused {
        words: String,
        core: Option<(RequestId, Request)>,
        took: Duration,
    },
}

impl Session {
    pub(super) fn new(dialed: Dialed) -> Self {
        let Dialed { link, host, address, scripts } = dialed;
        Session { link, scripts, pending: VecDeque::new(), host, address }
    }

    /// Sends a question, when the socket takes it.
    pub(super) fn ask(&mut self, who: &Who, what: Question) {
        self.send(who, what, true, Instant::now());
    }

    fn send(&mut self, who: &Who, what: Question, by_name: bool, sent: Instant) {
        let (script, keys, arguments) = what.script(who);
        let index = Script::ALL.iter().position(|known| *known == script);
        let hash = index.and_then(|index| self.scripts.get(index)).filter(|_| by_name);
        let count = keys.len().to_string();
        let by_name = hash.is_some();
        let mut words = match hash {
            Some(hash) => vec!["EVALSHA", hash.as_str(), &count],
            None => vec!["EVAL", script.text(), &count],
        };
        words.extend(keys.iter().chain(&arguments).map(String::as_str));
        self.link.send(&words);
        self.pending.push_back(Pending { what, sent, by_name });
    }

    /// Waits until something came, and sends meanwhile. If this future is dropped, nothing is lost.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) async fn turn(&mut self) -> Result<(), LinkError> {
        self.link.turn().await
    }

    /// The next answer of those that have come.
    ///
    /// # Errors
    /// The connection is of no use any more, with the words of the Redis, or of this program.
    pub(super) fn next(&mut self, who: &Who) -> Result<Option<Answered>, String> {
        loop {
            let Some(frame) = self.link.next().map_err(|error| error.to_string())? else {
                return Ok(None);
            };
            let Some(Pending { what, sent, by_name }) = self.pending.pop_front() else {
                return Err(ReplyError::Unexpected.words().to_owned());
            };
            if by_name && error_of(&frame).is_some_and(|words| words.starts_with("NOSCRIPT")) {
                // With its text, the Redis knows it again for all that follow.
                self.send(who, what, false, sent);
                continue;
            }
            return answered(what, &frame, sent.elapsed()).map(Some);
        }
    }
}

/// Errors after which another connection is needed: the Redis has become a replica, or wants another password.
const ENDS: [&str; 3] = ["READONLY", "NOAUTH", "MASTERDOWN"];

fn answered(what: Question, frame: &Frame, took: Duration) -> Result<Answered, String> {
    if let Some(words) = error_of(frame) {
        let words: String = words.chars().filter(|c| !c.is_control()).take(200).collect();
        if ENDS.iter().any(|code| words.contains(code)) {
            return Err(format!("it says {words:?}"));
        }
        let core = if let Question::Core(id, request, _) = what { Some((id, request)) } else { None };
        return Ok(Answered::Refused { words, core, took });
    }
    // A value that no server has written ends no connection: the next one would meet it again.
    let unfit = |id, request: Request, error: ReplyError| {
        let of = match &request {
            Request::Claim { name, .. } | Request::Renew { name, .. } | Request::Find { name } => {
                format!(" about {name}")
            }
            Request::Release { .. } | Request::Announce => String::new(),
        };
        let words: String = format!("{}{of}", error.words()).chars().filter(|c| !c.is_control()).take(200).collect();
        Answered::Refused { words, core: Some((id, request)), took }
    };
    match what {
        Question::Core(id, request @ Request::Announce, _) => Ok(match replies::announced(frame) {
            Ok(answer) => Answered::Announced { id, request, took, answer },
            Err(error) => unfit(id, request, error),
        }),
        Question::Core(id, request, _) => {
            let reply = match &request {
                Request::Claim { .. } | Request::Renew { .. } => replies::lease(frame),
                Request::Find { .. } => replies::found(frame),
                Request::Release { .. } | Request::Announce => Ok(Reply::Done),
            };
            Ok(match reply {
                Ok(reply) => Answered::Core { id, request, reply, took },
                Err(error) => unfit(id, request, error),
            })
        }
        Question::List => replies::nodes(frame).map(Answered::List).map_err(|error| error.words().to_owned()),
        Question::Leave => Ok(Answered::Left),
    }
}

impl Question {
    /// The script that answers it, its keys and its arguments.
    fn script(&self, who: &Who) -> (Script, Vec<String>, Vec<String>) {
        let (keys, node) = (&who.keys, who.node.to_string());
        let milliseconds = |time: Duration| time.as_millis().to_string();
        let claim = |name: &str, session: u64, taking: &str, from: Option<u64>| {
            let own = if who.takes_own { "1" } else { "0" };
            let arguments = vec![
                node.clone(),
                session.to_string(),
                milliseconds(who.ttl),
                taking.to_owned(),
                milliseconds(who.hold),
                keys.channel(),
                encoded(name),
                keys.nodes_prefix(),
                own.to_owned(),
                from.map(|fencing| fencing.to_string()).unwrap_or_default(),
            ];
            (Script::Claim, vec![keys.stream(name), keys.born()], arguments)
        };
        match self {
            Question::Core(_, Request::Claim { name, session, taking }, _) => {
                let (taking, from) = match *taking {
                    Taking::Never => ("never", None),
                    Taking::NowIfDraining => ("now_if_draining", None),
                    Taking::AskIfDraining => ("ask_if_draining", None),
                    Taking::Now => ("now", None),
                    Taking::Ask => ("ask", None),
                    Taking::NowFrom(fencing) => ("now", Some(fencing)),
                    Taking::AskFrom(fencing) => ("ask", Some(fencing)),
                };
                claim(name, session.0, taking, from)
            }
            Question::Core(_, Request::Renew { name, session }, _) => claim(name, session.0, "renew", None),
            Question::Core(_, Request::Release { name, session }, _) => {
                (Script::Release, vec![keys.stream(name)], vec![node, session.0.to_string()])
            }
            Question::Core(_, Request::Find { name }, _) => {
                (Script::Find, vec![keys.stream(name)], vec![keys.nodes_prefix()])
            }
            Question::Core(_, Request::Announce, announced) => {
                let (record, secret) = announced.clone().unwrap_or_default();
                let arguments = vec![node, record, milliseconds(who.ttl), secret];
                (Script::Announce, vec![keys.node(&who.node), keys.nodes(), keys.secret()], arguments)
            }
            Question::List => (Script::List, vec![keys.nodes()], vec![keys.nodes_prefix()]),
            Question::Leave => {
                let begins = NodeRecord::beginning(&who.node, &who.boot);
                (Script::Leave, vec![keys.node(&who.node), keys.nodes()], vec![node, begins])
            }
        }
    }
}
