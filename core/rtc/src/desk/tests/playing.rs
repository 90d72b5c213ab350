use super::*;
use crate::peer::Gone;

#[test]
fn a_viewer_begins_at_the_newest_key_frame_and_gets_all_from_there() {
    let mut world = World::new();
    world.publish();
    world.send(0..10, 3000);
    world.send(10..15, 3000);
    let viewer = world.connected("198.51.100.7:50000");
    world.send(15..40, 3000);
    world.run(Duration::from_millis(200));
    let numbers = world.clients[&viewer].numbers();
    assert_eq!(numbers, (10..40).collect::<Vec<_>>());
    assert!(world.clients[&viewer].sounds().len() > 40);
    assert!(matches!(world.remarks[..], [Remark::Connected { .. }]), "{:?}", world.remarks);
    assert_eq!((world.desk.stats().players, world.desk.stats().streams), (1, 1));
}

#[test]
fn what_is_lost_on_the_way_is_sent_again() {
    let mut world = World::new();
    world.publish();
    world.send(0..5, 3000);
    let viewer = world.connected("198.51.100.7:50000");
    world.lost = Some(50);
    world.send(5..100, 3000);
    world.lost = None;
    world.run(Duration::from_secs(1));
    let numbers = world.clients[&viewer].numbers();
    assert!(numbers.len() >= 97, "{numbers:?}");
}

#[test]
fn a_viewer_of_a_stream_that_is_not_live_waits_for_it() {
    let mut world = World::new();
    let address = "198.51.100.7:50000".parse().expect("an address");
    let client = Client::new(world.now, address, Direction::RecvOnly, RtcConfig::new());
    let number = world.post("/live/cam/whep", &client.offer);
    world.clients.insert(address, client);
    world.run(Duration::from_secs(3));
    assert!(!world.answers.contains_key(&number));
    world.publish();
    world.send(0..1, 1000);
    world.take_answer(address, number);
    world.send(1..20, 1000);
    world.run(Duration::from_millis(200));
    assert!(world.clients[&address].numbers().len() >= 15);

    let mut world = World::new();
    let client = Client::new(world.now, address, Direction::RecvOnly, RtcConfig::new());
    let number = world.post("/live/cam/whep", &client.offer);
    world.run(Duration::from_secs(11));
    assert_eq!(world.answers[&number].status, 404);
    assert_eq!((world.left.len(), world.followed.len()), (1, 0), "nothing is left of it");
}

#[test]
fn a_publisher_that_comes_back_does_not_end_a_viewer() {
    let mut world = World::new();
    world.publish();
    world.send(0..10, 2000);
    let viewer = world.connected("198.51.100.7:50000");
    world.end_publication();
    world.run(Duration::from_secs(4));
    world.publish();
    world.send(100..120, 2000);
    world.run(Duration::from_millis(200));
    let numbers = world.clients[&viewer].numbers();
    let back: Vec<_> = numbers.iter().copied().filter(|number| *number >= 100).collect();
    assert_eq!(back, (100..120).collect::<Vec<_>>());
    assert!(world.left.is_empty());
}

#[test]
fn pictures_out_of_order_are_left_out() {
    let mut world = World::new();
    world.publish();
    world.send(0..1, 1000);
    let viewer = world.connected("198.51.100.7:50000");
    // I P b P b
    for round in 0..20u8 {
        let at = world.milliseconds();
        let first = 1 + round * 2;
        world.push(video(at, Kind::Reference, first, 80, 800));
        world.push(video(at + 40, Kind::Disposable, first + 1, 0, 800));
        world.run(Duration::from_millis(80));
    }
    world.run(Duration::from_millis(500));
    let numbers = world.clients[&viewer].numbers();
    assert!(numbers.iter().all(|number| *number == 0 || number % 2 == 1), "{numbers:?}");
    assert!(numbers.len() >= 19, "{numbers:?}");
    let told = world.remarks.iter().filter(|remark| matches!(remark, Remark::LeavesOut { .. })).count();
    assert_eq!((told, world.desk.stats().left_out), (1, 20));
}

#[test]
fn after_a_picture_out_of_order_that_others_need_there_is_none_up_to_the_next_key_frame() {
    let mut world = World::new();
    world.publish();
    world.send(0..1, 1000);
    let viewer = world.connected("198.51.100.7:50000");
    // I P B b P B b, and the same again: the B may be needed by the second P.
    for round in 0..10u8 {
        let (at, first) = (world.milliseconds(), 1 + round * 7);
        let kinds = [Kind::Key, Kind::Reference, Kind::Reference, Kind::Disposable, Kind::Reference, Kind::Reference];
        let shown = [0, 120, 80, 40, 240, 200];
        for (index, (kind, shown)) in kinds.into_iter().zip(shown).enumerate() {
            let time = index as u32 * 40;
            world.push(video(at + time, kind, first + index as u8, (shown + 80) - time, 800));
        }
        world.run(Duration::from_millis(240));
    }
    world.run(Duration::from_millis(500));
    let numbers = world.clients[&viewer].numbers();
    let whole: Vec<u8> = numbers.iter().copied().filter(|number| *number > 0).collect();
    assert!(whole.iter().all(|number| matches!((number - 1) % 7, 0 | 1)), "{whole:?}");
    assert!(whole.len() >= 18, "{whole:?}");
    assert_eq!(world.desk.stats().left_out, 40);
}

#[test]
fn pictures_that_no_other_needs_are_sent_if_they_come_in_order() {
    let mut world = World::new();
    world.publish();
    world.send(0..1, 1000);
    let viewer = world.connected("198.51.100.7:50000");
    for number in 1..40u8 {
        let kind = if number % 2 == 0 { Kind::Reference } else { Kind::Disposable };
        world.push(video(world.milliseconds(), kind, number, 0, 500));
        world.run(Duration::from_millis(40));
    }
    let numbers = world.clients[&viewer].numbers();
    assert!(numbers.starts_with(&(0..38).collect::<Vec<_>>()), "{numbers:?}");
    assert_eq!(world.desk.stats().left_out, 0);
}

#[test]
fn aac_becomes_opus_while_there_is_a_viewer() {
    let mut world = World::new();
    world.publish();
    world.push(Message::audio(0, vec![0xAF, 0, 0x11, 0x90]));
    world.send(0..1, 1000);
    world.push(Message::audio(world.milliseconds(), vec![0xAF, 1, 1]));
    assert!(world.jobs.is_empty(), "there are no listeners");
    let viewer = world.connected("198.51.100.7:50000");
    let mut known_job = None;
    for number in 0..50u8 {
        let time = world.milliseconds();
        world.push(Message::audio(time, vec![0xAF, 1, number]));
        world.run(Duration::from_millis(20));
        // The other thread gives it back.
        let jobs = std::mem::take(&mut world.jobs);
        for job in jobs {
            if let SoundJob::Frame { job, time, data } = job {
                known_job = Some(job);
                let made = vec![super::super::OpusPacket { time, data: vec![data[0]; 30].into() }];
                world.desk.sound(world.time(), job, Ok(made));
            }
        }
        world.settle();
    }
    let sounds = world.clients[&viewer].sounds();
    assert!(sounds.len() >= 45, "{}", sounds.len());
    let job = known_job.expect("there is a job");
    for number in [job, job + 1] {
        world.desk.sound_lacks(number, "is half");
        world.settle();
        let told = world.remarks.iter().filter(|remark| matches!(remark, Remark::LessSound { how: "is half", .. }));
        assert_eq!(told.count(), 1, "a job that is not known has no stream");
    }
    let location = world.clients[&viewer].location.clone();
    assert_eq!(world.ask("DELETE", &location, "", "").status, 200);
    assert!(matches!(world.jobs[..], [SoundJob::End { .. }]), "{:?}", world.jobs);
    assert_eq!(world.desk.stats().sounds, 0);
}

#[test]
fn sound_that_cannot_be_sent_is_told_and_leaves_the_pictures_alone() {
    let mut world = World::new();
    world.publish();
    world.send(0..1, 1000);
    let viewer = world.connected("198.51.100.7:50000");
    for number in 1..20u8 {
        let time = world.milliseconds();
        world.push(Message::audio(time, vec![0x2F, 1, 2, 3]));
        world.push(video(time, Kind::Reference, number, 0, 500));
        world.run(Duration::from_millis(40));
    }
    assert!(world.clients[&viewer].numbers().len() >= 18);
    let told: Vec<_> = world.remarks.iter().filter(|remark| matches!(remark, Remark::NoSound { .. })).collect();
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn a_viewer_that_cannot_have_the_new_codec_is_at_its_end() {
    let mut world = World::new();
    world.publish();
    world.send(0..5, 1000);
    world.connected("198.51.100.7:50000");
    world.end_publication();
    world.publisher = Some(world.hub.publish(&key()).expect("the name is free"));
    world.push(Message::video(world.milliseconds(), [&b"\x91vp09"[..], &[0x82, 0x49, 0x83, 0x42, 0, 1, 2]].concat()));
    let gone = |remark: &Remark| matches!(remark, Remark::Gone { why: Gone::Changed, .. });
    assert!(world.remarks.iter().any(gone), "{:?}", world.remarks);
    assert_eq!(world.left.len(), 1);
}

#[test]
fn a_viewer_that_leaves_falls_silent_or_is_kicked_is_forgotten() {
    let mut world = World::new();
    world.publish();
    world.send(0..5, 1000);
    let leaves = world.connected("198.51.100.7:50000");
    let silent = world.connected("198.51.100.8:50000");
    world.connected("198.51.100.9:50000");
    let kicked = world.openings[2].session;
    world.desk.left(world.time(), kicked);
    world.settle();
    assert!(world.left.is_empty(), "its connection has left already");
    world.clients.get_mut(&leaves).expect("it is there").rtc.close().expect("it works");
    world.run(Duration::from_secs(1));
    world.clients.remove(&silent);
    world.run(Duration::from_secs(60));
    let why = world.remarks.iter().filter_map(|remark| match remark {
        Remark::Gone { why, .. } => Some(*why),
        _ => None,
    });
    assert_eq!(why.collect::<Vec<_>>(), [Gone::Left, Gone::Silent]);
    assert_eq!((world.left.len(), world.followed.len()), (2, 0));
    assert_eq!(world.desk.sessions(), []);
}

#[test]
fn a_client_that_does_not_connect_is_forgotten() {
    let mut world = World::new();
    world.publish();
    world.send(0..5, 1000);
    let client = world.play("198.51.100.7:50000");
    let mut client = world.clients.remove(&client).expect("it is there");
    world.run(Duration::from_secs(16));
    assert_eq!((world.desk.sessions().len(), world.left.len(), world.followed.len()), (0, 1, 0));
    // What it sends now is strange.
    client.rtc.handle_input(Input::Timeout(world.now)).expect("it works");
    let address = "198.51.100.7:50000".parse().expect("an address");
    world.clients.insert(address, client);
    world.run(Duration::from_secs(1));
    assert!(world.desk.stats().strange > 0);
}

#[test]
fn the_statistics_of_a_connection_hear_what_was_sent() {
    let mut world = World::new();
    world.publish();
    world.send(0..5, 1000);
    world.connected("198.51.100.7:50000");
    world.send(5..105, 1000);
    let (frames, bytes) = world.sent;
    assert!((200..=310).contains(&frames), "{frames} pictures and sounds");
    assert!((100_000..250_000).contains(&bytes), "{bytes}");
}

#[test]
fn viewers_estimate_what_they_could_receive_and_send_no_feedback_for_each_packet() {
    let mut world = World::new();
    world.publish();
    world.send(0..1, 1000);
    let viewer = world.connected("198.51.100.7:50000");
    let answer = world.answers.values().find(|answer| answer.status == 201).expect("an answer");
    let text = String::from_utf8(answer.body.to_vec()).expect("text");
    let has = |words: &str| text.lines().any(|line| line.contains(words));
    assert!(has("goog-remb") && has("abs-send-time") && has("nack"), "{text}");
    assert!(!has("transport-cc") && !has("transport-wide-cc"), "{text}");
    world.send(1..5, 1000);
    let client = world.clients.get_mut(&viewer).expect("the client");
    let mid = client.mids[0];
    let mut api = client.rtc.direct_api();
    let track = api.stream_rx_by_mid(mid, None).expect("it has got pictures");
    track.request_remb(str0m::bwe::Bitrate::kbps(700));
    world.send(5..30, 1000);
    assert_eq!(world.desk.sessions()[0].network.estimate, Some(700_000));
}

#[test]
fn viewers_that_are_held_miss_nothing_and_others_are_answered_meanwhile() {
    let mut world = World::new();
    world.publish();
    world.send(0..1, 1000);
    let viewer = world.connected("198.51.100.7:50000");
    world.desk.hold(true);
    let before = world.clients[&viewer].numbers().len();
    world.send(1..20, 1000);
    assert_eq!(world.clients[&viewer].numbers().len(), before, "it gets no packets");
    assert!(world.desk.deadline().is_none_or(|due| due > world.now), "nothing is due because of that");
    world.connected("198.51.100.8:50000");
    world.desk.hold(false);
    world.run(Duration::from_secs(1));
    let numbers = world.clients[&viewer].numbers();
    assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1) && numbers.len() >= before + 15, "{numbers:?}");
}

#[test]
fn what_was_sent_to_a_viewer_is_told_at_its_end() {
    let mut world = World::new();
    world.publish();
    world.send(0..1, 1000);
    let viewer = world.connected("198.51.100.7:50000");
    world.send(1..20, 1000);
    let before = world.sent;
    let location = world.clients[&viewer].location.clone();
    world.ask("DELETE", &location, "", "");
    assert!(world.sent.1 > before.1, "the last second is counted, too");
}
