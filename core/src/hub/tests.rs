use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::message::{Message, MessageType, Payload};
use crate::policy::Limits;
use crate::source::Frame;
use crate::source::Gap;
use crate::url::DEFAULT_VHOST;

fn any_instant() -> std::time::Instant {
    #[allow(clippy::disallowed_methods)] // any instant will do; nothing else reads the clock
    std::time::Instant::now()
}

fn key(stream: &str) -> StreamKey {
    StreamKey::new(DEFAULT_VHOST, "live", stream).expect("a good name")
}

fn video(timestamp: u32, body: &[u8]) -> Message {
    let payload = Payload::from(body);
    Message { chunk_stream: 6, timestamp, type_id: MessageType::VIDEO, message_stream_id: 1, payload }
}

fn key_frame(timestamp: u32) -> Message {
    video(timestamp, &[0x17, 1, 0, 0, 0, 9])
}

/// The times of all frames that the player can take, and why there are no more. The player has missed nothing.
fn pull(player: &mut Player) -> (Vec<u32>, PullEnd) {
    let (times, Pulled { missed, end }) = pull_all(player);
    assert_eq!(missed, Gap::default());
    (times, end)
}

fn pull_all(player: &mut Player) -> (Vec<u32>, Pulled) {
    let mut times = Vec::new();
    let pulled = player.pull(|frame: &Frame| {
        times.push(frame.timestamp());
        true
    });
    (times, pulled)
}

#[test]
fn a_name_has_one_publisher_until_that_is_dropped() {
    let hub = Hub::new(HubConfig::default());
    let first = hub.publish(&key("cam")).expect("free");
    assert_eq!(hub.publish(&key("cam")).expect_err("taken"), Busy);
    let other = hub.publish(&key("other")).expect("another name");
    assert_ne!(first.stream_id(), other.stream_id());
    drop(first);
    assert!(hub.publish(&key("cam")).is_ok());
}

#[test]
fn one_of_many_that_try_at_once_gets_the_name() {
    let hub = Hub::new(HubConfig::default());
    let (won, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let barrier = std::sync::Barrier::new(8);
    for _ in 0..20 {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    let publisher = hub.publish(&key("cam"));
                    let counter = if publisher.is_ok() { &won } else { &lost };
                    counter.fetch_add(1, Ordering::Relaxed);
                    // No thread drops its publisher before all have tried.
                    barrier.wait();
                });
            }
        });
    }
    assert_eq!((won.into_inner(), lost.into_inner()), (20, 140));
    assert!(hub.streams().is_empty());
}

#[test]
fn players_are_counted_and_a_stream_without_publisher_and_players_is_removed() {
    let hub = Hub::new(HubConfig::default());
    let seen = |hub: &Hub| hub.streams().iter().map(|stream| (stream.published, stream.players)).collect::<Vec<_>>();
    assert_eq!(seen(&hub), []);
    let first = hub.play(&key("cam"));
    let second = hub.play(&key("cam"));
    assert_eq!(seen(&hub), [(false, 2)]);
    let publisher = hub.publish(&key("cam")).expect("free");
    assert_eq!(publisher.stream_id(), first.stream_id(), "players wait for the publisher of their stream");
    assert_eq!(seen(&hub), [(true, 2)]);
    drop(first);
    assert_eq!(seen(&hub), [(true, 1)]);
    let id = publisher.stream_id();
    publisher.end(any_instant());
    assert_eq!(seen(&hub), [(false, 1)]);
    drop(second);
    assert_eq!(seen(&hub), []);
    assert_ne!(hub.play(&key("cam")).stream_id(), id, "an id is never used twice");
}

#[test]
fn listings_are_in_the_order_of_names_and_say_what_there_is() {
    let hub = Hub::new(HubConfig::default());
    let now = any_instant();
    let mut publisher = hub.publish(&key("b")).expect("free");
    let _player = hub.play(&key("a"));
    publisher.push(now, key_frame(0)).expect("no takeover");
    let list = hub.streams();
    assert_eq!(list.iter().map(|stream| stream.key.stream()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((list[1].log_bytes, frames(&list[1]), list[1].stats.is_some()), (18, 1, true));
    let _player = hub.play(&key("b"));
    publisher.end(now);
    assert_eq!(hub.streams()[1].log_bytes, 18, "what is in the log can still be read");
    let _publisher = hub.publish(&key("b")).expect("free again");
    assert_eq!(hub.streams()[1].log_bytes, 0, "nothing of the one before");
}

#[test]
fn a_waiting_player_sees_the_publisher_that_comes() {
    let hub = Hub::new(HubConfig::default());
    let now = any_instant();
    let mut player = hub.play(&key("cam"));
    assert!(!player.is_live());
    assert_eq!(pull(&mut player), (vec![], PullEnd::Ended(None)), "it was never published");
    let mut publisher = hub.publish(&key("cam")).expect("free");
    assert!(player.is_live());
    assert_eq!(pull(&mut player), (vec![], PullEnd::Pending));
    publisher.push(now, video(5, &[0x17, 0, 0, 0, 0, 1, 100, 0, 31, 0xff])).expect("no takeover");
    publisher.push(now, key_frame(40)).expect("no takeover");
    assert_eq!(pull(&mut player), (vec![40, 40], PullEnd::Pending), "the header comes at the first frame's time");
    publisher.end(now);
    assert_eq!(pull(&mut player), (vec![], PullEnd::Ended(Some(now))));
}

#[test]
fn only_players_that_were_there_before_an_end_get_it() {
    let hub = Hub::new(HubConfig::default());
    let now = any_instant();
    let mut before = hub.play(&key("cam"));
    let mut publisher = hub.publish(&key("cam")).expect("free");
    publisher.begun(now);
    let mut during = hub.play(&key("cam"));
    drop(publisher);
    let mut after = hub.play(&key("cam"));
    assert_eq!(pull(&mut before), (vec![], PullEnd::Ended(Some(now))), "without a frame");
    assert_eq!(pull(&mut during), (vec![], PullEnd::Ended(Some(now))), "without a frame");
    assert_eq!(pull(&mut after), (vec![], PullEnd::Ended(None)));
    assert_eq!([&before, &during, &after].map(Player::over_before), [0, 0, 1]);
    hub.publish(&key("cam")).expect("free again").end(now);
    assert_eq!((pull(&mut after), after.begun()), ((vec![], PullEnd::Ended(Some(now))), 2));
}

#[test]
fn time_rises_across_publishers() {
    let hub = Hub::new(HubConfig::default());
    let now = any_instant();
    let later = now + Duration::from_secs(3);
    let mut player = hub.play(&key("cam"));
    let mut publisher = hub.publish(&key("cam")).expect("free");
    publisher.push(now, key_frame(1_000_000)).expect("no takeover");
    drop(publisher);
    assert_eq!(
        pull(&mut player),
        (vec![1_000_000], PullEnd::Ended(Some(now))),
        "dropped without `end`: the time of its last frame"
    );
    let mut publisher = hub.publish(&key("cam")).expect("free");
    publisher.push(later, key_frame(0)).expect("no takeover");
    publisher.push(later, key_frame(40)).expect("no takeover");
    assert_eq!(pull(&mut player).0, [1_003_000, 1_003_040]);
    // Without players and publisher the stream is removed, and its time with it.
    drop((player, publisher));
    let mut publisher = hub.publish(&key("cam")).expect("free");
    let mut player = hub.play(&key("cam"));
    publisher.push(later, key_frame(7)).expect("no takeover");
    assert_eq!(pull(&mut player).0, [7]);
}

#[test]
fn a_sink_that_is_full_stops_the_pull_and_loses_nothing() {
    let hub = Hub::new(HubConfig::default());
    let now = any_instant();
    let mut publisher = hub.publish(&key("cam")).expect("free");
    let mut player = hub.play(&key("cam"));
    publisher.push(now, key_frame(0)).expect("no takeover");
    assert_eq!(pull(&mut player).0, [0]);
    for time in 1..=3 {
        publisher.push(now, video(time, &[0x27, 1, 0, 0, 0, 9])).expect("no takeover");
    }
    for expected in 1..=3 {
        let mut times = Vec::new();
        let pulled = player.pull(|frame| {
            times.push(frame.timestamp());
            false
        });
        assert_eq!((times, pulled), (vec![expected], Pulled { missed: Gap::default(), end: PullEnd::Full }));
    }
    assert_eq!(pull(&mut player), (vec![], PullEnd::Pending));
}

#[test]
fn a_restart_skips_to_a_newer_key_frame_and_never_goes_back() {
    let hub = Hub::new(HubConfig::default());
    let now = any_instant();
    let mut publisher = hub.publish(&key("cam")).expect("free");
    let mut player = hub.play(&key("cam"));
    publisher.push(now, key_frame(0)).expect("no takeover");
    publisher.push(now, video(1, &[0x27, 1, 0, 0, 0, 9])).expect("no takeover");
    assert_eq!(pull(&mut player).0, [0, 1]);
    publisher.push(now, video(2, &[0x27, 1, 0, 0, 0, 9])).expect("no takeover");
    player.restart();
    assert_eq!(pull(&mut player).0, [2], "no frame comes twice");
    for message in [video(3, &[0x27, 1, 0, 0, 0, 9]), key_frame(4), video(5, &[0x27, 1, 0, 0, 0, 9])] {
        publisher.push(now, message).expect("no takeover");
    }
    player.restart();
    let (times, Pulled { missed, .. }) = pull_all(&mut player);
    assert_eq!((times, missed.frames, missed.milliseconds), (vec![4, 5], 1, 2));
}

#[test]
fn video_before_the_first_key_frame_is_left_out_and_counted() {
    let hub = Hub::new(HubConfig::default());
    let now = any_instant();
    let mut publisher = hub.publish(&key("cam")).expect("free");
    let mut player = hub.play(&key("cam"));
    let audio = Message { type_id: MessageType::AUDIO, ..video(0, &[0xaf, 1, 7]) };
    let inter = |time| video(time, &[0x27, 1, 0, 0, 0, 9]);
    for message in [audio, inter(1), inter(2), key_frame(3), inter(4)] {
        publisher.push(now, message).expect("no takeover");
    }
    assert_eq!(pull(&mut player).0, [0, 3, 4]);
    assert_eq!(player.undecodable(), 2);
}

#[test]
fn messages_that_are_too_short_are_counted_and_not_passed_on() {
    let hub = Hub::new(HubConfig::default());
    let now = any_instant();
    let mut publisher = hub.publish(&key("cam")).expect("free");
    // AVC without its packet type.
    publisher.push(now, video(0, &[0x17])).expect("no takeover");
    assert_eq!((publisher.malformed(), publisher.wake_deadline()), (1, None));
    assert_eq!(frames(&hub.streams()[0]), 0);
    publisher.push(now, key_frame(0)).expect("no takeover");
    assert_eq!(publisher.wake_deadline(), Some(now), "the first video frame leaves at once");
    assert!(publisher.take_wake(now) && !publisher.take_wake(now));
    assert!(!publisher.is_played());
    let player = hub.play(&key("cam"));
    assert!(publisher.is_played());
    drop(player);
    assert!(!publisher.is_played());
}

#[test]
fn messages_that_no_stream_can_have_are_counted_and_dropped() {
    let hub = Hub::new(HubConfig::default());
    let (mut player, mut publisher) = (hub.play(&key("cam")), hub.publish(&key("cam")).expect("free"));
    let now = any_instant();
    let mut too_long = vec![0; 1 << 24];
    too_long[..2].copy_from_slice(&[0x17, 1]);
    publisher.push(now, video(0, &too_long)).expect("it publishes");
    let command = Message { type_id: MessageType::COMMAND_AMF0, ..key_frame(0) };
    publisher.push(now, command).expect("it publishes");
    assert_eq!((publisher.malformed(), pull(&mut player)), (2, (vec![], PullEnd::Pending)));
    too_long.truncate((1 << 24) - 1);
    publisher.push(now, video(40, &too_long)).expect("it publishes");
    assert_eq!(pull(&mut player).0, [40], "the longest there is");
}

#[test]
fn a_superseded_publisher_learns_of_it_and_changes_nothing_any_more() {
    let hub = Hub::new(HubConfig::default());
    let now = any_instant();
    let limits = Limits { publishers: Some(1), ..Limits::default() };
    let admit = || hub.admit_publisher(now, &key("cam"), "token", Conflict::TakeOver, &limits);
    let mut first = admit().expect("free");
    assert_eq!(hub.may_publish(now, &key("cam"), "token", Conflict::TakeOver, &limits), Ok(()));
    assert!(!first.is_superseded(), "not before it begins");
    let mut second = admit().expect("the same credentials, and the other's place");
    assert!(first.is_superseded() && !second.is_superseded());
    assert_eq!(first.push(now, key_frame(0)), Err(Superseded));
    let metadata = Message { type_id: MessageType::DATA_AMF0, ..video(0, b"\x02\x00\x0aonMetaData\x05") };
    second.push(now, metadata).expect("it publishes");
    second.push(now, key_frame(0)).expect("it publishes");
    first.clear_metadata();
    let mut player = hub.play(&key("cam"));
    assert_eq!(pull(&mut player).0.len(), 2, "the metadata is still in force");
    first.end(now);
    assert_eq!((second.players(), player.is_live()), (1, true));
    second.clear_metadata();
    second.push(now, key_frame(40)).expect("it publishes");
    assert_eq!(pull(&mut hub.play(&key("cam"))).0.len(), 1);
}

fn frames(stream: &StreamSnapshot) -> u64 {
    stream.stats.as_ref().map_or(0, |stats| stats.snapshot(any_instant()).messages)
}

#[test]
fn clients_wait_for_a_stream_without_a_publisher() {
    let (hub, key) = (Hub::new(HubConfig::default()), key("cam"));
    assert_eq!(hub.waiting(&key), 0, "nothing plays it");
    let _programs_own = hub.play(&key);
    let player = hub.admit_player(&key, &Limits::NONE).expect("no limit");
    assert_eq!(hub.waiting(&key), 1);
    let publisher = hub.publish(&key).expect("the name is free");
    assert_eq!(hub.waiting(&key), 0);
    drop(publisher);
    assert_eq!(hub.waiting(&key), 1);
    drop(player);
    assert_eq!(hub.waiting(&key), 0);
}

#[test]
fn a_follower_gets_publications_that_were_replaced_before_it_read_them() {
    let now = any_instant();
    let hub = Hub::new(HubConfig::default());
    let (mut follower, mut player) = (hub.follow(&key("cam")), hub.play(&key("cam")));
    for time in [0, 100, 200] {
        let mut publisher = hub.publish(&key("cam")).expect("free");
        for more in [0, 1] {
            publisher.push(now, key_frame(time + more)).expect("it publishes");
        }
        publisher.end(now);
    }
    // Publications without a frame leave nothing.
    drop(hub.publish(&key("cam")).expect("free"));
    let held = hub.memory().held;
    let mut last = hub.publish(&key("cam")).expect("free");
    last.push(now, key_frame(300)).expect("it publishes");
    for epoch in 1..=3 {
        // A sink that takes one frame at a time loses nothing, either.
        let mut taken = 0;
        let first = follower.pull(|_| {
            taken += 1;
            false
        });
        assert_eq!((first.end, taken, follower.begun()), (PullEnd::Full, 1, epoch));
        let (times, end) = pull(&mut follower);
        assert_eq!((times.len(), end, follower.begun()), (1, PullEnd::Ended(Some(now)), epoch));
    }
    assert!(hub.memory().held < held, "what was read is not held any more");
    let (times, end) = pull(&mut follower);
    assert_eq!((times.len(), end, follower.begun()), (1, PullEnd::Pending, 5));
    assert_eq!(pull(&mut follower), (vec![], PullEnd::Pending), "nothing twice");
    assert_eq!(pull(&mut player).0.len(), 1, "other players begin with the publication that runs");
    drop((last, follower, player));
    assert_eq!(hub.memory().held, 0);
}

#[test]
fn a_follower_that_reads_nothing_holds_no_more_than_a_log() {
    let now = any_instant();
    let mut config = HubConfig::default();
    config.source.bytes = 200_000;
    config.source.header_bytes = 0;
    let hub = Hub::new(config);
    let mut follower = hub.follow(&key("cam"));
    let mut frame = vec![0x17, 1, 0, 0, 0];
    frame.resize(50_000, 9);
    for number in 0..20 {
        let mut publisher = hub.publish(&key("cam")).expect("free");
        publisher.push(now, video(number, &frame)).expect("it publishes");
        publisher.end(now);
        assert!(hub.memory().held < 400_000, "{}", hub.memory().held);
    }
    let (mut frames, mut missed) = (0, 0);
    loop {
        let (times, pulled) = pull_all(&mut follower);
        (frames, missed) = (frames + times.len() as u64, missed + pulled.missed.frames);
        if follower.begun() == 20 {
            break;
        }
    }
    assert_eq!(frames + missed, 20, "{frames} and {missed}: none is lost silently");
    assert!(frames >= 3, "{frames}");
    // What is kept is given up when the memory is short.
    for number in 0..2 {
        let mut publisher = hub.publish(&key("cam")).expect("free");
        publisher.push(now, video(number, &frame)).expect("it publishes");
        publisher.end(now);
    }
    hub.limit_memory(40_000);
    assert!(hub.memory().held < 40_000, "{}", hub.memory().held);
    let (times, pulled) = pull_all(&mut follower);
    assert_eq!((times, pulled.missed.frames), (vec![], 1));
}
