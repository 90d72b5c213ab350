use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::encoding::{Put, Take};
use super::joined::Joined;
use crate::http::Answer;
use crate::hub::{PullEnd, Pulled};
use crate::message::{Message, MessageType};
use crate::policy::{Action, Refusal, Verdict};
use crate::session::{Accepts, CloseReason, Outbound, Rejection, TlsFault};
use crate::shown::Shown;
use crate::source::{Frame, FrameKind, Gap, WireFormat};
use crate::url::StreamKey;

/// What a connection was created with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The number of the connection.
    pub connection: u64,
    /// The seed of the random bytes in its handshake.
    pub seed: [u8; 32],
    /// The address of the client.
    pub peer: Option<SocketAddr>,
    /// The protocols that it might speak.
    pub accepts: Accepts,
    /// Unix time in seconds when it began, if the server knew the time of day.
    pub unix_time: Option<u64>,
}

/// A time in the far future: bounds the times of a damaged file.
const MAX_UNIX_TIME: u64 = 1 << 40;

/// A call of the adapter or the program, as it is made.
#[derive(Clone, Copy)]
pub(crate) enum Call<'a> {
    Input(&'a [u8]),
    Timeout,
    Disconnect(&'a CloseReason),
    Close(&'a CloseReason),
    LoseName(&'a StreamKey),
    Shutdown,
    Drain { deadline: Instant, tc_url: Option<&'a str> },
    StopDraining,
    Reconnect { tc_url: Option<&'a str>, description: &'a str },
    Answer { open: bool, verdict: &'a Verdict },
    Respond { open: bool, answer: &'a Answer },
    Poll,
}

/// A call as it was recorded.
#[derive(Clone)]
pub(crate) enum Called {
    Input(Bytes),
    Timeout,
    Disconnect(Reason),
    Close(Reason),
    LoseName(StreamKey),
    Shutdown,
    /// Time since the opening.
    Drain {
        deadline: Duration,
        tc_url: Option<String>,
    },
    StopDraining,
    Reconnect {
        tc_url: Option<String>,
        description: String,
    },
    Answer {
        /// False if the question was no longer open when the verdict came.
        open: bool,
        verdict: Verdict,
    },
    Respond {
        /// False if the request was no longer open when the answer came.
        open: bool,
        answer: Answer,
    },
    Poll,
}

impl fmt::Debug for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As in a timeline.
        write!(f, "Called({self})")
    }
}

/// The reason with which the adapter or the program closed the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) name: String,
    pub(crate) words: String,
}

impl Reason {
    /// The reason as a [`CloseReason`]. The words of [`CloseReason::Closed`] are lost, because they are a `&'static
    /// str`.
    pub(crate) fn close_reason(&self) -> CloseReason {
        match self.name.as_str() {
            "peer_closed" => CloseReason::PeerClosed,
            "peer_lost" => CloseReason::PeerLost(self.words.clone()),
            "drained" => CloseReason::Drained,
            "shutdown" => CloseReason::Shutdown,
            "idle_publisher" => CloseReason::Idle,
            "player_too_slow" => CloseReason::TooSlow,
            "memory_short" => CloseReason::MemoryShort,
            "taken_over" => CloseReason::TakenOver,
            "origin_lost" => CloseReason::OriginLost,
            "lease_lost" => CloseReason::LeaseLost,
            "draining" => CloseReason::Refused(Refusal::Draining),
            name => match TlsFault::named(name) {
                Some(fault) => CloseReason::Tls(fault, self.words.clone()),
                None => self.refusal().map_or(CloseReason::Closed("closed by the program"), CloseReason::Refused),
            },
        }
    }

    /// The refusal by a rule of new settings.
    fn refusal(&self) -> Option<Refusal> {
        let by_address = [Action::Publish, Action::Play]
            .into_iter()
            .flat_map(|action| [Refusal::SecurityDenied { action }, Refusal::SecurityNotAllowed { action }]);
        let refusals = by_address.chain([Refusal::VhostUnknown, Refusal::VhostDisabled]);
        refusals.into_iter().find(|refusal| CloseReason::Refused(refusal.clone()).to_string() == self.words)
    }

    fn put(reason: &CloseReason, out: &mut Vec<u8>) {
        out.text(reason.name());
        match reason {
            CloseReason::PeerLost(words) | CloseReason::Tls(_, words) => out.text(words),
            other => out.text(&other.to_string()),
        }
    }

    fn take(take: &mut Take) -> Option<Self> {
        Some(Reason { name: take.text()?, words: take.text()? })
    }
}

/// The state of the outbound queue when a call came: how much of it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Written {
    pub(crate) lent: bool,
    /// Bytes written since the beginning.
    pub(crate) written: u64,
    pub(crate) replies: usize,
    /// Bytes in the queue.
    pub(crate) waiting: usize,
}

impl Written {
    pub(crate) fn of(outbound: &Outbound) -> Self {
        Written {
            lent: outbound.is_lent(),
            written: outbound.written(),
            replies: outbound.replies(),
            waiting: outbound.len(),
        }
    }

    fn put(self, last: &mut Written, out: &mut Vec<u8>) {
        let same = self == *last;
        out.push(u8::from(self.lent) | u8::from(same) << 1);
        if !same {
            out.number(self.written);
            out.number(self.replies as u64);
            out.number(self.waiting as u64);
            *last = self;
        }
    }

    fn take(last: &mut Written, take: &mut Take) -> Option<Self> {
        let flags = take.byte().filter(|flags| *flags < 4)?;
        if flags & 2 == 0 {
            *last =
                Written { lent: flags & 1 != 0, written: take.number()?, replies: take.size()?, waiting: take.size()? };
        }
        Some(*last)
    }
}

/// The outcome of a decision that depended on other connections, the program or a back end. `point` counts such
/// decisions over the life of the connection.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    pub(crate) point: u64,
    pub(crate) kind: DecisionKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DecisionKind {
    Granted,
    Refused(Rejection),
    Superseded,
    Idle,
    Absent,
    /// A refusal at a step between this point and the next.
    RefusedAt(Step, Rejection),
}

/// Where a request can be refused without its own point. These steps have none because older captures do not have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Whether the connection may enter another virtual host.
    MayEnter,
    /// The limit of connections of that virtual host.
    Enter,
    /// The limit of open questions.
    Question,
    /// The limit of connections of its own virtual host.
    Connect,
    /// The limits of players.
    Play,
    /// The signature of a pull within a cluster.
    Signature,
}

impl Step {
    const ALL: [Step; 6] = [Step::MayEnter, Step::Enter, Step::Question, Step::Connect, Step::Play, Step::Signature];
}

/// What a player took from its stream in one pull.
#[derive(Debug, Clone)]
pub(crate) struct Pull {
    pub(crate) message_stream_id: u32,
    pub(crate) live: bool,
    pub(crate) pulled: Ending,
    pub(crate) gap: Gap,
    pub(crate) frames: Vec<PulledFrame>,
}

/// Why the pull ended: [`PullEnd`] with the time since the opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Full,
    Pending,
    Ended(Option<Duration>),
}

/// One frame of a pull.
#[derive(Clone)]
pub(crate) struct PulledFrame {
    kind: FrameKind,
    multitrack_only: bool,
    for_announced: bool,
    timestamp: u32,
    chunk_size: u32,
    body: Bytes,
}

crate::shown::debug_with_bytes!(PulledFrame { kind, multitrack_only, for_announced, timestamp, chunk_size; body });

impl PulledFrame {
    /// Encodes the frame again.
    pub(crate) fn encode(&self) -> Frame {
        let body = self.body.as_ref();
        let message = match self.kind {
            FrameKind::Audio => Message::audio(self.timestamp, body),
            FrameKind::Video => Message::video(self.timestamp, body),
            FrameKind::Data => Message::data(self.timestamp, body),
        };
        let mut frame = Frame::encode(message, WireFormat { chunk_size: self.chunk_size });
        if self.multitrack_only && !frame.is_for_multitrack_only() {
            frame.for_multitrack_only();
        }
        if self.for_announced {
            frame.only_for_announced();
        }
        frame
    }

    pub(crate) fn put(frame: &Frame, out: &mut Vec<u8>) {
        out.push(match frame.kind() {
            FrameKind::Audio => MessageType::AUDIO,
            FrameKind::Video => MessageType::VIDEO,
            FrameKind::Data => MessageType::DATA_AMF0,
        });
        out.push(u8::from(frame.is_for_multitrack_only()) | u8::from(frame.is_for_announced()) << 1);
        out.number(u64::from(frame.timestamp()));
        out.number(u64::from(frame.chunk_size()));
        let body = frame.payload();
        out.number(body.len() as u64);
        out.extend_from_slice(&body);
    }

    fn take(take: &mut Take) -> Option<Self> {
        let kind = match take.byte()? {
            MessageType::AUDIO => FrameKind::Audio,
            MessageType::VIDEO => FrameKind::Video,
            MessageType::DATA_AMF0 => FrameKind::Data,
            _ => return None,
        };
        let (flags, timestamp) = (take.byte().filter(|flags| *flags < 4)?, take.word()?);
        let (multitrack_only, for_announced) = (flags & 1 != 0, flags & 2 != 0);
        let chunk_size = take.word().filter(|size| *size > 0)?;
        let length = take.size().filter(|length| *length <= 0xff_ffff)?;
        Some(PulledFrame { kind, multitrack_only, for_announced, timestamp, chunk_size, body: take.bytes(length)? })
    }
}

impl Pull {
    /// Writes everything except the frames, which follow.
    pub(crate) fn put(
        message_stream_id: u32,
        live: bool,
        pulled: Pulled,
        since: impl Fn(Instant) -> Duration,
        out: &mut Vec<u8>,
    ) {
        out.number(u64::from(message_stream_id));
        out.push(u8::from(live));
        let Pulled { missed, end } = pulled;
        let end = match end {
            PullEnd::Full => [0, 0],
            PullEnd::Pending => [1, 0],
            PullEnd::Ended(None) => [2, 0],
            PullEnd::Ended(Some(at)) => [3, nanoseconds(since(at))],
        };
        for number in end.into_iter().chain([missed.frames, missed.bytes, missed.milliseconds]) {
            out.number(number);
        }
    }

    fn take(take: &mut Take) -> Option<Self> {
        let (message_stream_id, live) = (take.word()?, take.flag()?);
        let (kind, time) = (take.number()?, take.number()?);
        let pulled = match kind {
            0 => Ending::Full,
            1 => Ending::Pending,
            2 => Ending::Ended(None),
            3 => Ending::Ended(Some(Duration::from_nanos(time))),
            _ => return None,
        };
        let gap = Gap { frames: take.number()?, bytes: take.number()?, milliseconds: take.number()? };
        let mut frames = Vec::new();
        while take.left() > 0 {
            frames.push(PulledFrame::take(take)?);
        }
        Some(Pull { message_stream_id, live, pulled, gap, frames })
    }
}

/// What `poll` returned, and what had been queued by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Returned {
    /// Bytes queued since the beginning.
    pub(crate) queued: u64,
    /// Their hash.
    pub(crate) hash: u64,
    pub(crate) what: Polled,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Polled {
    /// The action as a text without numbers.
    Action(String),
    /// What it waits for: `read`, `write` and `source` as bits 0, 1 and 2.
    Wait(u8),
    Closed(Box<Closing>),
}

/// How the connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Closing {
    pub(crate) reason: String,
    pub(crate) phase: String,
    pub(crate) offset: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// The whole report as text.
    pub(crate) report: String,
}

/// Any record.
#[derive(Clone)]
pub(crate) enum Record {
    Opening(Opening),
    Call(Written, Called),
    Decision(Decision),
    Pull(Pull),
    Returned(Returned),
    /// The beginning of a capture in the middle of a connection.
    Joined(Box<Joined>),
    /// Bytes that were queued for the client, in such a capture.
    Output(Bytes),
    /// The recording stopped, for this reason.
    Stopped(String),
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Record::Opening(opening) => f.debug_tuple("Opening").field(opening).finish(),
            Record::Call(written, called) => f.debug_tuple("Call").field(written).field(called).finish(),
            Record::Decision(decision) => f.debug_tuple("Decision").field(decision).finish(),
            Record::Pull(pull) => f.debug_tuple("Pull").field(pull).finish(),
            Record::Returned(returned) => f.debug_tuple("Returned").field(returned).finish(),
            Record::Joined(joined) => f.debug_tuple("Joined").field(joined).finish(),
            Record::Output(bytes) => f.debug_tuple("Output").field(&Shown(bytes)).finish(),
            Record::Stopped(reason) => f.debug_tuple("Stopped").field(reason).finish(),
        }
    }
}

pub(super) mod tag {
    pub(in super::super) const OPENING: u8 = 1;
    pub(in super::super) const JOINED: u8 = 2;
    pub(in super::super) const INPUT: u8 = 16;
    pub(in super::super) const TIMEOUT: u8 = 17;
    pub(in super::super) const DISCONNECT: u8 = 18;
    pub(in super::super) const CLOSE: u8 = 19;
    pub(in super::super) const SHUTDOWN: u8 = 20;
    pub(in super::super) const DRAIN: u8 = 21;
    pub(in super::super) const RECONNECT: u8 = 22;
    pub(in super::super) const ANSWER: u8 = 23;
    pub(in super::super) const POLL: u8 = 24;
    pub(in super::super) const STOP_DRAINING: u8 = 25;
    pub(in super::super) const RESPOND: u8 = 26;
    pub(in super::super) const LOSE_NAME: u8 = 27;
    pub(in super::super) const DECISION: u8 = 32;
    pub(in super::super) const PULL: u8 = 33;
    pub(in super::super) const OUTPUT: u8 = 34;
    pub(in super::super) const RETURNED: u8 = 48;
    pub(in super::super) const STOPPED: u8 = 63;
}

impl Opening {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.number(self.connection);
        out.extend_from_slice(&self.seed);
        out.optional(self.peer.map(|peer| peer.to_string()).as_deref());
        out.push(u8::from(self.unix_time.is_some()));
        out.number(self.unix_time.unwrap_or(0));
    }

    pub(super) fn take(take: &mut Take) -> Option<Self> {
        let (connection, seed, peer) = (take.number()?, take.array()?, take.optional()?);
        let peer = match peer {
            None => None,
            Some(peer) => Some(peer.parse().ok()?),
        };
        let (known, unix_time) = (take.flag()?, take.number().filter(|time| *time < MAX_UNIX_TIME)?);
        let unix_time = known.then_some(unix_time);
        Some(Opening { connection, seed, peer, accepts: Accepts::Rtmp, unix_time })
    }

    /// What follows in the record of an opening. Captures of connections that only speak RTMP have nothing there.
    pub(crate) fn put_accepts(&self, out: &mut Vec<u8>) {
        match self.accepts {
            Accepts::Rtmp => {}
            Accepts::Web => out.push(1),
            Accepts::Either => out.push(2),
        }
    }

    fn with_accepts(self, take: &mut Take) -> Option<Self> {
        let accepts = match take.left() {
            0 => Accepts::Rtmp,
            _ => match take.byte()? {
                1 => Accepts::Web,
                2 => Accepts::Either,
                _ => return None,
            },
        };
        Some(Opening { accepts, ..self })
    }
}

impl Call<'_> {
    pub(crate) fn put(
        &self,
        written: Written,
        last: &mut Written,
        since: impl Fn(Instant) -> Duration,
        out: &mut Vec<u8>,
    ) -> u8 {
        written.put(last, out);
        match *self {
            Call::Input(bytes) => {
                out.extend_from_slice(bytes);
                tag::INPUT
            }
            Call::Timeout => tag::TIMEOUT,
            Call::Disconnect(reason) => {
                Reason::put(reason, out);
                tag::DISCONNECT
            }
            Call::Close(reason) => {
                Reason::put(reason, out);
                tag::CLOSE
            }
            Call::LoseName(key) => {
                out.text(key.as_str());
                tag::LOSE_NAME
            }
            Call::Shutdown => tag::SHUTDOWN,
            Call::Drain { deadline, tc_url } => {
                out.number(nanoseconds(since(deadline)));
                out.optional(tc_url);
                tag::DRAIN
            }
            Call::Reconnect { tc_url, description } => {
                out.optional(tc_url);
                out.text(description);
                tag::RECONNECT
            }
            Call::Answer { open, verdict } => {
                out.push(u8::from(open));
                let origin;
                let (kind, words) = match verdict {
                    Verdict::Allow => (0, ""),
                    Verdict::Deny(words) => (1, words.as_str()),
                    Verdict::Redirect(url) => (2, url.as_str()),
                    Verdict::Rename(name) => (3, name.as_str()),
                    Verdict::Unanswered(words) => (4, words.as_str()),
                    Verdict::Origin { code, words } => {
                        origin = format!("{code}\n{words}");
                        (5, origin.as_str())
                    }
                };
                out.push(kind);
                out.text(words);
                tag::ANSWER
            }
            Call::Respond { open, answer } => {
                out.push(u8::from(open));
                out.number(u64::from(answer.status));
                out.number(answer.fields.len() as u64);
                for (name, value) in &answer.fields {
                    out.text(name);
                    out.text(value);
                }
                answer.pieces().for_each(|piece| out.extend_from_slice(piece));
                tag::RESPOND
            }
            Call::StopDraining => tag::STOP_DRAINING,
            Call::Poll => tag::POLL,
        }
    }
}

impl Called {
    fn take(kind: u8, take: &mut Take) -> Option<Self> {
        Some(match kind {
            tag::INPUT => Called::Input(take.rest()),
            tag::TIMEOUT => Called::Timeout,
            tag::DISCONNECT => Called::Disconnect(Reason::take(take)?),
            tag::CLOSE => Called::Close(Reason::take(take)?),
            tag::LOSE_NAME => Called::LoseName(StreamKey::of_text(&take.text()?)?),
            tag::SHUTDOWN => Called::Shutdown,
            tag::DRAIN => Called::Drain { deadline: Duration::from_nanos(take.number()?), tc_url: take.optional()? },
            tag::RECONNECT => Called::Reconnect { tc_url: take.optional()?, description: take.text()? },
            tag::ANSWER => Called::Answer {
                open: take.flag()?,
                verdict: match (take.byte()?, take.text()?) {
                    (0, _) => Verdict::Allow,
                    (1, words) => Verdict::Deny(words),
                    (2, url) => Verdict::Redirect(url),
                    (3, name) => Verdict::Rename(name),
                    (4, words) => Verdict::Unanswered(words),
                    (5, both) => {
                        let (code, words) = both.split_once('\n').unwrap_or(("", &both));
                        Verdict::Origin { code: code.to_owned(), words: words.to_owned() }
                    }
                    _ => return None,
                },
            },
            tag::POLL => Called::Poll,
            tag::STOP_DRAINING => Called::StopDraining,
            tag::RESPOND => {
                let (open, status) = (take.flag()?, u16::try_from(take.number()?).ok()?);
                // Each field takes two bytes at least.
                let count = take.size().filter(|count| *count <= take.left() / 2)?;
                let fields = (0..count).map(|_| Some((take.text()?, take.text()?))).collect::<Option<_>>()?;
                Called::Respond { open, answer: Answer { status, fields, body: take.rest(), more: Vec::new() } }
            }
            _ => return None,
        })
    }
}

impl Decision {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.number(self.point);
        match &self.kind {
            DecisionKind::Granted => out.push(0),
            DecisionKind::Refused(rejection) => {
                out.push(1);
                put_rejection(rejection, out);
            }
            DecisionKind::RefusedAt(step, rejection) => {
                out.push(5);
                out.push(Step::ALL.iter().position(|known| known == step).unwrap_or_default() as u8);
                put_rejection(rejection, out);
            }
            DecisionKind::Superseded => out.push(2),
            DecisionKind::Idle => out.push(3),
            DecisionKind::Absent => out.push(4),
        }
    }

    fn take(take: &mut Take) -> Option<Self> {
        let point = take.number()?;
        let kind = match take.byte()? {
            0 => DecisionKind::Granted,
            1 => DecisionKind::Refused(take_rejection(take)?),
            2 => DecisionKind::Superseded,
            3 => DecisionKind::Idle,
            4 => DecisionKind::Absent,
            5 => {
                let step = *Step::ALL.get(usize::from(take.byte()?))?;
                DecisionKind::RefusedAt(step, take_rejection(take)?)
            }
            _ => return None,
        };
        Some(Decision { point, kind })
    }
}

fn put_rejection(rejection: &Rejection, out: &mut Vec<u8>) {
    out.text(rejection.code);
    out.text(&rejection.description);
    out.optional(rejection.redirect.as_deref());
}

fn take_rejection(take: &mut Take) -> Option<Rejection> {
    let code = take.text()?;
    let code = Rejection::CODES.iter().find(|known| **known == code)?;
    let (description, redirect) = (take.text()?, take.optional()?);
    Some(Rejection { code, description, redirect, refusal: None })
}

impl Returned {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.number(self.queued);
        out.extend_from_slice(&self.hash.to_le_bytes());
        match &self.what {
            Polled::Action(label) => {
                out.push(0);
                out.text(label);
            }
            Polled::Wait(flags) => out.extend_from_slice(&[1, *flags]),
            Polled::Closed(closing) => {
                out.push(2);
                out.text(&closing.reason);
                out.text(&closing.phase);
                for number in [closing.offset, closing.received, closing.sent] {
                    out.number(number);
                }
                out.text(&closing.report);
            }
        }
    }

    fn take(take: &mut Take) -> Option<Self> {
        let (queued, hash) = (take.number()?, u64::from_le_bytes(take.array()?));
        let what = match take.byte()? {
            0 => Polled::Action(take.text()?),
            1 => Polled::Wait(take.byte()?),
            2 => Polled::Closed(Box::new(Closing {
                reason: take.text()?,
                phase: take.text()?,
                offset: take.number()?,
                received: take.number()?,
                sent: take.number()?,
                report: take.text()?,
            })),
            _ => return None,
        };
        Some(Returned { queued, hash, what })
    }
}

impl Record {
    /// Reads the payload of one record; `None` if it is not valid or bytes are left.
    pub(crate) fn take(kind: u8, last: &mut Written, payload: Bytes) -> Option<Self> {
        let mut take = Take::new(payload);
        let record = match kind {
            tag::OPENING => Record::Opening(Opening::take(&mut take)?.with_accepts(&mut take)?),
            tag::JOINED => Record::Joined(Box::new(Joined::take(&mut take)?)),
            tag::OUTPUT => Record::Output(take.rest()),
            tag::INPUT..=tag::RESPOND => Record::Call(Written::take(last, &mut take)?, Called::take(kind, &mut take)?),
            tag::DECISION => Record::Decision(Decision::take(&mut take)?),
            tag::PULL => Record::Pull(Pull::take(&mut take)?),
            tag::RETURNED => Record::Returned(Returned::take(&mut take)?),
            tag::STOPPED => Record::Stopped(take.text()?),
            _ => return None,
        };
        (take.left() == 0).then_some(record)
    }
}

pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
