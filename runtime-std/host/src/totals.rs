use std::collections::BTreeMap;
use std::time::Instant;

use anabranch_core::conn::Delivery;
use anabranch_core::source::Gap;
use anabranch_core::stats::ConnStatsView;

/// What players of one form got.
#[derive(Debug, Clone, Copy, Default)]
pub struct FormTotals {
    /// Clients that play now.
    pub players: u64,
    /// Bytes sent to connections that play or played in this form.
    pub bytes_out: u64,
}

/// Totals of all connections of a server so far, including those that are open. They never become smaller.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that were closed at once, because the file descriptors left are kept for the server's own files.
    pub turned_away: u64,
    /// How often a client began to publish a stream.
    pub published: u64,
    /// How often a client began to play a stream.
    pub played: u64,
    /// Bytes received, from the first one of the handshakes.
    pub bytes_in: u64,
    /// Bytes sent, from the first one of the handshakes.
    pub bytes_out: u64,
    /// Audio, video and data messages received.
    pub frames_in: u64,
    /// Audio, video and data messages sent or queued.
    pub frames_out: u64,
    /// What players did not get because they were slow or paused.
    pub dropped: Gap,
    /// By the form in which clients play: those that have played.
    pub forms: BTreeMap<Delivery, FormTotals>,
    /// Requests that were refused, and connections that were closed by a rule, by the
    /// [code](anabranch_core::policy::Refusal::code) of the refusal.
    pub refused: BTreeMap<&'static str, u64>,
    /// Connections that have ended, by the [name](anabranch_core::session::CloseReason::name) of the reason.
    pub closed: BTreeMap<&'static str, u64>,
}

impl Totals {
    /// How many connections have ended.
    pub fn ended(&self) -> u64 {
        self.closed.values().sum()
    }

    /// Adds one connection, with how it plays if it does or did.
    pub(crate) fn add(&mut self, stats: &ConnStatsView, playing: Option<Playing>) {
        let stats = stats.snapshot(Instant::now());
        if let Some(Playing { delivery, players }) = playing {
            let form = self.forms.entry(delivery).or_default();
            form.players += players;
            form.bytes_out += stats.bytes_out;
        }
        self.bytes_in += stats.bytes_in;
        self.bytes_out += stats.bytes_out;
        self.frames_in += stats.frames_in;
        self.frames_out += stats.frames_out;
        self.dropped.add(stats.dropped);
    }
}

/// How a connection plays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Playing {
    pub(crate) delivery: Delivery,
    /// Streams that it plays now.
    pub(crate) players: u64,
}

/// Totals of all connections that a server opened to other servers, including those that are open. None but `open` ever
/// becomes smaller.
#[derive(Debug, Clone, Default)]
pub struct UplinkTotals {
    /// Connections that are open.
    pub open: usize,
    /// Connections that were made.
    pub opened: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Audio, video and data messages received.
    pub frames_in: u64,
    /// Audio, video and data messages sent or queued.
    pub frames_out: u64,
    /// What targets did not get because they were slow.
    pub dropped: Gap,
    /// Connections that have ended, by the [name](anabranch_core::client::ClientCloseReason::name) of the reason.
    pub closed: BTreeMap<&'static str, u64>,
}

impl UplinkTotals {
    /// Adds one connection.
    pub(crate) fn add(&mut self, stats: &ConnStatsView) {
        let stats = stats.snapshot(Instant::now());
        self.bytes_in += stats.bytes_in;
        self.bytes_out += stats.bytes_out;
        self.frames_in += stats.frames_in;
        self.frames_out += stats.frames_out;
        self.dropped.add(stats.dropped);
    }
}
