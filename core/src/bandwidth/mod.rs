//! The server side of SRS's bandwidth check (in SRS up to 5.0.51). A client connects with the virtual host's key. The
//! server sends data for three seconds, the client sends data for three seconds, and the server reports both rates.
//! SRS's Flash player and the command-line tool of its client library use it.
//!
//! [`BandwidthConfig::allows`] checks the client's key, [`Gate`] limits how often checks run, and [`BandwidthCheck`] is
//! one check. It begins right after the result of `connect`, and the connection does nothing else:
//!
//! ```
//! use std::time::{Duration, Instant};
//! use anabranch_core::bandwidth::{BandwidthCheck, BandwidthConfig, Outcome, Phase, Step};
//!
//! let start = Instant::now();
//! let mut check = BandwidthCheck::new(&BandwidthConfig::default(), start);
//! let Step::Send(command) = check.poll(start, 0) else { panic!("the check begins with a command") };
//! assert_eq!(command.name.as_str(), Some("onSrsBandCheckStartPlayBytes"));
//!
//! let late = start + Duration::from_secs(6);
//! assert_eq!(check.poll(start, 0), Step::Wait(late));
//! assert_eq!(check.poll(late, 0), Step::Finished(Outcome::Timeout(Phase::PlayStart)));
//! ```

mod config;
mod packet;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub use config::{BandwidthConfig, Gate, TooSoon};

use crate::command::Command;
use packet::MAX_PLAYING_BYTES;

/// The chunk stream of all commands of a check; their message stream is 0.
pub const CHUNK_STREAM: u32 = 5;

/// A data packet is returned only while at most this many bytes are queued, chunk headers not counted.
pub const MAX_QUEUED: usize = 64 * 1024;

/// The time for which each direction is measured.
const DURATION: Duration = Duration::from_secs(3);
/// How long a direction pauses when it is over its limit, before it is checked again.
const NAP: Duration = Duration::from_millis(100);
/// How long the server waits for an answer of the client.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);
/// How long the connection stays open after the last packet, so that the client can close it first.
const LINGER: Duration = Duration::from_millis(600);

/// One check on one connection: what to send and when, without clock or socket.
///
/// Call [`poll`](Self::poll) at the start, after each [`handle`](Self::handle) and [`received`](Self::received), after
/// queued bytes were written, and at the time that it returned.
///
/// Both directions count complete messages, without chunk headers.
#[derive(Debug, Clone, PartialEq)]
pub struct BandwidthCheck {
    limit_kbps: u32,
    flash: bool,
    start: Instant,
    state: State,
    play: Throughput,
    publish: Throughput,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// The command of this phase is the next to send.
    Ask(Phase),
    Await {
        phase: Phase,
        deadline: Instant,
    },
    Playing {
        since: Instant,
        /// Message bytes returned so far.
        sent: u64,
        packets: u32,
        nap: Option<Instant>,
    },
    Publishing {
        since: Instant,
        received: u64,
        nap: Option<Instant>,
    },
    Linger {
        until: Instant,
    },
    Over(Outcome),
}

/// A step of the check: the server sends a command and the client answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The server announces data.
    PlayStart,
    /// The server has sent its data.
    PlayStop,
    /// The server asks the client to send data.
    PublishStart,
    /// The server asks the client to stop.
    PublishStop,
    /// The server sends the result. This phase cannot fail: the client may answer it or not.
    Final,
}

/// What the caller does next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Send this on [`CHUNK_STREAM`], message stream 0, and poll again.
    Send(Command),
    /// Wait until this time, or until input arrives or output is written.
    Wait(Instant),
    /// The check has ended; close the connection.
    Finished(Outcome),
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Both directions were measured, and the result was sent to the client.
    Measured {
        /// Server to client.
        play: Throughput,
        /// Client to server.
        publish: Throughput,
    },
    /// The client did not answer within 6 s.
    Timeout(Phase),
}

/// The measurement of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throughput {
    /// Bytes of messages that were written to the connection, or received completely.
    pub bytes: u64,
    /// Duration in milliseconds.
    pub ms: u64,
}

impl Throughput {
    /// The rate in kbit/s, rounded down; 0 if no time passed.
    #[must_use]
    pub fn kbps(&self) -> u64 {
        self.bytes.saturating_mul(8).checked_div(self.ms).unwrap_or(0)
    }

    fn since(start: Instant, now: Instant, bytes: u64) -> Self {
        let elapsed = now.saturating_duration_since(start).as_millis();
        Throughput { bytes, ms: u64::try_from(elapsed).unwrap_or(u64::MAX) }
    }

    /// Whether the rate is above this one.
    fn exceeds(&self, kbps: u32) -> bool {
        self.bytes.saturating_mul(8) > u64::from(kbps).saturating_mul(self.ms)
    }
}

impl BandwidthCheck {
    /// A check that begins now, for a client other than Flash.
    #[must_use]
    pub fn new(config: &BandwidthConfig, now: Instant) -> Self {
        BandwidthCheck {
            limit_kbps: config.limit_kbps,
            flash: false,
            start: now,
            state: State::Ask(Phase::PlayStart),
            play: Throughput::default(),
            publish: Throughput::default(),
        }
    }

    /// Sets the `swfUrl` of the client's `connect`. Only Flash sends one. Unlike other clients, Flash answers neither
    /// the end of its upload nor the result, so the check does not wait for these answers.
    #[must_use]
    pub fn with_swf_url(mut self, swf_url: Option<&str>) -> Self {
        self.flash = swf_url.is_some_and(|url| !url.is_empty());
        self
    }

    /// The next step, if `queued` bytes wait to be written. After [`Step::Finished`], every call returns it again.
    pub fn poll(&mut self, now: Instant, queued: usize) -> Step {
        loop {
            self.state = match self.state {
                State::Ask(phase) => {
                    let command = self.command(phase, now);
                    self.state = self.asked(phase, now);
                    return Step::Send(command);
                }
                State::Await { deadline, .. } if now < deadline => return Step::Wait(deadline),
                State::Await { phase: Phase::Final, .. } => State::Linger { until: now + LINGER },
                State::Await { phase, .. } => State::Over(Outcome::Timeout(phase)),
                State::Playing { since, sent, packets, nap } => {
                    let end = since + DURATION;
                    if now >= end {
                        let unwritten = u64::try_from(queued).unwrap_or(u64::MAX);
                        self.play = Throughput::since(since, now, sent.saturating_sub(unwritten));
                        State::Ask(Phase::PlayStop)
                    } else if let Some(nap) = self.rest(since, now, sent, nap) {
                        self.state = State::Playing { since, sent, packets, nap: Some(nap) };
                        return Step::Wait(nap.min(end));
                    } else if queued > MAX_QUEUED - MAX_PLAYING_BYTES {
                        self.state = State::Playing { since, sent, packets, nap: None };
                        return Step::Wait((now + NAP).min(end));
                    } else {
                        let command = packet::playing(packets);
                        let size = u64::try_from(command.encode().len()).unwrap_or(u64::MAX);
                        let (sent, packets) = (sent.saturating_add(size), packets.saturating_add(1));
                        self.state = State::Playing { since, sent, packets, nap: None };
                        return Step::Send(command);
                    }
                }
                State::Publishing { since, received, nap } => {
                    let end = since + DURATION;
                    if now < end {
                        let nap = self.rest(since, now, received, nap);
                        self.state = State::Publishing { since, received, nap };
                        return Step::Wait(nap.unwrap_or(end).min(end));
                    }
                    self.publish = Throughput::since(since, now, received);
                    State::Ask(Phase::PublishStop)
                }
                State::Linger { until } if now < until => return Step::Wait(until),
                State::Linger { .. } => State::Over(Outcome::Measured { play: self.play, publish: self.publish }),
                State::Over(outcome) => return Step::Finished(outcome),
            }
        }
    }

    /// Takes a command of the client whose message has `message_bytes` bytes. A command that is not the expected answer
    /// is ignored, but counts as upload while upload is measured.
    pub fn handle(&mut self, now: Instant, command: &Command, message_bytes: usize) {
        self.received(now, message_bytes);
        let Some(name) = command.name.as_str() else {
            return;
        };
        self.state = match (self.state, name) {
            (State::Await { phase: Phase::PlayStart, .. }, packet::STARTING_PLAY) => {
                State::Playing { since: now, sent: 0, packets: 0, nap: None }
            }
            (State::Await { phase: Phase::PlayStop, .. }, packet::STOPPED_PLAY) => State::Ask(Phase::PublishStart),
            (State::Await { phase: Phase::PublishStart, .. }, packet::STARTING_PUBLISH) => {
                State::Publishing { since: now, received: 0, nap: None }
            }
            // Flash ends its upload without a command from the server.
            (State::Publishing { since, received, .. }, packet::STOP_PUBLISH) => {
                self.publish = Throughput::since(since, now, received);
                State::Ask(Phase::PublishStop)
            }
            (State::Await { phase: Phase::PublishStop, .. }, packet::STOPPED_PUBLISH) => State::Ask(Phase::Final),
            (State::Await { phase: Phase::Final, .. }, packet::FINAL) => State::Linger { until: now + LINGER },
            (state, _) => state,
        };
    }

    /// Counts a message of the client, of this many bytes, that is not a command ([`handle`](Self::handle) counts
    /// commands). Has no effect while no upload is measured.
    pub fn received(&mut self, now: Instant, bytes: usize) {
        if let State::Publishing { since, received, nap } = self.state {
            let received = received.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
            self.state = State::Publishing { since, received, nap: self.rest(since, now, received, nap) };
        }
    }

    /// Whether to read from the client. False while its upload is over the limit: the adapter then does not read, until
    /// the time that [`poll`](Self::poll) returned.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        !matches!(self.state, State::Publishing { nap: Some(_), .. })
    }

    /// The end of a direction's pause: another pause follows if the direction is still over its limit.
    fn rest(&self, since: Instant, now: Instant, bytes: u64, nap: Option<Instant>) -> Option<Instant> {
        match nap {
            Some(nap) if now < nap => Some(nap),
            _ => Throughput::since(since, now, bytes).exceeds(self.limit_kbps).then(|| now + NAP),
        }
    }

    fn command(&self, phase: Phase, now: Instant) -> Command {
        match phase {
            Phase::PlayStart => packet::start(packet::START_PLAY, self.limit_kbps),
            Phase::PlayStop => packet::stop(packet::STOP_PLAY, self.play),
            Phase::PublishStart => packet::start(packet::START_PUBLISH, self.limit_kbps),
            Phase::PublishStop => packet::stop(packet::STOP_PUBLISH, self.publish),
            Phase::Final => {
                let end_ms = now.saturating_duration_since(self.start).as_millis();
                packet::finished(end_ms, self.play, self.publish)
            }
        }
    }

    /// The state after the command of a phase.
    fn asked(&self, phase: Phase, now: Instant) -> State {
        match phase {
            Phase::PublishStop if self.flash => State::Ask(Phase::Final),
            Phase::Final if self.flash => State::Linger { until: now + LINGER },
            _ => State::Await { phase, deadline: now + ANSWER_TIMEOUT },
        }
    }
}
