//! Pushes take part in the batches of their stream: one write of the same bytes, without polling each.

use super::*;
use crate::split_mix::split_mix;

const SECOND: Duration = Duration::from_secs(1);

/// A server that pushes to so many targets at another one, which waits for ever for its publishers.
fn pushes(count: usize) -> (Net, usize, usize) {
    let mut net = Net::new();
    let url = |number| Forward::new(format!("rtmp://10.0.0.2/to-{number}/{{stream}}").parse().expect("a template"));
    let source = net.server(VhostConfig { forward: (0..count).map(url).collect(), ..VhostConfig::default() });
    let mut config = VhostConfig::default();
    config.session.timeouts.next_message = 3600 * SECOND;
    let sink = net.server(config);
    (net, source, sink)
}

fn metadata(number: u8) -> Message {
    let body = [b"\x02\x00\x0d@setDataFrame\x02\x00\x0aonMetaData\x02\x00\x01", &[b'a' + number % 26][..]].concat();
    Message { chunk_stream: 4, timestamp: 0, type_id: 18, message_stream_id: 1, payload: body.into() }
}

/// The bytes of each end; bytes, frames and lag of each relay as they are counted; how many batches were shared.
type Story = (BTreeMap<u64, Vec<u8>>, Vec<(u64, u64, u64)>, u32);

/// What a server writes to its targets, in the order of the connections, and what it counts of that, for media, sizes
/// of writes and pauses that follow from the seed.
fn story(seed: u64, shares: bool) -> Story {
    let mut state = seed;
    let mut random = || split_mix(&mut state);
    let (mut net, source, sink) = pushes(3);
    (net.shares, net.written) = (shares, Some(BTreeMap::new()));
    let publisher = net.publisher(source, "live/cam");
    net.run(SECOND);
    let _player = net.player(source, "live/cam");
    assert_eq!(net.states(source), [RelayState::Live; 3]);
    let mut time = 0;
    for number in 0..120 {
        let number = number as u8;
        let mut picture = |head: u8| {
            let length = if random().is_multiple_of(9) { 70_000 } else { 3 + random() as usize % 900 };
            [&[head, 1, 0, 0, 0][..], &vec![number; length]].concat()
        };
        let message = match number % 11 {
            0 => Message::video(time, picture(0x17)),
            3 | 7 => Message::audio(time, &peer::audio_frame(number)[..]),
            _ => Message::video(time, picture(0x27)),
        };
        net.send(publisher, message);
        match random() % 24 {
            0 => net.send(publisher, metadata(number)),
            1 => net.send(publisher, Message::video(time, &[0x17, 0, 0, 0, 0, number][..])),
            2 => net.send(publisher, Message::audio(time, &[0xaf, 0, number][..])),
            _ => {}
        }
        net.socket = if random().is_multiple_of(3) { 1 + random() as usize % 2000 } else { SOCKET };
        time += 40;
        net.run(Duration::from_millis([0, 1, 5, 40, 400][random() as usize % 5]));
    }
    net.socket = SOCKET;
    net.run(2 * SECOND);
    assert_eq!(net.states(source), [RelayState::Live; 3]);
    let counts = net.list(source).iter().map(|relay| (relay.bytes_out, relay.frames_out, relay.lag)).collect();
    let shared = net.shared_upward(source);
    net.leave(publisher);
    net.run(5 * SECOND);
    assert!(net.uplinks(source).is_empty());
    assert_eq!(net.servers[sink].core.hub().streams().len(), 0);
    let ends: Vec<_> = net.reports.iter().map(|report| (report.sent, report.missed.frames, report.given_up)).collect();
    assert!(ends.iter().all(|(_, missed, given_up)| (*missed, *given_up) == (0, 0)), "{ends:?}");
    (net.written.expect("it was kept"), counts, shared)
}

#[test]
fn a_target_gets_the_same_bytes_with_batches_and_without() {
    for seed in 0..20 {
        let (polled, its_counts, none) = story(seed, false);
        let (batched, counts, shared) = story(seed, true);
        assert!(none == 0 && shared > 60, "seed {seed}: {shared} batches");
        assert_eq!(counts, its_counts, "seed {seed}");
        assert_eq!(batched.keys().collect::<Vec<_>>(), polled.keys().collect::<Vec<_>>());
        for (end, bytes) in &polled {
            assert!(batched[end] == *bytes, "seed {seed}: end {end} differs");
        }
    }
}

#[test]
fn two_hundred_pushes_and_a_player_of_a_stream_get_one_batch() {
    let (mut net, source, _) = pushes(200);
    let publisher = net.publisher(source, "live/cam");
    let _player = net.player(source, "live/cam");
    net.stream(publisher, 0, 3);
    assert_eq!(net.states(source), [RelayState::Live; 200]);
    // From here on by hand: the stream has something new, and no connection was woken for it.
    net.shared.clear();
    net.gop(publisher, 3000, 3);
    let (mut batches, mut pieces) = (Batches::default(), Vec::new());
    net.serve(publisher);
    net.now += LATENCY;
    net.land();
    let its_conn = net.ends[&publisher].other.expect("it is connected");
    let bytes = std::mem::take(&mut net.ends.get_mut(&its_conn).expect("it is there").inbox);
    let now = net.now;
    for (id, end) in &mut net.ends {
        let What::Conn { server, conn } = &mut end.what else {
            continue;
        };
        if *id == its_conn {
            conn.handle_input(now, &bytes);
            while let AnyOutput::Action(_) = conn.poll(now) {}
        } else if *server == source
            && let Some(share) = conn.share(&mut batches)
        {
            pieces.push(share.bytes().clone());
            let length = share.bytes().len();
            assert!(conn.wrote(now, share, length).expect("it is its own"));
        }
    }
    assert_eq!(pieces.len(), 201);
    assert!(pieces.iter().all(|piece| piece.as_ptr() == pieces[0].as_ptr()), "it is one and the same");
}

#[test]
fn a_slow_target_leaves_the_batches_and_comes_back_and_what_it_missed_is_counted() {
    let (mut net, source, sink) = pushes(2);
    let publisher = net.publisher(source, "live/cam");
    let player = net.player(sink, "to-0/cam");
    let picture = |number: u32| [&[0x17, 1, 0, 0, 0][..], &vec![number as u8; 40_000]].concat();
    let second = |net: &mut Net, number: u32| {
        net.send(publisher, Message::video(number * 1000, picture(number)));
        net.run(SECOND);
    };
    (0..5).for_each(|number| second(&mut net, number));
    let slow = net.uplinks(source)[0].id();
    let of_slow = |net: &Net| {
        let is_it = |end: &&End| matches!(&end.what, What::Conn { conn, .. } if conn.id() == slow && conn.peer() == Some(address("10.0.0.2:1935")));
        let (id, end) = net.ends.iter().find(|(_, end)| is_it(end)).expect("it is open");
        (*id, end.other.expect("it is connected"))
    };
    let (id, peer) = of_slow(&net);
    let shared = |net: &Net| net.shared.get(&id).copied().unwrap_or(0);
    let before = shared(&net);
    assert!(before >= 3, "{before}");
    net.ends.get_mut(&peer).expect("it is there").frozen = true;
    (5..8).for_each(|number| second(&mut net, number));
    let begun = shared(&net);
    (8..25).for_each(|number| second(&mut net, number));
    assert_eq!(shared(&net), begun, "its queue is full");
    let other = net.list(source).into_iter().find(|relay| relay.state == RelayState::Live).expect("one goes on");
    assert_eq!((other.lag, other.dropped.frames), (0, 0));
    let frozen = net.ends.get_mut(&peer).expect("it is there");
    (frozen.frozen, frozen.touched) = (false, true);
    (25..45).for_each(|number| second(&mut net, number));
    assert!(shared(&net) > begun + 10, "{begun} and then {}", shared(&net));
    assert_eq!(net.states(source), [RelayState::Live; 2]);
    let relays = net.list(source);
    let missed: u64 = relays.iter().map(|relay| relay.dropped.frames).sum();
    let times = net.heard(player).times();
    assert!(missed > 0 && times.is_sorted() && times.last() == Some(&44_000), "{times:?}");
    net.leave(publisher);
    net.run(SECOND);
    let total: u64 = net.reports.iter().map(|report| report.missed.frames).sum();
    assert_eq!(total, missed);
    let (frames, joined) = (45, times[0] / 1000);
    assert_eq!(times.len() as u64 + missed, u64::from(frames - joined), "each frame came or is counted");
}

#[test]
fn headers_and_metadata_within_a_stream_reach_the_target_as_a_publisher_sends_them() {
    let (mut net, source, sink) = pushes(1);
    let publisher = net.publisher(source, "live/cam");
    let player = net.player(sink, "to-0/cam");
    net.stream(publisher, 0, 3);
    let before = net.shared_upward(source);
    net.send(publisher, metadata(7));
    net.send(publisher, Message::video(3000, &[0x17, 0, 0, 0, 0, 77][..]));
    net.stream(publisher, 3, 3);
    assert!(before > 0 && net.shared_upward(source) > before);
    let late = net.player(sink, "to-0/cam");
    net.stream(publisher, 6, 1);
    for player in [player, late] {
        let heard = net.heard(player);
        assert_eq!(heard.counts(&[0x17, 0, 0, 0, 0, 77]), 1);
        assert_eq!(heard.counts(b"\x02\x00\x0aonMetaData\x02\x00\x01h"), 1, "{:?}", heard.media);
    }
}

#[test]
fn a_push_that_ends_during_a_write_sends_all_and_says_goodbye() {
    for most in [0, 7, usize::MAX] {
        let (mut net, source, sink) = pushes(1);
        let publisher = net.publisher(source, "live/cam");
        let player = net.player(sink, "to-0/cam");
        net.stream(publisher, 0, 3);
        let is_uplink = |end: &&End| matches!(&end.what, What::Conn { server, conn } if *server == source && matches!(**conn, AnyConn::Uplink(_)));
        let id = *net.ends.iter().find(|(_, end)| is_uplink(end)).expect("it pushes").0;
        let its_conn = net.ends[&publisher].other.expect("it is connected");
        net.gop(publisher, 3000, 3);
        net.serve(publisher);
        net.now += LATENCY;
        net.land();
        let (now, bytes) = (net.now, std::mem::take(&mut net.ends.get_mut(&its_conn).expect("it is there").inbox));
        let mut publishing = net.ends.remove(&its_conn).expect("it is there");
        let What::Conn { conn, .. } = &mut publishing.what else {
            panic!("it is a connection");
        };
        conn.handle_input(now, &bytes);
        while let AnyOutput::Action(_) = conn.poll(now) {}
        let mut pushing = net.ends.remove(&id).expect("it is there");
        let What::Conn { conn: uplink, .. } = &mut pushing.what else {
            panic!("it is a connection");
        };
        let share = uplink.share(&mut Batches::default()).expect("there is something new");
        // The publisher goes while the batch is being written.
        conn.handle_disconnect(now, CloseReason::PeerClosed);
        while let AnyOutput::Action(_) = conn.poll(now) {}
        net.drive();
        while let AnyOutput::Action(_) = uplink.poll(now) {}
        let count = share.bytes().len().min(most);
        let sent = share.bytes()[..count].to_vec();
        assert!(!uplink.wrote(now, share, count).expect("it is its own"), "it was called");
        let to = pushing.other.expect("it is connected");
        pushing.touched = true;
        net.ends.insert(id, pushing);
        net.dispatch(id, to, sent);
        net.run(3 * SECOND);
        assert_eq!(net.heard(player).times()[9..], [3000, 3010, 3040], "{most}");
        let report = &net.reports[0];
        assert_eq!((report.close.reason.clone(), report.given_up), (ClientCloseReason::Closed, 0), "{most}");
        assert!(net.servers[sink].core.hub().streams().iter().all(|stream| !stream.published));
    }
}
