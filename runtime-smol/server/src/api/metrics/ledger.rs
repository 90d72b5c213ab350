use std::collections::{HashMap, HashSet};
use std::ops::AddAssign;
use std::time::Instant;

use anabranch_core::conn::Role;
use anabranch_core::hub::StreamId;
use anabranch_core::stats::{ConnStatsView, Window};
use anabranch_core::url::StreamKey;
use anabranch_host::Handle;

/// How much busier a stream must be to replace one that has a series.
const BUSIER: f64 = 2.0;

/// Counts for each stream, in a bounded number of series that never go backward.
///
/// What came to a stream since the last scrape is added to its own series, or to the common one if the stream has no
/// series at that moment. So each byte is counted once, and the sum of the series' rates is always right.
#[derive(Debug)]
pub(in crate::api) struct Ledger {
    most: usize,
    streams: HashMap<StreamId, Account>,
    players: HashMap<u64, PlayerAccount>,
    others: Counts,
}

/// Counts that only grow.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// Of all published messages, in the form that players get.
    pub(super) bytes: u64,
    pub(super) audio_frames: u64,
    pub(super) video_frames: u64,
    pub(super) key_frames: u64,
    /// Players that began without a key frame.
    pub(super) keyless_starts: u64,
    /// How often the publisher that stood by went on air.
    pub(super) switches: u64,
    /// Sent to players.
    pub(super) sent_bytes: u64,
    pub(super) sent_frames: u64,
    pub(super) dropped_frames: u64,
}

/// A stream's state at this moment.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct State {
    pub(super) live: bool,
    pub(super) players: u64,
    /// How far the slowest player is behind, in frames.
    pub(super) lag: u64,
}

/// The series of one stream, or of all others together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) key: Option<StreamKey>,
    pub(super) counts: Counts,
    pub(super) state: State,
}

#[derive(Debug)]
struct Account {
    key: StreamKey,
    /// The counts of the stream's own series.
    own: Counts,
    /// The stream's counts at the last scrape.
    seen: Counts,
    /// What came to the stream since the last scrape.
    news: Counts,
    state: State,
    busy: f64,
    shown: bool,
    there: bool,
}

#[derive(Debug)]
struct PlayerAccount {
    stream: StreamId,
    /// Outlives the connection, so that its last bytes are also counted.
    stats: ConnStatsView,
    seen: Counts,
    there: bool,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.bytes += other.bytes;
        self.audio_frames += other.audio_frames;
        self.video_frames += other.video_frames;
        self.key_frames += other.key_frames;
        self.keyless_starts += other.keyless_starts;
        self.switches += other.switches;
        self.sent_bytes += other.sent_bytes;
        self.sent_frames += other.sent_frames;
        self.dropped_frames += other.dropped_frames;
    }
}

impl Counts {
    /// The difference to `earlier`.
    fn since(self, earlier: Counts) -> Counts {
        Counts {
            bytes: self.bytes.saturating_sub(earlier.bytes),
            audio_frames: self.audio_frames.saturating_sub(earlier.audio_frames),
            video_frames: self.video_frames.saturating_sub(earlier.video_frames),
            key_frames: self.key_frames.saturating_sub(earlier.key_frames),
            keyless_starts: self.keyless_starts.saturating_sub(earlier.keyless_starts),
            switches: self.switches.saturating_sub(earlier.switches),
            sent_bytes: self.sent_bytes.saturating_sub(earlier.sent_bytes),
            sent_frames: self.sent_frames.saturating_sub(earlier.sent_frames),
            dropped_frames: self.dropped_frames.saturating_sub(earlier.dropped_frames),
        }
    }
}

impl Ledger {
    /// At most `most` streams have their own series.
    pub(in crate::api) fn new(most: usize) -> Self {
        Ledger { most, streams: HashMap::new(), players: HashMap::new(), others: Counts::default() }
    }

    /// Reads all streams and players. The common series comes last.
    pub(super) fn look(&mut self, handle: &Handle) -> Vec<Series> {
        self.look_at_streams(handle);
        self.look_at_players(handle);
        self.close()
    }

    fn look_at_streams(&mut self, handle: &Handle) {
        let now = Instant::now();
        for stream in handle.stats().streams {
            let stats = stream.stats.map(|view| view.snapshot(now));
            let counts = stats.map_or_else(Counts::default, |stats| Counts {
                bytes: stats.bytes,
                audio_frames: stats.audio_frames,
                video_frames: stats.video_frames,
                key_frames: stats.key_frames,
                keyless_starts: stream.keyless_starts,
                switches: stream.switches,
                ..Counts::default()
            });
            let rate = stats.map_or(0.0, |stats| stats.rate.kbps(Window::Seconds60));
            self.stream(stream.id, &stream.key, counts, stream.published, stream.players as u64, rate);
        }
    }

    fn stream(&mut self, id: StreamId, key: &StreamKey, counts: Counts, live: bool, players: u64, rate: f64) {
        let account = self.streams.entry(id).or_insert_with(|| Account {
            key: key.clone(),
            own: Counts::default(),
            seen: Counts::default(),
            news: Counts::default(),
            state: State::default(),
            busy: 0.0,
            shown: false,
            there: true,
        });
        account.news += counts.since(account.seen);
        account.seen = counts;
        account.state = State { live, players, lag: 0 };
        // A stream without a publisher ranks after all others.
        account.busy = rate * (1.0 + players as f64) + if live { 1.0 } else { 0.0 };
        account.there = true;
    }

    fn look_at_players(&mut self, handle: &Handle) {
        let ids: HashMap<_, _> = self.streams.iter().map(|(id, account)| (account.key.clone(), *id)).collect();
        let mut found = Vec::new();
        handle.inspect_each(|conn| {
            // The counts of a connection that plays several streams go to the first, because they cannot be split.
            let played = conn.streams().find(|(role, _)| *role == Role::Player);
            if let Some(stream) = played.and_then(|(_, key)| ids.get(key)) {
                found.push((conn.id(), *stream, conn.stats()));
            }
        });
        self.players_found(found);
    }

    /// Adds the counts of the current players.
    fn players_found(&mut self, found: Vec<(u64, StreamId, ConnStatsView)>) {
        for (id, stream, stats) in found {
            let account = self.players.entry(id).or_insert_with(|| PlayerAccount {
                stream,
                stats,
                seen: Counts::default(),
                there: true,
            });
            (account.stream, account.there) = (stream, true);
        }
        let now = Instant::now();
        for account in self.players.values_mut() {
            let stats = account.stats.snapshot(now);
            let counts = Counts {
                sent_bytes: stats.bytes_out,
                sent_frames: stats.frames_out,
                dropped_frames: stats.dropped.frames,
                ..Counts::default()
            };
            let news = counts.since(account.seen);
            account.seen = counts;
            match self.streams.get_mut(&account.stream) {
                Some(stream) => {
                    stream.news += news;
                    if account.there {
                        stream.state.lag = stream.state.lag.max(stats.lag);
                    }
                }
                None => self.others += news,
            }
        }
        self.players.retain(|_, account| std::mem::take(&mut account.there));
    }

    /// Chooses the streams with their own series, and adds the new counts.
    fn close(&mut self) -> Vec<Series> {
        let others = &mut self.others;
        self.streams.retain(|_, account| {
            // What came between the last scrape and the stream's end goes to the common series.
            if !account.there {
                *others += account.news;
            }
            account.there
        });
        let mut ranks: Vec<_> = self
            .streams
            .iter()
            .map(|(id, account)| (account.busy * if account.shown { BUSIER } else { 1.0 }, *id))
            .collect();
        ranks.sort_unstable_by(|(a, one), (b, other)| b.total_cmp(a).then(one.cmp(other)));
        let shown: HashSet<_> = ranks.iter().take(self.most).map(|(_, id)| *id).collect();
        let mut state = State::default();
        let mut list = Vec::with_capacity(shown.len() + 1);
        for (id, account) in &mut self.streams {
            let news = std::mem::take(&mut account.news);
            account.there = false;
            account.shown = shown.contains(id);
            if account.shown {
                account.own += news;
                let key = Some(account.key.clone());
                list.push(Series { key, counts: account.own, state: account.state });
            } else {
                self.others += news;
                state.live |= account.state.live;
                state.players += account.state.players;
                state.lag = state.lag.max(account.state.lag);
            }
        }
        list.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        list.push(Series { key: None, counts: self.others, state });
        list
    }
}

#[cfg(test)]
mod tests;
