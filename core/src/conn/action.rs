use std::{fmt, net::SocketAddr, time::Duration};

use super::Refused;
use super::ask::{Ask, Notice};
use crate::hub::{HeldBy, StandbyEvent, StreamId, Switched};
use crate::session::{ClientKind, Close, Delivery, SessionCounters, Wait, WebRequest};
use crate::source::Gap;
use crate::url::StreamKey;

/// What [`Conn::poll`](super::Conn::poll) returns.
#[derive(Debug)]
pub enum Output {
    /// Something to do; poll again afterwards.
    Action(Action),
    /// Nothing to do until one of these events happens.
    Wait(Wait),
    /// The connection is over: close the socket.
    Closed(Report),
}

/// What the adapter must do.
#[derive(Debug)]
pub enum Action {
    /// The client is identified and attached to a stream. For logs and lists; nothing depends on it.
    Attach(Attachment),
    /// The client is no longer attached to the stream.
    Detach {
        /// What it was there.
        role: Role,
        /// The stream.
        stream: StreamId,
        /// For a publisher: true if the stream has another one now.
        goes_on: bool,
    },
    /// From now on poll this connection whenever the stream is woken. An [`Unsubscribe`](Action::Unsubscribe) comes
    /// before the next `Subscribe` for the same stream.
    Subscribe(StreamId),
    /// Do not poll this connection for the stream any more.
    Unsubscribe(StreamId),
    /// Ask the back end, and hand its verdict to [`Conn::answer`](super::Conn::answer).
    Ask(Box<Ask>),
    /// Send a notice to the back end; there is no answer to wait for.
    Notify(Box<Notice>),
    /// A request by HTTP that is for no live stream: answer it with [`Conn::respond`](super::Conn::respond), at any time.
    /// After [`Settings::answer`](crate::http::Settings::answer) the connection answers with 504 itself.
    Request(Box<WebRequest>),
    /// Poll all connections subscribed to the stream: it has something new for them.
    Wake(StreamId),
    /// Nothing more is sent: shut down the sending side of the connection, and go on to read. Only for connections that this
    /// server has opened, and for those by HTTP.
    Finish,
    /// Something that the operator should know. For logs; nothing depends on it.
    Remark(Remark),
}

/// Something about a client that an operator wants to know. `Display` gives a line for the log, without addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remark {
    /// What it asked for is refused.
    Refused(Box<Refused>),
    /// It publishes a stream that it took over.
    TookOver {
        /// The stream.
        key: StreamKey,
        /// The publisher that it took the stream from.
        from: HeldBy,
    },
    /// It plays a stream that has no publisher. Reported once for each `play`.
    Waits(StreamKey),
    /// The publisher of the stream that it plays has left, so that it waits again. Reported at most once a minute for
    /// each player.
    WaitsAgain(StreamKey),
    /// The stream that it waited for has begun. Reported if the wait was.
    Began {
        /// The stream.
        key: StreamKey,
        /// How long it waited.
        waited: Duration,
    },
    /// It is slow from now on: it missed frames, or takes nothing.
    Slow {
        /// The stream.
        key: StreamKey,
        /// What it missed; nothing if it takes nothing.
        missed: Gap,
        /// How many frames it is behind, if it takes nothing.
        behind: u64,
    },
    /// It was slow, and has missed nothing for a while.
    KeepsUp {
        /// The stream.
        key: StreamKey,
        /// For how long it was slow.
        time: Duration,
        /// What it missed in that time.
        missed: Gap,
    },
    /// It has published pictures for too long without a key frame, either marked or found in the content: players begin
    /// without one. Reported once for a publication.
    Keyless(StreamKey),
    /// It gets only the pictures of a stream that was published by WebRTC: the sound is Opus, which it has not announced.
    /// Reported once for each `play`.
    NoSound(StreamKey),
    /// It is another server of the cluster, which gets the stream although as many others get it as
    /// [`ClusterConfig::children`](crate::cluster::ClusterConfig) says: none of these can give it the stream.
    BeyondChildren(StreamKey),
    /// It stands by as backup of a stream, and has something that players can begin at.
    BackupReady {
        /// The stream.
        key: StreamKey,
        /// The publisher that is on air.
        on_air: Option<HeldBy>,
    },
    /// It stood by, and is on air now.
    Switched {
        /// The stream.
        key: StreamKey,
        /// Why.
        because: Switched,
        /// The publisher that was on air before.
        before: Option<HeldBy>,
    },
}

impl Remark {
    pub(super) fn of_standby(key: &StreamKey, event: StandbyEvent) -> Self {
        let key = key.clone();
        match event {
            StandbyEvent::Ready { on_air } => Remark::BackupReady { key, on_air },
            StandbyEvent::OnAir { because, before } => Remark::Switched { key, because, before },
        }
    }

    /// A name that does not change, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Remark::Refused(_) => "refused",
            Remark::TookOver { .. } => "took_over",
            Remark::Waits(_) => "waits",
            Remark::WaitsAgain(_) => "waits_again",
            Remark::Began { .. } => "began",
            Remark::Slow { .. } => "slow",
            Remark::KeepsUp { .. } => "keeps_up",
            Remark::Keyless(_) => "keyless",
            Remark::NoSound(_) => "no_sound",
            Remark::BeyondChildren(_) => "beyond_children",
            Remark::BackupReady { .. } => "backup_ready",
            Remark::Switched { because: Switched::Returned, .. } => "backup_returned",
            Remark::Switched { .. } => "backup_took_over",
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remark::Refused(refused) => refused.fmt(f),
            Remark::TookOver { key, from: HeldBy::Client { connection, .. } } => {
                write!(f, "took {} over from conn {connection}", key.shown())
            }
            Remark::TookOver { key, from: HeldBy::Relay { connection, .. } } => {
                write!(f, "took {} over from the relay on conn {connection}", key.shown())
            }
            Remark::TookOver { key, from: HeldBy::Program } => write!(f, "took {} over from the program", key.shown()),
            Remark::Waits(key) => write!(f, "waits for {}, which has no publisher", key.shown()),
            Remark::WaitsAgain(key) => write!(f, "waits again for {}, whose publisher has left", key.shown()),
            Remark::Began { key, waited } => {
                write!(f, "gets {}, for which it waited {:.3} s", key.shown(), waited.as_secs_f64())
            }
            Remark::Slow { key, missed, behind } if missed.frames == 0 => {
                write!(f, "is slow as player of {}: it takes nothing, and is {behind} frames behind", key.shown())
            }
            Remark::Slow { key, missed, .. } => {
                write!(f, "is slow as player of {}: it missed {}", key.shown(), Missed(missed))
            }
            Remark::KeepsUp { key, time, missed } => {
                let (key, time) = (key.shown(), time.as_secs_f64());
                write!(f, "keeps up again as player of {key} after {time:.3} s, in which it missed {}", Missed(missed))
            }
            Remark::Keyless(key) => {
                write!(f, "{} has pictures but no key frame: players and recordings begin without one", key.shown())
            }
            Remark::NoSound(key) => {
                write!(f, "gets {} without sound, which is Opus: it has not announced that it plays that", key.shown())
            }
            Remark::BeyondChildren(key) => {
                let key = key.shown();
                write!(
                    f,
                    "gets {key}, which this server sends to `cluster.children` others already: none can send it on"
                )
            }
            Remark::BackupReady { key, on_air } => {
                write!(f, "is ready as backup of {}, which {} publishes", key.shown(), Held(on_air.as_ref()))
            }
            Remark::Switched { key, because, before } => {
                let before = Held(before.as_ref());
                match because {
                    Switched::Lost => write!(f, "is on air with {}, which {before} has left", key.shown()),
                    Switched::Stalled => write!(f, "is on air with {}, because {before} has stalled", key.shown()),
                    Switched::Returned => write!(f, "is on air again with {}; {before} stands by", key.shown()),
                    Switched::Began => write!(f, "is on air with {} after its fallback", key.shown()),
                }
            }
        }
    }
}

/// A publisher, as text.
struct Held<'a>(Option<&'a HeldBy>);

impl fmt::Display for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(HeldBy::Client { connection, .. } | HeldBy::Relay { connection, .. }) => {
                write!(f, "conn {connection}")
            }
            Some(HeldBy::Program) => f.write_str("the program"),
            None => f.write_str("the other publisher"),
        }
    }
}

/// Frames that a player did not get, as text.
struct Missed<'a>(&'a Gap);

impl fmt::Display for Missed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gap { frames, bytes, milliseconds } = self.0;
        write!(f, "{frames} frames, {bytes} bytes, {milliseconds} ms")
    }
}

/// An identified client. `Display` gives a line for the log.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// Publisher or player.
    pub role: Role,
    /// The stream.
    pub stream: StreamId,
    /// Its name.
    pub key: StreamKey,
    /// The host that the client asked for, if no virtual host has this name or alias, and the default one took it. Only
    /// while there are others, and not if it is an address. At most about 256 characters ([`shortened`](crate::url::shortened)).
    pub unknown_host: Option<String>,
    /// How a publisher publishes (the kind of its client).
    pub client: Option<ClientKind>,
    /// The client's own name and version, if it gave one.
    pub agent: Option<String>,
    /// How a player gets the stream.
    pub delivery: Delivery,
    /// The client's address, as far as it is known.
    pub peer: Option<SocketAddr>,
    /// The parameters of all URLs involved, as in [`StreamFacts::params`](super::StreamFacts::params). They may contain
    /// secrets of the client.
    pub params: String,
    /// True if a [pass](crate::policy::Passes) permits it: it is a program that the server started.
    pub by_pass: bool,
    /// True for a publisher that stands by: the stream has another one. See
    /// [`Conflict::Backup`](crate::hub::Conflict::Backup).
    pub backup: bool,
    /// True if it is a relay of another server.
    pub relays: bool,
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backup = if self.backup { "backup " } else { "" };
        write!(f, "{backup}{} of {}", self.role, self.key.shown())?;
        match self.peer {
            Some(peer) => write!(f, ", from {peer}"),
            None => Ok(()),
        }
    }
}

/// What a connection is to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It sends the stream.
    Publisher,
    /// It gets the stream.
    Player,
}

impl Role {
    /// `publisher` or `player`.
    pub fn name(self) -> &'static str {
        match self {
            Role::Publisher => "publisher",
            Role::Player => "player",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A summary of a connection at its end. `Display` gives a line for the log.
#[derive(Debug, Clone)]
pub struct Report {
    /// Why, at what stage and after how many bytes it ended.
    pub close: Close,
    /// The client's address, as far as it is known.
    pub peer: Option<SocketAddr>,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// How long it was open.
    pub duration: Duration,
    /// Its role, publisher before player if it was both.
    pub role: Option<Role>,
    /// The virtual host of `connect`; empty if `connect` was not granted.
    pub vhost: String,
    /// [`Refusal::code`](crate::policy::Refusal::code), if a rule refused what it asked for or was granted.
    pub refused: Option<&'static str>,
    /// What its players missed because they were slow or paused.
    pub missed: Gap,
    /// What its players had not yet got when they ended.
    pub unsent: Gap,
    /// Bytes that were queued for the peer and dropped.
    pub given_up: u64,
    /// Frames that its players did not get, by reason.
    pub left_out: LeftOut,
    /// Messages it published that were too damaged for any player.
    pub malformed: u64,
    /// What the session ignored of its input.
    pub ignored: SessionCounters,
}

/// Frames that a player did not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// It had turned audio or video off.
    pub unwanted: u64,
    /// They were of tracks it does not understand.
    pub multitrack: u64,
    /// They were sound in a codec that it has not announced.
    pub unannounced: u64,
    /// They came before the first key frame.
    pub undecodable: u64,
}

impl LeftOut {
    /// All of them.
    pub fn all(&self) -> u64 {
        self.unwanted + self.multitrack + self.unannounced + self.undecodable
    }

    pub(super) fn add(&mut self, other: LeftOut) {
        self.unwanted += other.unwanted;
        self.multitrack += other.multitrack;
        self.unannounced += other.unannounced;
        self.undecodable += other.undecodable;
    }
}

impl Report {
    /// What was received, sent and missed, as text for the log.
    pub fn counts(&self) -> impl fmt::Display + '_ {
        Counts(self)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let close = &self.close;
        write!(f, "{} ({}) in phase {} at byte {}", close.reason, close.reason.name(), close.phase, close.offset)?;
        if !close.told.is_empty() {
            write!(f, "; told: {:?}", close.told)?;
        }
        if let Some(peer) = self.peer {
            write!(f, "; from {peer}")?;
        }
        write!(f, "; {}", self.counts())
    }
}

struct Counts<'a>(&'a Report);

impl fmt::Display for Counts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        let Report { received, sent, duration, missed, .. } = report;
        write!(f, "received {received} bytes, sent {sent} bytes in {:.3} s", duration.as_secs_f64())?;
        for (words, gap) in [("missed", missed), ("unsent", &report.unsent)] {
            if gap.frames > 0 {
                write!(f, "; {words} {} frames, {} bytes, {} ms", gap.frames, gap.bytes, gap.milliseconds)?;
            }
        }
        let (left_out, ignored) = (report.left_out, report.ignored);
        let counts = [
            ("bytes queued and not sent", report.given_up),
            ("frames of media that the player had turned off", left_out.unwanted),
            ("frames of tracks that the player does not support", left_out.multitrack),
            ("frames of sound in a codec that the player has not announced", left_out.unannounced),
            ("frames before the first key frame", left_out.undecodable),
            ("media messages that cannot be read", report.malformed),
            ("commands or data messages that cannot be read", ignored.unreadable_messages),
            ("metadata messages shortened", ignored.shortened_metadata),
            ("media messages outside a publication", ignored.stray_media),
            ("messages of unknown type", ignored.ignored_messages),
        ];
        for (words, count) in counts {
            if count > 0 {
                write!(f, "; {count} {words}")?;
            }
        }
        Ok(())
    }
}
