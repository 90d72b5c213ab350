use proptest::prelude::*;

use super::*;
use crate::amf::{Limits, Object, Value};
use crate::command::reply;

const MS: Duration = Duration::from_millis(1);

fn clock() -> Instant {
    #[allow(clippy::disallowed_methods)] // any instant is fine as the start of the test's clock
    Instant::now()
}

/// The client and the link, on a virtual clock.
struct Client {
    check: BandwidthCheck,
    start: Instant,
    now: Instant,
    /// Bytes per millisecond that the link takes from the queue.
    link: usize,
    /// Bytes per millisecond that the client uploads, in one message each time the server reads.
    upload: usize,
    /// The client does not answer in this phase.
    mute: Option<Phase>,
    /// The client ends its upload after this many milliseconds.
    stop_after: Option<u32>,
    queued: usize,
    most_queued: usize,
    publishing: Option<Instant>,
    /// Names and arguments of the received commands, except data packets, with the time in ms.
    log: Vec<(u128, String, Object)>,
    /// Number of properties of each data packet, with the time in ms.
    packets: Vec<(u128, usize)>,
    played: u64,
    /// Bytes of the last packet.
    last_packet: usize,
}

impl Client {
    fn new(limit_kbps: u32) -> Self {
        let start = clock();
        Client {
            check: BandwidthCheck::new(&BandwidthConfig { limit_kbps, ..BandwidthConfig::default() }, start),
            start,
            now: start,
            link: usize::MAX,
            upload: 1000,
            mute: None,
            stop_after: None,
            queued: 0,
            most_queued: 0,
            publishing: None,
            log: Vec::new(),
            packets: Vec::new(),
            played: 0,
            last_packet: 0,
        }
    }

    fn flash(mut self) -> Self {
        self.check = self.check.with_swf_url(Some("http://host/player.swf"));
        self
    }

    fn ms(&self) -> u128 {
        (self.now - self.start).as_millis()
    }

    fn answer(&mut self, phase: Phase, name: &str) {
        if self.mute != Some(phase) {
            self.send(name, 100);
        }
    }

    fn send(&mut self, name: &str, bytes: usize) {
        self.check.handle(self.now, &Command::new(name, 0.0, Value::Null), bytes);
    }

    fn take(&mut self, command: &Command) {
        let body = command.encode();
        // Data packets grow to a largest size and are then all equal: only one of those is parsed.
        let again = command.name.as_str() == Some(packet::PLAYING) && body.len() == self.last_packet;
        if !again {
            assert_eq!(Command::parse(20, &body, &Limits::default()).as_ref(), Ok(command));
        }
        self.last_packet = body.len();
        self.queued += body.len();
        assert_eq!((command.transaction, &command.object, command.arguments.len()), (0.0, &Value::Null, 1));
        let object = command.arguments[0].as_object().expect("the argument is an object").clone();
        let name = command.name.as_str().expect("a name is text");
        if name == packet::PLAYING {
            self.most_queued = self.most_queued.max(self.queued);
            self.played += body.len() as u64;
            self.packets.push((self.ms(), object.len()));
            return;
        }
        self.log.push((self.ms(), name.to_owned(), object));
        match name {
            packet::START_PLAY => self.answer(Phase::PlayStart, packet::STARTING_PLAY),
            packet::STOP_PLAY => self.answer(Phase::PlayStop, packet::STOPPED_PLAY),
            packet::START_PUBLISH => {
                self.publishing = Some(self.now);
                self.answer(Phase::PublishStart, packet::STARTING_PUBLISH);
            }
            packet::STOP_PUBLISH => {
                self.publishing = None;
                self.answer(Phase::PublishStop, packet::STOPPED_PUBLISH);
            }
            packet::FINISHED => self.answer(Phase::Final, packet::FINAL),
            other => panic!("{other} is no packet of a server"),
        }
    }

    /// Runs the check to its end, one millisecond at a time.
    fn run(&mut self) -> Outcome {
        for _ in 0..60_000 {
            loop {
                match self.check.poll(self.now, self.queued) {
                    Step::Send(command) => self.take(&command),
                    Step::Wait(until) => {
                        assert!(until > self.now, "the time to wait for is in the future");
                        break;
                    }
                    Step::Finished(outcome) => return outcome,
                }
            }
            self.now += MS;
            self.queued = self.queued.saturating_sub(self.link);
            if let Some(since) = self.publishing {
                if self.stop_after.is_some_and(|ms| self.now == since + MS * ms) {
                    self.publishing = None;
                    self.send(packet::STOP_PUBLISH, 100);
                } else if self.check.wants_input() && self.upload > 0 {
                    self.send("onSrsBandCheckPublishing", self.upload);
                }
            }
        }
        panic!("the check does not end: {:?}", self.check);
    }

    fn names(&self) -> Vec<&str> {
        self.log.iter().map(|(_, name, _)| name.as_str()).collect()
    }

    fn object(&self, name: &str) -> Vec<(&str, f64)> {
        let (_, _, object) = self.log.iter().find(|(_, known, _)| known == name).expect("the packet was sent");
        object.iter().map(|(key, value)| (key.as_str().expect("text"), value.as_number().expect("a number"))).collect()
    }
}

fn measured(outcome: Outcome) -> (Throughput, Throughput) {
    match outcome {
        Outcome::Measured { play, publish } => (play, publish),
        Outcome::Timeout(phase) => panic!("{phase:?} timed out"),
    }
}

const ALL: [&str; 5] =
    [packet::START_PLAY, packet::STOP_PLAY, packet::START_PUBLISH, packet::STOP_PUBLISH, packet::FINISHED];

#[test]
fn a_whole_check_measures_both_directions_and_tells_the_client() {
    let mut client = Client::new(1000);
    client.upload = 50; // 400 kbit/s
    let (play, publish) = measured(client.run());

    assert_eq!(client.names(), ALL);
    let times: Vec<u128> = client.log.iter().map(|(ms, ..)| *ms).collect();
    assert_eq!(times, [0, 3000, 3000, 6000, 6000]);
    assert_eq!(client.ms(), 6600, "the connection stays open for 600 ms");

    assert_eq!(play, Throughput { bytes: client.played, ms: 3000 });
    assert!((950..=1000).contains(&play.kbps()), "{}", play.kbps());
    // Bytes that arrive in the millisecond in which the time ends still count.
    assert_eq!(publish, Throughput { bytes: 3000 * 50, ms: 3000 });
    assert_eq!(publish.kbps(), 400);

    let start = [("limit_kbps", 1000.0), ("duration_ms", 3000.0), ("interval_ms", 0.0)];
    assert_eq!(client.object(packet::START_PLAY), start);
    assert_eq!(client.object(packet::START_PUBLISH), start);
    let bytes = client.played as f64;
    assert_eq!(
        client.object(packet::STOP_PLAY),
        [("duration_ms", 3000.0), ("interval_ms", 0.0), ("duration_delta", 3000.0), ("bytes_delta", bytes)]
    );
    assert_eq!(
        client.object(packet::STOP_PUBLISH),
        [("duration_ms", 3000.0), ("interval_ms", 0.0), ("duration_delta", 3000.0), ("bytes_delta", 150_000.0)]
    );
    assert_eq!(
        client.object(packet::FINISHED),
        [
            ("start_time", 0.0),
            ("end_time", 6000.0),
            ("play_kbps", (client.played * 8 / 3000) as f64),
            ("publish_kbps", 400.0),
            ("play_bytes", bytes),
            ("publish_bytes", 150_000.0),
            ("play_time", 3000.0),
            ("publish_time", 3000.0),
        ]
    );
    let outcome = Outcome::Measured { play, publish };
    assert_eq!(client.check.poll(client.now, 0), Step::Finished(outcome), "the check stays finished");
}

#[test]
fn data_comes_in_growing_packets_with_naps_between() {
    let mut client = Client::new(1000);
    client.run();
    let sizes: Vec<usize> = client.packets.iter().map(|(_, size)| *size).collect();
    let expected: Vec<usize> = (0..sizes.len()).map(|index| 2 * index + 1).collect();
    assert_eq!(sizes, expected);
    assert!(sizes.len() > 50);
    let mut times: Vec<u128> = client.packets.iter().map(|(ms, _)| *ms).collect();
    times.dedup();
    assert!(times.iter().all(|ms| ms % 100 == 0), "{times:?}");
    assert!(times.len() >= 25, "{times:?}");
    let packet = packet::playing(3);
    let properties = packet.arguments[0].as_object().expect("an object").iter();
    let names: Vec<&str> = properties.clone().filter_map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["0", "1", "2", "3", "4", "5", "6"]);
    assert!(properties.clone().all(|(_, value)| value.as_str().is_some()));
}

#[test]
fn a_data_packet_has_a_largest_size() {
    let largest = packet::playing(u32::MAX).encode().len();
    assert!((MAX_PLAYING_BYTES - 512..=MAX_PLAYING_BYTES).contains(&largest), "{largest}");
}

#[test]
fn a_slow_link_is_measured_and_its_queue_stays_short() {
    let mut client = Client::new(100_000);
    client.link = 25; // 200 kbit/s
    let (play, _) = measured(client.run());
    assert!(client.most_queued <= MAX_QUEUED, "{}", client.most_queued);
    assert!(client.most_queued > MAX_QUEUED / 2, "{}", client.most_queued);
    // 200 kbit/s except during the first pause, before which one small packet was sent.
    assert_eq!(play.kbps(), 193);
}

#[test]
fn a_fast_link_is_used_up_to_the_limit() {
    let mut client = Client::new(50_000);
    client.link = 20_000;
    let (play, _) = measured(client.run());
    assert!((48_000..=50_100).contains(&play.kbps()), "{}", play.kbps());
}

#[test]
fn upload_is_throttled_by_not_reading() {
    let mut client = Client::new(1000);
    client.upload = 1000; // 8000 kbit/s
    let (_, publish) = measured(client.run());
    assert!((900..=1100).contains(&publish.kbps()), "{}", publish.kbps());
    assert!(client.check.wants_input());
}

#[test]
fn messages_that_are_not_commands_count_as_upload_too() {
    let mut client = Client::new(1000);
    client.upload = 0;
    let start = client.now;
    let mut check = client.check.clone();
    check.received(start, 7777); // not measured yet
    for answer in [packet::STARTING_PLAY, packet::STOPPED_PLAY, packet::STARTING_PUBLISH] {
        check.poll(client.now, 0);
        check.handle(client.now, &Command::new(answer, 0.0, Value::Null), 5);
        if answer == packet::STARTING_PLAY {
            client.now += DURATION;
        }
    }
    check.received(client.now, 1250);
    assert!(!check.wants_input());
    check.handle(client.now + 10 * MS, &Command::new(packet::STOP_PUBLISH, 0.0, Value::Null), 50);
    let Step::Send(command) = check.poll(client.now + 10 * MS, 0) else { panic!("the upload has ended") };
    assert_eq!(command, packet::stop(packet::STOP_PUBLISH, Throughput { bytes: 1300, ms: 10 }));
}

#[test]
fn a_client_may_end_its_upload_early() {
    for flash in [false, true] {
        let mut client = Client::new(1000);
        client.stop_after = Some(1500);
        client.upload = 10;
        let mut client = if flash { client.flash() } else { client };
        let (_, publish) = measured(client.run());
        assert_eq!(client.names(), ALL);
        assert_eq!(publish, Throughput { bytes: 1499 * 10 + 100, ms: 1500 });
        assert_eq!(client.ms(), 5100);
    }
}

#[test]
fn flash_is_not_waited_for_at_the_end() {
    for phase in [Phase::PublishStop, Phase::Final] {
        let mut client = Client::new(1000).flash();
        client.mute = Some(phase);
        measured(client.run());
        assert_eq!(client.names(), ALL);
        assert_eq!(client.ms(), 6600);
    }
    let mut client = Client::new(1000).flash();
    client.mute = Some(Phase::PlayStop);
    assert_eq!(client.run(), Outcome::Timeout(Phase::PlayStop));
    let mut client = Client::new(1000);
    client.check = client.check.with_swf_url(Some(""));
    client.mute = Some(Phase::PublishStop);
    assert_eq!(client.run(), Outcome::Timeout(Phase::PublishStop), "an empty swfUrl counts as absent");
}

#[test]
fn silence_ends_the_check_after_six_seconds() {
    for (phase, begun) in
        [(Phase::PlayStart, 0), (Phase::PlayStop, 3000), (Phase::PublishStart, 3000), (Phase::PublishStop, 6000)]
    {
        let mut client = Client::new(1000);
        client.mute = Some(phase);
        assert_eq!(client.run(), Outcome::Timeout(phase));
        assert_eq!(client.ms(), begun + 6000);
        assert!(client.check.wants_input());
    }
}

#[test]
fn silence_after_the_result_does_not_matter() {
    let mut client = Client::new(1000);
    client.mute = Some(Phase::Final);
    let (play, publish) = measured(client.run());
    assert!(play.kbps() > 900 && publish.kbps() > 900);
    assert_eq!(client.ms(), 12_600);
}

#[test]
fn an_upload_of_nothing_is_a_result() {
    let mut client = Client::new(1000);
    client.upload = 0;
    let (_, publish) = measured(client.run());
    assert_eq!((publish, publish.kbps()), (Throughput { bytes: 0, ms: 3000 }, 0));
}

#[test]
fn other_commands_and_answers_out_of_turn_mean_nothing() {
    let start = clock();
    let mut check = BandwidthCheck::new(&BandwidthConfig::default(), start);
    let fresh = check.clone();
    let every = [packet::STARTING_PLAY, packet::STOPPED_PLAY, packet::STARTING_PUBLISH, packet::STOP_PUBLISH, "play"];
    for name in every {
        check.handle(start, &Command::new(name, 0.0, Value::Null), 10);
    }
    assert_eq!(check, fresh);
    check.poll(start, 0);
    let asked = check.clone();
    for name in &every[1..] {
        check.handle(start, &Command::new(name, 0.0, Value::Null), 10);
    }
    assert_eq!(check, asked);
}

#[test]
fn a_late_poll_measures_the_time_that_passed() {
    let start = clock();
    let mut check = BandwidthCheck::new(&BandwidthConfig::default(), start);
    check.poll(start, 0);
    check.handle(start, &Command::new(packet::STARTING_PLAY, 0.0, Value::Null), 10);
    let Step::Send(data) = check.poll(start, 0) else { panic!("data follows") };
    let bytes = data.encode().len() as u64;
    let Step::Send(stop) = check.poll(start + 5000 * MS, 20) else { panic!("the time has ended") };
    assert_eq!(stop, packet::stop(packet::STOP_PLAY, Throughput { bytes: bytes - 20, ms: 5000 }));
}

#[test]
fn the_gate_admits_one_check_an_interval() {
    let start = clock();
    let mut gate = Gate::new(BandwidthConfig::default().interval);
    assert_eq!(gate.admit(start), Ok(()));
    assert_eq!(gate.admit(start), Err(TooSoon { remaining: 30_000 * MS }));
    assert_eq!(gate.admit(start + 29_999 * MS), Err(TooSoon { remaining: MS }));
    assert_eq!(gate.admit(start + 30_000 * MS), Ok(()));
    let error = gate.admit(start + 30_001 * MS).expect_err("a new interval begins");
    assert_eq!(error.to_string(), "the next bandwidth check may begin in 29999 ms");
    assert_eq!(
        error.notice(),
        reply::on_status(reply::Level::Error, "NetConnection.Connect.Rejected", "bandcheck rejected")
    );
}

#[test]
fn the_key_is_looked_for_in_the_tc_url_and_never_shown() {
    let config = BandwidthConfig { key: "35c9".to_owned(), ..BandwidthConfig::default() };
    for (tc_url, allowed) in [
        ("rtmp://host/app?key=35c9&vhost=check", true),
        ("rtmp://host/app?key=35c9,vhost=check", true),
        ("rtmp://host/app?key=no&key=35c9", true),
        ("rtmp://host/app?key=35c8", false),
        ("rtmp://host/app?key=", false),
        ("rtmp://host/app/35c9", false),
    ] {
        assert_eq!(config.allows(tc_url), allowed, "{tc_url}");
    }
    assert!(!format!("{config:?}").contains("35c9"));
    assert!(BandwidthConfig::default().allows("rtmp://host/app?key="));
    assert!(!BandwidthConfig::default().allows("rtmp://host/app"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))] // each runs seven seconds of virtual time

    #[test]
    fn any_link_and_limit_end_in_time_with_a_short_queue(
        limit in prop_oneof![Just(0), Just(u32::MAX), 1..100_000_u32],
        // Rates of every magnitude. The test takes longer with a faster link, so the rates are limited.
        link in prop_oneof![1..10_usize, 10..100_usize, 100..1_000_usize, 1_000..5_000_usize],
        upload in 0..100_000_usize,
    ) {
        let mut client = Client::new(limit);
        (client.link, client.upload) = (link, upload);
        let (play, publish) = measured(client.run());
        prop_assert_eq!(client.ms(), 6600);
        prop_assert!(client.most_queued <= MAX_QUEUED);
        // Each direction may exceed the limit by the one message that crosses it.
        let most = u64::from(limit) * 3000 / 8;
        prop_assert!(play.bytes <= most + MAX_PLAYING_BYTES as u64);
        prop_assert!(publish.bytes <= most + upload as u64);
    }
}
