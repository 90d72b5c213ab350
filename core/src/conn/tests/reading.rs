//! Delayed reads: of which publishers, and that players do not notice them.

use super::*;
use crate::pacing::Pacing;

/// The client sends a little that is not answered. Returns when to read next.
fn read(client: &mut Client, harness: &Harness) -> Option<Instant> {
    client.send(harness, &peer::control(&Control::Acknowledgement(1)));
    client.reads_from()
}

/// How long the client's bytes may lie unread, after half a second in which it sent a little.
fn rests(client: &mut Client, harness: &mut Harness) -> Option<Duration> {
    read(client, harness);
    harness.pass(Duration::from_millis(500));
    read(client, harness).map(|next| next - harness.now)
}

#[test]
fn reads_of_a_publisher_wait_while_it_has_no_players_and_many_publish() {
    let mut harness = Harness::new();
    let mut client = harness.client();
    assert_eq!(rests(&mut client, &mut harness), None, "nothing is known of it yet");
    client.send(&harness, &[peer::create_stream(2.0), peer::publish(1, "cam")].concat());
    assert_eq!(rests(&mut client, &mut harness), None, "it is alone: its end is to be seen at once");
    let mut others: Vec<_> = (1..300).map(|number| harness.publisher(&format!("cam{number}"))).collect();
    let unplayed = rests(&mut client, &mut harness).expect("many publish");
    assert!(unplayed > Duration::from_millis(95) && unplayed <= Duration::from_millis(100), "{unplayed:?}");
    let mut new = harness.publisher("new");
    assert_eq!(read(&mut new, &harness), None, "nothing is known of how much it sends");
    new.disconnect(&harness);
    rests(&mut others[0], &mut harness);
    rests(&mut others[1], &mut harness);
    harness.pass(Duration::from_millis(1));
    let one = read(&mut others[0], &harness);
    harness.pass(Duration::from_millis(1));
    assert_eq!(read(&mut others[1], &harness), one, "at common times");
    let mut player = harness.player("cam");
    assert_eq!(rests(&mut client, &mut harness), None, "a player watches");
    assert_eq!(rests(&mut player, &mut harness), None);
    player.disconnect(&harness);
    assert!(rests(&mut client, &mut harness).is_some());
    others.drain(20..).for_each(|mut other| other.disconnect(&harness));
    assert_eq!(rests(&mut client, &mut harness), None, "few are left");
    others.extend((21..300).map(|number| harness.publisher(&format!("cam{number}"))));
    assert!(rests(&mut client, &mut harness).is_some());
    client.send(&harness, &peer::play(0, "other"));
    assert_eq!(rests(&mut client, &mut harness), None, "a player's commands are not to wait");
}

#[test]
fn silence_and_excess_are_not_looked_for_in_what_lies_unread() {
    let next_message = Duration::from_millis(600);
    let mut config = Config::default();
    config.defaults.session.timeouts.next_message = next_message;
    let mut harness = Harness::with(config);
    let _others: Vec<_> = (1..300).map(|number| harness.publisher(&format!("cam{number}"))).collect();
    let mut client = harness.publisher("cam");
    client.send(&harness, &headers());
    harness.pass(Duration::from_millis(500));
    let next = read(&mut client, &harness);
    assert!(next.is_some() && next < Some(harness.now + Pacing::default().read_wait), "{next:?}");
    assert_eq!(next, client.deadline(), "it is read, then looked at whether it was silent for too long");

    for (window, waits) in [(199, false), (200, true)] {
        let rate = crate::policy::Rate { bytes_per_second: 1 << 20, window: Duration::from_millis(window) };
        let mut vhost = VhostConfig::default();
        vhost.limits.publisher_rate = Some(rate);
        let mut harness = Harness::with(vhost.into());
        let mut others: Vec<_> = (1..300).map(|number| harness.publisher(&format!("cam{number}"))).collect();
        assert_eq!(rests(&mut others[0], &mut harness).is_some(), waits, "{window}");
    }
}

/// What a publisher sends in three seconds: milliseconds, and a message at that time.
fn stream(pictures: Option<u32>, sound: Option<u32>) -> Vec<(u32, Vec<u8>)> {
    let every = |interval: Option<u32>, of: fn(u32) -> Vec<u8>| {
        let times = interval.into_iter().flat_map(|interval| (0..3000).step_by(interval as usize));
        times.map(move |time| (time, of(time)))
    };
    let video = every(pictures, |time| peer::video(time, &peer::inter_frame(1)));
    let audio = every(sound, |time| peer::audio(time, &peer::audio_frame(1)));
    let mut messages: Vec<_> = video.chain(audio).collect();
    messages.sort_by_key(|(time, _)| *time);
    messages
}

/// Reads a publisher at once, or as late as allowed, as an adapter does it. Returns when players are woken, and the
/// number of reads.
fn wakes(window: Duration, messages: &[(u32, Vec<u8>)], late: bool) -> (Vec<u32>, u32) {
    let pacing = Pacing { merge_window: window, ..Pacing::default() };
    let mut harness = Harness::with(VhostConfig { pacing, ..VhostConfig::default() }.into());
    let mut publisher = harness.publisher("cam");
    let _player = harness.player("cam");
    publisher.actions();
    let (mut woken, mut reads, mut unread, mut next) = (Vec::new(), 0, Vec::new(), None);
    let mut messages = messages.iter().peekable();
    for time in 0..3000 {
        while let Some((_, bytes)) = messages.next_if(|(at, _)| *at == time) {
            unread.extend_from_slice(bytes);
        }
        let due = publisher.deadline().is_some_and(|deadline| deadline <= harness.now);
        let reads_now = match next {
            None => !unread.is_empty(),
            Some(next) => due || next <= harness.now,
        };
        if reads_now {
            reads += 1;
            publisher.conn.handle_input(harness.now, &std::mem::take(&mut unread));
        }
        if due {
            publisher.conn.handle_timeout(harness.now);
        }
        if reads_now || due {
            publisher.poll(&harness);
        }
        if reads_now {
            next = publisher.reads_from().filter(|_| late);
        }
        let wakes = publisher.actions().into_iter().filter(|action| action == "wake");
        woken.extend(wakes.map(|_| time));
        harness.pass(Duration::from_millis(1));
    }
    (woken, reads)
}

#[test]
fn frames_leave_when_they_would_have_left() {
    // The window, the intervals of video and audio, and whether there are fewer reads.
    for (window, pictures, sound, spares) in [
        (0, Some(33), Some(23), false),
        (20, Some(33), Some(23), false),
        (30, Some(33), Some(23), false),
        (79, Some(33), Some(23), false),
        (80, Some(33), Some(23), true),
        (100, Some(33), Some(23), true),
        (100, Some(16), None, true),
        // Video leaves at once, and audio does not wait for it.
        (100, Some(200), Some(23), false),
        (350, Some(33), Some(23), true),
        (350, None, Some(23), true),
        (1000, Some(40), Some(23), true),
        (u64::MAX, Some(33), Some(23), true),
    ] {
        let messages = stream(pictures, sound);
        let window = Duration::from_millis(window);
        let (at_once, reads) = wakes(window, &messages, false);
        assert!(!at_once.is_empty() && reads as usize > messages.len() / 2, "{window:?}");
        let (late, fewer) = wakes(window, &messages, true);
        assert_eq!(late, at_once, "{window:?}, pictures {pictures:?}, sound {sound:?}");
        assert_eq!(fewer < reads, spares, "{window:?}: {fewer} reads and not {reads}");
    }
}

#[test]
fn sound_that_stays_alone_leaves_when_it_would_have_left() {
    let window = Duration::from_millis(350);
    let mut messages = stream(Some(33), Some(23));
    messages.retain(|(time, message)| *time < 1000 || peer::audio(*time, &peer::audio_frame(1)) == *message);
    assert_eq!(wakes(window, &messages, true).0, wakes(window, &messages, false).0);
}

#[test]
fn headers_whose_time_is_void_do_not_disturb_the_intervals() {
    let window = Duration::from_millis(350);
    let hour = 3_600_000;
    let mut messages = Vec::new();
    for (time, message) in stream(Some(33), Some(23)) {
        if time % 990 == 0 {
            messages.push((time, headers()));
        }
        let video = peer::video(time, &peer::inter_frame(1)) == message;
        let body = if video { peer::inter_frame(1) } else { peer::audio_frame(1) };
        let of = if video { peer::video } else { peer::audio };
        messages.push((time, of(hour + time, &body)));
    }
    let (at_once, reads) = wakes(window, &messages, false);
    assert!(at_once.len() < 12, "three a second: {at_once:?}");
    let (late, fewer) = wakes(window, &messages, true);
    assert_eq!(late, at_once);
    assert!(fewer < reads / 2, "{fewer} reads and not {reads}");
}
