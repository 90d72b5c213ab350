//! A model of one thread in virtual time. It reads publishers, wakes players and writes to them in pieces, as the
//! adapters do, and each of that takes its time.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::hub::{Hub, HubConfig, Player, Publisher};
use crate::message::{Message, MessageType};
use crate::url::{DEFAULT_VHOST, StreamKey};

/// What a write to a player takes, and each byte in it: as measured on loopback.
const WRITE: Duration = Duration::from_nanos(11_000);
const KILOBYTE: Duration = Duration::from_nanos(420);
/// What it takes to read a message.
const READ: Duration = Duration::from_micros(5);
/// Players that are written to before anything else has its turn.
const PIECE: usize = 128;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

struct Stream {
    publisher: Publisher,
    _player: Player,
    pace: Arc<StreamPace>,
    players: usize,
    /// Bytes of a picture; the sound has a tenth of it.
    picture: usize,
    next_picture: Instant,
    next_sound: Instant,
    /// Since when frames wait, and how many bytes.
    waiting: Vec<Instant>,
    bytes: usize,
    sweep: Option<Sweep>,
    /// How long each frame waited until the last player had it.
    latencies: Vec<Duration>,
    windows: Vec<Duration>,
}

/// A sweep that goes on.
struct Sweep {
    began: Instant,
    took: Duration,
    done: usize,
    frames: Vec<Instant>,
    bytes: usize,
}

struct Thread {
    hub: Hub,
    load: ThreadLoad,
    start: Instant,
    now: Instant,
    streams: Vec<Stream>,
    ready: VecDeque<usize>,
    idle: Duration,
}

impl Thread {
    fn new(config: HubConfig) -> Self {
        #[allow(clippy::disallowed_methods)] // any instant does; the model's clock starts there
        let start = Instant::now();
        let hub = Hub::new(config);
        let load = hub.thread_load(start);
        let (streams, ready) = (Vec::new(), VecDeque::new());
        Thread { hub, load, start, now: start, streams, ready, idle: Duration::ZERO }
    }

    /// With the longest window as in the argument.
    fn with_longest(longest: Duration) -> Self {
        let mut config = HubConfig::default();
        config.pacing.merge_window_max = longest;
        Thread::new(config)
    }

    fn stream(&mut self, players: usize, kbps: usize) -> usize {
        let key = StreamKey::new(DEFAULT_VHOST, "live", &format!("s{}", self.streams.len())).expect("a name");
        let (publisher, player) = (self.hub.publish(&key).expect("it is free"), self.hub.play(&key));
        let pace = self.hub.pace(publisher.stream_id()).expect("it is there");
        self.load.join(pace.clone());
        // Streams are not in step with each other.
        let first = self.now + Duration::from_micros(7_919) * (self.streams.len() as u32 % 40);
        self.streams.push(Stream {
            publisher,
            _player: player,
            pace,
            players,
            picture: kbps * 1000 / 8 * 9 / 10 / 25,
            next_picture: first,
            next_sound: first,
            waiting: Vec::new(),
            bytes: 0,
            sweep: None,
            latencies: Vec::new(),
            windows: Vec::new(),
        });
        self.streams.len() - 1
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.read();
            self.wake();
            if !self.write() {
                let next = self.streams.iter().map(Stream::next).min().unwrap_or(end).min(end);
                let next = next.max(self.now + Duration::from_micros(1));
                let idle = next - self.now;
                (self.now, self.idle) = (next, self.idle + idle);
                self.load.idled(self.now, idle);
            }
        }
    }

    fn read(&mut self) {
        for stream in &mut self.streams {
            while let Some((type_id, time)) = stream.arrived(self.now) {
                let payload = [if type_id == MessageType::VIDEO { 0x27 } else { 0xAF }, 1, 0, 0, 0, 1][..].into();
                let timestamp = (time - self.start).as_millis() as u32;
                let message = Message { chunk_stream: 6, timestamp, type_id, message_stream_id: 1, payload };
                self.now += READ;
                stream.publisher.push(self.now, message).expect("it is on air");
                stream.windows.push(stream.publisher.window());
                stream.waiting.push(time);
                stream.bytes += if type_id == MessageType::VIDEO { stream.picture } else { stream.picture / 10 };
            }
        }
    }

    fn wake(&mut self) {
        for (index, stream) in self.streams.iter_mut().enumerate() {
            // While a sweep goes on, the next one waits for its end.
            if stream.sweep.is_none() && stream.publisher.take_wake(self.now) {
                let (frames, bytes) = (std::mem::take(&mut stream.waiting), std::mem::take(&mut stream.bytes));
                stream.sweep = Some(Sweep { began: self.now, took: Duration::ZERO, done: 0, frames, bytes });
                self.ready.push_back(index);
            }
        }
    }

    /// Writes a piece. False if there is nothing to write.
    fn write(&mut self) -> bool {
        let Some(index) = self.ready.pop_front() else { return false };
        let stream = &mut self.streams[index];
        let sweep = stream.sweep.as_mut().expect("it is ready");
        let count = PIECE.min(stream.players.saturating_sub(sweep.done));
        let took = (WRITE + KILOBYTE.mul_f64(sweep.bytes as f64 / 1000.0)) * count as u32;
        self.now += took;
        (sweep.took, sweep.done) = (sweep.took + took, sweep.done + count);
        if sweep.done < stream.players {
            self.ready.push_back(index);
            return true;
        }
        let sweep = stream.sweep.take().expect("it is there");
        stream.latencies.extend(sweep.frames.iter().map(|frame| self.now - *frame));
        self.load.swept(self.now, &stream.pace, sweep.began, stream.players, sweep.took);
        true
    }

    /// Runs for a time, and returns how busy the thread was in it.
    fn busy(&mut self, time: Duration) -> f64 {
        let (idle, began) = (self.idle, self.now);
        self.run(time);
        1.0 - (self.idle - idle).div_duration_f64(self.now - began)
    }

    fn window(&self, stream: usize) -> Duration {
        self.streams[stream].publisher.window()
    }
}

impl Stream {
    fn arrived(&mut self, now: Instant) -> Option<(u8, Instant)> {
        if self.next_picture <= now {
            let time = self.next_picture;
            self.next_picture += ms(40);
            return Some((MessageType::VIDEO, time));
        }
        if self.next_sound <= now {
            let time = self.next_sound;
            self.next_sound += Duration::from_micros(21_333);
            return Some((MessageType::AUDIO, time));
        }
        None
    }

    fn next(&self) -> Instant {
        let next = self.next_picture.min(self.next_sound);
        let wake = self.publisher.wake_deadline().filter(|_| self.sweep.is_none());
        wake.map_or(next, |wake| wake.min(next))
    }

    /// The latency that so many of a thousand frames do not exceed, and forgets all.
    fn latency(&mut self, of_thousand: usize) -> Duration {
        let mut all = std::mem::take(&mut self.latencies);
        all.sort_unstable();
        all[all.len() * of_thousand / 1000]
    }
}

const CONFIGURED: Duration = ms(20);

#[test]
fn a_thread_with_little_to_do_leaves_the_window_as_configured() {
    let mut thread = Thread::with_longest(ms(200));
    let stream = thread.stream(500, 1000);
    let busy = thread.busy(ms(5000));
    assert!(busy < CALM_ENOUGH, "{busy}");
    assert!(thread.streams[stream].windows.iter().all(|window| *window == CONFIGURED));
}

const CALM_ENOUGH: f64 = 0.5;

#[test]
fn frames_wait_longer_the_more_players_a_thread_has() {
    let (mut before, mut busy_before) = (CONFIGURED, 0.0);
    for players in [1000, 2000, 3000, 4000, 6000, 8000] {
        let mut thread = Thread::with_longest(ms(200));
        let stream = thread.stream(players, 600);
        thread.run(ms(3000));
        let (busy, window) = (thread.busy(ms(4000)), thread.window(stream));
        assert!(window >= before && busy >= busy_before - 0.02, "{players}: {window:?} and {busy}");
        assert!(busy < 0.85, "{players} players: {busy}");
        (before, busy_before) = (window, busy);
    }
    assert!(before > ms(100));
}

#[test]
fn where_even_the_longest_window_does_not_help_it_is_in_force() {
    let mut thread = Thread::with_longest(ms(100));
    let stream = thread.stream(12_000, 600);
    thread.run(ms(3000));
    let busy = thread.busy(ms(3000));
    assert!(busy > 0.95 && thread.window(stream) == ms(100), "{busy}");
}

#[test]
fn no_longest_window_beyond_the_configured_one_turns_it_off() {
    for longest in [CONFIGURED, ms(0)] {
        let mut thread = Thread::with_longest(longest);
        let stream = thread.stream(8000, 600);
        thread.run(ms(3000));
        assert!(thread.streams[stream].windows.iter().all(|window| *window == CONFIGURED));
    }
}

#[test]
fn the_window_follows_the_load_within_a_second_and_does_not_swing() {
    let mut thread = Thread::with_longest(ms(200));
    let stream = thread.stream(500, 600);
    thread.run(ms(3000));
    for players in [8000, 500, 4000, 8000, 3000, 500] {
        thread.streams[stream].players = players;
        // A sweep that goes on ends first.
        thread.run(ms(1000));
        let soon = thread.window(stream);
        thread.streams[stream].windows.clear();
        thread.run(ms(5000));
        let windows = &thread.streams[stream].windows;
        let (least, most) = (*windows.iter().min().expect("some"), *windows.iter().max().expect("some"));
        assert!(most - least <= most / 8, "{players} players: {least:?} to {most:?}");
        assert!(soon.abs_diff(most) <= most / 8, "{players} players: {soon:?}, then {most:?}");
    }
    assert_eq!(thread.window(stream), CONFIGURED);
}

#[test]
fn small_streams_do_not_wait_for_a_large_one() {
    let mut thread = Thread::with_longest(ms(200));
    let large = thread.stream(5000, 600);
    let small: Vec<_> = (0..200).map(|_| thread.stream(2, 600)).collect();
    thread.run(ms(5000));
    assert!(thread.window(large) > ms(60), "{:?}", thread.window(large));
    for stream in &mut thread.streams {
        stream.latencies.clear();
        stream.windows.clear();
    }
    let busy = thread.busy(ms(5000));
    assert!(busy < 0.95, "{busy}");
    for stream in small {
        let small = &mut thread.streams[stream];
        assert!(small.windows.iter().all(|window| *window == CONFIGURED));
        // The window, a piece of the large one, and the other small ones that have come at the same time.
        let latency = small.latency(990);
        assert!(latency < ms(30), "{latency:?}");
    }
}

#[test]
fn many_small_streams_wait_longer_together() {
    let mut thread = Thread::with_longest(ms(200));
    (0..700).for_each(|_| _ = thread.stream(3, 600));
    thread.run(ms(4000));
    let busy = thread.busy(ms(4000));
    let window = thread.window(0);
    assert!(window > CONFIGURED && busy < 0.95, "{window:?}, {busy}");
}

#[test]
fn a_pause_of_the_process_is_no_load() {
    let mut thread = Thread::with_longest(ms(200));
    let stream = thread.stream(300, 600);
    thread.run(ms(3000));
    // The thread does not run, in the middle of a sweep.
    let began = thread.now;
    thread.now += ms(400);
    thread.load.swept(thread.now, &thread.streams[stream].pace, began, 300, ms(400));
    thread.streams[stream].windows.clear();
    thread.run(ms(2000));
    let windows = &thread.streams[stream].windows;
    let longer = windows.iter().filter(|window| **window > CONFIGURED).count();
    assert!(longer * 4 < windows.len(), "{longer} of {}", windows.len());
    assert_eq!(thread.window(stream), CONFIGURED);
}

#[test]
fn the_longest_wish_of_all_threads_counts_until_it_ends() {
    let mut thread = Thread::with_longest(ms(200));
    let stream = thread.stream(3000, 600);
    thread.run(ms(2000));
    let pace = thread.streams[stream].pace.clone();
    let alone = thread.window(stream);
    assert!(alone > CONFIGURED);
    let mut other = thread.hub.thread_load(thread.now);
    other.join(pace.clone());
    for sweep in 0..10 {
        let began = thread.now + ms(100) * sweep;
        other.swept(began + ms(95), &pace, began, 6000, ms(95));
    }
    assert!(thread.window(stream) > alone + alone / 4);
    other.leave(&pace);
    assert_eq!(thread.window(stream), alone);
    thread.load.leave(&pace);
    assert_eq!(thread.window(stream), CONFIGURED);
}

#[test]
fn a_publisher_that_is_not_elastic_waits_as_configured() {
    let mut thread = Thread::with_longest(ms(200));
    let stream = thread.stream(5000, 600);
    thread.run(ms(2000));
    assert!(thread.window(stream) > ms(60));
    thread.streams[stream].publisher.set_elastic(false);
    assert_eq!(thread.window(stream), CONFIGURED);
    assert_eq!(thread.hub.streams()[0].merge_window, CONFIGURED, "the listing says so");
    thread.run(ms(1000));
    thread.streams[stream].publisher.set_elastic(true);
    thread.run(ms(1000));
    assert!(thread.window(stream) > ms(60));
    assert_eq!(thread.hub.streams()[0].merge_window, thread.window(stream));
}

#[test]
fn threads_tell_what_they_do() {
    let mut thread = Thread::with_longest(ms(200));
    thread.stream(2000, 600);
    thread.run(ms(3000));
    let shares = thread.hub.thread_shares(thread.now);
    let [share] = shares[..] else { panic!("{shares:?}") };
    assert!(share.busy > 0.3 && share.busy < 0.8 && share.sweeping <= share.busy, "{share:?}");
    let later = thread.now + IDLE_AFTER * 2;
    assert_eq!(thread.hub.thread_shares(later), [ThreadShare::default()], "it has had nothing to do");
    let hub = thread.hub.clone();
    drop(thread);
    assert!(hub.thread_shares(later).is_empty());
}

#[test]
fn a_stream_that_is_gone_has_no_pace() {
    let hub = Hub::new(HubConfig::default());
    let key = StreamKey::new(DEFAULT_VHOST, "live", "s").expect("a name");
    let player = hub.play(&key);
    let id = player.stream_id();
    assert!(hub.pace(id).is_some());
    drop(player);
    assert!(hub.pace(id).is_none() && hub.paces_known() == 0);
}

#[test]
fn a_load_at_the_edge_does_not_swing() {
    for players in [1000, 1200, 1500, 1800, 2000, 2500] {
        let mut thread = Thread::with_longest(ms(150));
        let stream = thread.stream(players, 600);
        thread.run(ms(3000));
        thread.streams[stream].windows.clear();
        thread.run(ms(10_000));
        let windows = &thread.streams[stream].windows;
        let (least, most) = (*windows.iter().min().expect("some"), *windows.iter().max().expect("some"));
        assert!(most - least <= most / 8, "{players} players: {least:?} to {most:?}");
    }
}

#[test]
fn a_window_of_zero_stays() {
    let mut config = HubConfig::default();
    config.pacing.merge_window = Duration::ZERO;
    let mut thread = Thread::new(config);
    let stream = thread.stream(6000, 600);
    thread.run(ms(3000));
    assert!(thread.streams[stream].windows.iter().all(Duration::is_zero), "everything leaves at once");
    assert_eq!(thread.hub.streams()[0].merge_window, Duration::ZERO);
}

#[test]
fn one_that_was_superseded_does_not_change_how_its_successor_is_paced() {
    let mut thread = Thread::with_longest(ms(150));
    let stream = thread.stream(5000, 600);
    thread.run(ms(2000));
    let key = thread.streams[stream].publisher.key().clone();
    let address = "192.0.2.1:1935".parse().expect("an address");
    // A relay takes over from another one.
    drop(std::mem::replace(
        &mut thread.streams[stream].publisher,
        thread
            .hub
            .publish_relay(&StreamKey::new(DEFAULT_VHOST, "live", "other").expect("a name"), 0, address)
            .expect("free"),
    ));
    let mut first = thread.hub.publish_relay(&key, 1, address).expect("it is free");
    let second = thread.hub.publish_relay(&key, 2, address).expect("it takes over");
    thread.streams[stream].publisher = second;
    first.set_elastic(false);
    thread.run(ms(2000));
    assert!(thread.window(stream) > ms(60), "{:?}", thread.window(stream));
}

#[test]
fn reading_publishers_makes_the_frames_of_a_few_players_wait_only_on_a_full_thread() {
    for (streams, most) in [(500, CONFIGURED), (700, CONFIGURED * 2)] {
        let mut thread = Thread::with_longest(ms(150));
        (0..streams).for_each(|_| _ = thread.stream(1, 600));
        thread.run(ms(3000));
        let busy = thread.busy(ms(2000));
        assert!(thread.window(0) <= most, "{streams} streams: {:?}, {busy}", thread.window(0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever comes: windows are within their bounds, and what a thread can do with the longest windows it does.
    #[test]
    fn with_any_load(
        configured in 0_u64..60,
        longest in 0_u64..400,
        steps in prop::collection::vec((prop::collection::vec(1_usize..6000, 1..5), 50_usize..3000), 1..4),
    ) {
        let mut config = HubConfig::default();
        (config.pacing.merge_window, config.pacing.merge_window_max) = (ms(configured), ms(longest));
        let mut thread = Thread::new(config);
        for (players, kbps) in steps {
            for (index, players) in players.iter().enumerate() {
                match thread.streams.get_mut(index) {
                    Some(stream) => stream.players = *players,
                    None => _ = thread.stream(*players, kbps),
                }
            }
            thread.run(ms(2500));
            for stream in &mut thread.streams {
                stream.windows.clear();
            }
            let busy = thread.busy(ms(2500));
            let all: usize = thread.streams.iter().map(|stream| stream.players).sum();
            for stream in &thread.streams {
                let (least, most) = (stream.windows.iter().min(), stream.windows.iter().max());
                let (Some(least), Some(most)) = (least, most) else { continue };
                prop_assert!(*least >= ms(configured) && *most <= ms(longest.max(configured)));
                // A wish is not told if it differs by a sixteenth.
                if all < 2000 {
                    prop_assert!(*most - *least <= *most / 5 + ms(2), "{:?} to {:?}, {} busy", least, most, busy);
                }
            }
        }
    }
}
