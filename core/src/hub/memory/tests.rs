use proptest::prelude::*;

use super::*;
use crate::hub::{Conflict, HubConfig, Player, Publisher};
use crate::message::Message;
use crate::policy::Limits;
use crate::source::SourceLimits;
use crate::url::DEFAULT_VHOST;

fn key(name: &str) -> StreamKey {
    StreamKey::new(DEFAULT_VHOST, "live", name).expect("a name")
}

#[allow(clippy::disallowed_methods)] // any instant will do
fn any_instant() -> Instant {
    Instant::now()
}

fn video(first: u8, time: u32, length: usize) -> Message {
    let mut body = vec![first, 1, 0, 0, 0];
    body.resize(length.max(6), 7);
    Message::video(time, body.as_slice())
}

/// A GOP of ten pictures of `length` bytes each.
fn gop(publisher: &mut Publisher, now: Instant, number: u32, length: usize) {
    for picture in 0..10 {
        let first = if picture == 0 { 0x17 } else { 0x27 };
        publisher.push(now, video(first, (number * 10 + picture) * 100, length)).expect("no takeover");
    }
}

/// How many frames the player gets now.
fn frames(player: &mut Player) -> usize {
    let mut count = 0;
    player.pull(|frame| {
        count += usize::from(!frame.is_header());
        true
    });
    count
}

#[test]
fn the_largest_gives_and_streams_within_their_share_keep_their_gop() {
    let (hub, now) = (Hub::new(HubConfig::default()), any_instant());
    hub.limit_memory(1 << 20);
    let mut small: Vec<Publisher> =
        (0..20).map(|number| hub.publish(&key(&format!("small{number}"))).expect("free")).collect();
    for publisher in &mut small {
        gop(publisher, now, 0, 1000);
    }
    let before = hub.memory();
    assert!((before.given, before.held > 200_000) == (0, true), "{before:?}");
    let mut large = hub.publish(&key("large")).expect("free");
    // There is a player, and it takes nothing.
    let _slow = hub.play(large.key());
    large.push(now, video(0x17, 0, 10_000)).expect("no takeover");
    for number in 1..500 {
        large.push(now, video(0x27, number * 40, 10_000)).expect("no takeover");
        let memory = hub.memory();
        assert!(memory.held <= memory.limit, "{memory:?}");
    }
    for publisher in &small {
        assert_eq!(frames(&mut hub.play(publisher.key())), 10, "of {}", publisher.key());
    }
    let mut player = hub.play(large.key());
    assert_eq!(frames(&mut player), 0, "it waits");
    large.push(now, video(0x17, 20_000, 10_000)).expect("no takeover");
    assert_eq!(frames(&mut player), 1, "until the next key frame");
    let memory = hub.memory();
    assert!(memory.logs_given > 0 && memory.given > 3_000_000, "{memory:?}");
    let reliefs = hub.take_reliefs();
    assert_eq!(reliefs.iter().map(|relief| relief.gave).collect::<Vec<_>>(), [Gave::Log], "reported once: {reliefs:?}");
    assert_eq!(reliefs[0].key, *large.key());
}

/// A superseded publisher may stay connected; it must not keep what its successor sent.
#[test]
fn a_removed_stream_holds_nothing_for_superseded_publishers() {
    let (hub, now) = (Hub::new(HubConfig::default()), any_instant());
    let admit = || {
        let admitted = hub.admit_publisher(now, &key("cam"), "token", Conflict::TakeOver, &Limits::default());
        admitted.expect("it shows the token")
    };
    for last_is_a_player in [false, true] {
        let _taken_over_from: Vec<Publisher> = (0..3).map(|_| admit()).collect();
        let mut last = admit();
        gop(&mut last, now, 0, 10_000);
        let player = last_is_a_player.then(|| hub.play(&key("cam")));
        drop(last);
        assert!(player.is_none() || hub.memory().held > 100_000, "what can still be read is there");
        drop(player);
        assert!(hub.streams().is_empty());
        let held = hub.memory().held;
        assert!(held < 1000, "no stream, and {held} bytes of it");
    }
}

#[test]
fn a_report_is_repeated_after_a_minute() {
    let (hub, now) = (Hub::new(HubConfig::default()), any_instant());
    hub.limit_memory(100_000);
    let mut publisher = hub.publish(&key("cam")).expect("free");
    let _player = hub.play(publisher.key());
    for (seconds, reports) in [(0, 1), (1, 0), (59, 0), (61, 1), (62, 0)] {
        let now = now + Duration::from_secs(seconds);
        for number in 0..100 {
            publisher.push(now, video(0x27, number, 10_000)).expect("no takeover");
        }
        assert_eq!(hub.take_reliefs().len(), reports, "after {seconds} s");
    }
}

#[test]
fn the_past_goes_before_the_newest_gop() {
    let (hub, now) = (Hub::new(HubConfig::default()), any_instant());
    let mut publishers: Vec<Publisher> =
        ["a", "b", "c"].map(|name| hub.publish(&key(name)).expect("free")).into_iter().collect();
    // Each stream has a player, so that the frames before the key frame are kept.
    let _players: Vec<Player> = publishers.iter().map(|publisher| hub.play(publisher.key())).collect();
    for number in 0..5 {
        for publisher in &mut publishers {
            gop(publisher, now, number, 5000);
        }
    }
    let held = hub.memory().held;
    assert!(held > 700_000, "{held}");
    hub.limit_memory(500_000);
    let memory = hub.memory();
    assert!(memory.held <= 500_000 && memory.logs_given == 0, "{memory:?}");
    for publisher in &publishers {
        assert_eq!(frames(&mut hub.play(publisher.key())), 10, "of {}", publisher.key());
    }
    assert!(hub.take_reliefs().iter().all(|relief| relief.gave == Gave::Past));
}

#[test]
fn headers_in_force_go_last_and_the_stream_goes_on() {
    let (hub, now) = (Hub::new(HubConfig::default()), any_instant());
    hub.limit_memory(400_000);
    let mut publisher = hub.publish(&key("cam")).expect("free");
    let metadata = [b"\x02\x00\x0aonMetaData".as_slice(), &[5; 150_000]].concat();
    publisher.push(now, Message::data(0, metadata.as_slice())).expect("no takeover");
    publisher.push(now, video(0x17, 0, 90_000)).expect("no takeover");
    assert!((150_000..300_000).contains(&hub.memory().held), "only the log went: {:?}", hub.memory());
    hub.limit_memory(150_000);
    assert!(hub.memory().held < 10_000, "{:?}", hub.memory());
    publisher.push(now, video(0x17, 40, 1000)).expect("no takeover");
    assert_eq!(frames(&mut hub.play(publisher.key())), 1);
}

#[test]
fn nothing_is_held_when_all_have_gone() {
    let (hub, now) = (Hub::new(HubConfig::default()), any_instant());
    let mut publisher = hub.publish(&key("cam")).expect("free");
    let player = hub.play(publisher.key());
    gop(&mut publisher, now, 0, 5000);
    assert!(hub.memory().held > 50_000);
    publisher.end(now);
    assert!(hub.memory().held > 50_000, "the player may read the rest");
    drop(player);
    assert_eq!(hub.memory().held, 0);
}

#[test]
fn two_thousand_cameras_fit_a_machine_of_two_gibibytes() {
    let (hub, now) = (Hub::new(HubConfig::default()), any_instant());
    let mut camera = hub.publish(&key("cam")).expect("free");
    let mut most = 0;
    // 200 kbit/s: 25 pictures a second with a key frame each 4 s, and sound of 32 kbit/s in 43 messages.
    for number in 0..10 * 68u32 {
        let (second, part) = (number / 68, number % 68);
        let time = second * 1000 + part * 14;
        let message = match (part < 25, second % 4 == 0 && part == 0) {
            (true, true) => video(0x17, time, 12_000),
            (true, false) => video(0x27, time, 720),
            (false, _) => Message::audio(time, [&[0xaf, 1][..], &[1; 93]].concat().as_slice()),
        };
        camera.push(now, message).expect("no takeover");
        most = most.max(hub.memory().held);
    }
    assert!(most <= 300_000, "{most} bytes");
    assert!(most * 2000 < (1 << 30) * 7 / 8, "half of the machine, less what is kept free");
}

#[test]
fn shares_are_equal_except_for_those_that_need_less() {
    assert_eq!(share([10, 5, 1].into_iter(), 16), usize::MAX);
    assert_eq!(share([10, 5, 1].into_iter(), 15), 9);
    assert_eq!(share([10, 5, 1].into_iter(), 7), 3);
    assert_eq!(share([10, 10, 10].into_iter(), 0), 0);
    assert_eq!(share([].into_iter(), 0), usize::MAX);
}

#[derive(Debug, Clone)]
enum Step {
    /// One of the streams sends messages of a kind, so many of them.
    Push(usize, Kind, usize, u8),
    /// Its publisher ends, and another one begins.
    Publish(usize),
    Play(usize),
    Leave,
    Limit(usize),
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Key,
    Inter,
    Audio,
    /// Headers that differ each time.
    Header,
    Metadata,
    Tracks,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        Just(Kind::Key),
        Just(Kind::Inter),
        Just(Kind::Audio),
        Just(Kind::Header),
        Just(Kind::Metadata),
        Just(Kind::Tracks),
    ];
    let length = prop_oneof![5 => 6..200usize, 3 => 200..20_000usize, 1 => 20_000..300_000usize];
    prop_oneof![
        20 => (0..4usize, kind, length, 1..8u8).prop_map(|(stream, kind, length, times)| Step::Push(stream, kind, length, times)),
        1 => (0..4usize).prop_map(Step::Publish),
        2 => (0..4usize).prop_map(Step::Play),
        2 => Just(Step::Leave),
        1 => (50_000..2_000_000usize).prop_map(Step::Limit),
    ]
}

fn message(kind: Kind, number: u32, length: usize) -> Message {
    let body = |head: &[u8]| {
        let mut body = head.to_vec();
        body.extend_from_slice(&number.to_be_bytes());
        body.resize(body.len().max(length), 7);
        body
    };
    match kind {
        Kind::Key => Message::video(number, body(&[0x17, 1, 0, 0, 0]).as_slice()),
        Kind::Inter => Message::video(number, body(&[0x27, 1, 0, 0, 0]).as_slice()),
        Kind::Audio => Message::audio(number, body(&[0xaf, 1]).as_slice()),
        Kind::Header => Message::video(number, body(&[0x17, 0, 0, 0, 0]).as_slice()),
        Kind::Metadata => Message::data(number, body(b"\x02\x00\x0aonMetaData").as_slice()),
        // A header of one track of many: E-RTMP multitrack, one track, AVC.
        Kind::Tracks => {
            let track = (number % 17) as u8;
            Message::video(number, body(&[&[0x96, 0x00][..], b"avc1", &[track]].concat()).as_slice())
        }
    }
}

proptest! {
    #[test]
    fn together_they_hold_no_more_than_they_may(steps in prop::collection::vec(step(), 1..80)) {
        let (hub, now) = (Hub::new(HubConfig { source: SourceLimits::default(), ..HubConfig::default() }), any_instant());
        hub.limit_memory(500_000);
        let names: Vec<StreamKey> = (0..4).map(|number| key(&number.to_string())).collect();
        let mut publishers: Vec<Option<Publisher>> = (0..4).map(|_| None).collect();
        let mut players: Vec<Player> = Vec::new();
        let mut number = 0;
        for step in steps {
            match step {
                Step::Push(stream, kind, length, times) => {
                    let publisher = publishers[stream].get_or_insert_with(|| hub.publish(&names[stream]).expect("free"));
                    for _ in 0..times {
                        number += 1;
                        publisher.push(now, message(kind, number, length)).expect("no takeover");
                        let memory = hub.memory();
                        prop_assert!(memory.held <= memory.limit, "{:?}", memory);
                    }
                }
                Step::Publish(stream) => {
                    publishers[stream] = None;
                    publishers[stream] = hub.publish(&names[stream]).ok();
                }
                Step::Play(stream) => players.push(hub.play(&names[stream])),
                Step::Leave => drop(players.pop()),
                Step::Limit(limit) => hub.limit_memory(limit),
            }
            let memory = hub.memory();
            prop_assert!(memory.held <= memory.limit, "{:?}", memory);
            prop_assert_eq!(memory.held, hub.streams().iter().map(|stream| stream.held_bytes).sum::<usize>());
        }
        drop((publishers, players));
        prop_assert_eq!(hub.memory().held, 0);
    }
}
