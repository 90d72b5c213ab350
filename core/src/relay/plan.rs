use std::time::Duration;

use super::audience::Audience;
use super::claims::Claims;
use super::{Backoff, RelayError};
use crate::client::Destination;
use crate::cluster::Referral;
use crate::policy::AskId;
use crate::source::Gap;
use crate::stats::ConnSnapshot;
use crate::time_limit::TimeLimit;

/// What the relay does, and until when.
#[derive(Debug)]
pub(super) enum Plan {
    Push {
        /// True while the stream is not published: the target waits.
        idle: bool,
    },
    Pull(Box<Audience>),
    /// Clients wait for the origin's verdict, then publish.
    Upward(Box<Claims>),
    /// A client waits for the origin's verdict about its `connect`.
    Traverse {
        connection: u64,
        ask: AskId,
        answer: TimeLimit,
        facts: Box<TraverseFacts>,
    },
}

/// What a client sent in `connect`, for its origin.
#[derive(Debug, Clone, Default)]
pub(crate) struct TraverseFacts {
    pub(crate) app: String,
    pub(crate) tc_url: Option<String>,
    pub(crate) page_url: Option<String>,
    pub(crate) swf_url: Option<String>,
    pub(crate) arguments: Vec<crate::amf::Value>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) connect: Duration,
    pub(super) stagger: Option<Duration>,
    pub(super) backoff: Backoff,
    pub(super) redirects: u8,
}

/// What ended connections add to the counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) frames_in: u64,
    pub(super) frames_out: u64,
    pub(super) dropped: Gap,
}

impl Totals {
    pub(super) fn add(&mut self, one: &ConnSnapshot) {
        self.bytes_in += one.bytes_in;
        self.bytes_out += one.bytes_out;
        self.frames_in += one.frames_in;
        self.frames_out += one.frames_out;
        self.dropped.add(one.dropped);
    }
}

/// How an uplink ended.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) error: RelayError,
    /// What the peer refused, if it did.
    pub(super) refused: Option<Refused>,
    /// Where the peer has sent it instead.
    pub(super) redirect: Option<Destination>,
    /// The same within a cluster, signed.
    pub(super) referral: Option<Referral>,
    /// True if the peer asked for another connection: it is made at once.
    pub(super) reconnect: bool,
}

/// What a peer has refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The connection. Another server may take it.
    Connect,
    /// The stream.
    Stream,
    /// It does not have the stream.
    Absent,
}
