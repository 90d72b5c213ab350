use anabranch_core::message::MessageType;
use str0m::media::{Frequency, MediaTime};

use super::*;
use crate::peer::Gone;

/// A client publishes a picture at its place in 25 a second, and 40 ms of sound.
fn write(world: &mut World, address: SocketAddr, number: u8, kind: Kind) {
    let (now, time) = (world.now, u64::from(world.milliseconds()));
    let client = world.clients.get_mut(&address).expect("the client");
    for is_video in [true, false] {
        let mid = client.mids[usize::from(!is_video)];
        let writer = client.rtc.writer(mid).expect("the track");
        let params = writer.payload_params().find(|params| {
            let spec = params.spec();
            !is_video || spec.codec == str0m::format::Codec::H264 && spec.format.packetization_mode == Some(1)
        });
        let pt = params.expect("a payload type").pt();
        if !is_video {
            let time = MediaTime::new(time * 48, Frequency::FORTY_EIGHT_KHZ);
            writer.write(pt, now, time, vec![number; 40]).expect("it is taken");
            continue;
        }
        let mut data = Vec::new();
        if kind == Kind::Key {
            data.extend_from_slice(&[
                0, 0, 0, 1, 0x67, 0x42, 0, 0x0A, 0xF8, 0x41, 0xA2, 0, 0, 0, 1, 0x68, 0xCE, 0x38, 0x80,
            ]);
        }
        data.extend_from_slice(&[0, 0, 0, 1]);
        data.extend_from_slice(&picture(kind, number, 2000)[4..]);
        writer.write(pt, now, MediaTime::from_90khz(time * 90), data).expect("it is taken");
    }
    world.settle();
}

/// How often a client was asked for a key frame.
fn asked(world: &World, address: SocketAddr) -> usize {
    let is_wish = |event: &&ClientEvent| matches!(event, ClientEvent::KeyframeRequest(_));
    world.clients[&address].seen.iter().filter(is_wish).count()
}

fn publisher(world: &mut World) -> SocketAddr {
    let address = world.client("198.51.100.7:50000", "/live/cam/whip", Direction::SendOnly, RtcConfig::new());
    world.run(Duration::from_millis(500));
    address
}

#[test]
fn a_publisher_is_heard_and_asked_for_a_key_frame_now_and_then() {
    let mut world = World::new();
    let address = publisher(&mut world);
    assert_eq!(world.openings[0].role, Role::Publisher);
    write(&mut world, address, 0, Kind::Key);
    world.run(Duration::from_millis(40));
    for number in 1..=250u8 {
        write(&mut world, address, number, Kind::Reference);
        world.run(Duration::from_millis(40));
    }
    let session = world.openings[0].session;
    let (video, audio) = (MessageType::VIDEO, MessageType::AUDIO);
    let count =
        |kind: u8| world.published.iter().filter(|(of, message)| *of == session && message.type_id == kind).count();
    assert!(count(video) >= 245 && count(audio) >= 200, "{} and {}", count(video), count(audio));
    // No key frame came in these ten seconds.
    let asked = asked(&world, address);
    assert!((4..=11).contains(&asked), "asked {asked} times");
    assert_eq!((world.desk.stats().publishers, world.desk.stats().players), (1, 0));
}

#[test]
fn a_publisher_is_asked_once_for_many_that_want_a_key_frame() {
    let mut world = World::new();
    let address = publisher(&mut world);
    let session = world.openings[0].session;
    write(&mut world, address, 0, Kind::Key);
    world.run(Duration::from_millis(1100));
    let before = asked(&world, address);
    for _ in 0..100 {
        let now = world.now;
        world.desk.want_key(now, session);
        world.run(Duration::from_millis(5));
    }
    assert_eq!(asked(&world, address), before + 1);
    world.run(Duration::from_secs(2));
    assert_eq!(asked(&world, address), before + 2, "the others are heard a second later");
}

#[test]
fn a_publisher_that_goes_ends_its_connection() {
    let mut world = World::new();
    let address = publisher(&mut world);
    let session = world.openings[0].session;
    world.clients.get_mut(&address).expect("it is there").rtc.close().expect("it works");
    world.run(Duration::from_secs(1));
    assert!(world.remarks.contains(&Remark::Gone { session, why: Gone::Left }), "{:?}", world.remarks);
    assert_eq!(world.left, [session]);
    assert!(world.desk.publishers.is_empty());
}

#[test]
fn two_clients_see_each_other_through_the_server() {
    let mut world = World::new();
    world.relays = true;
    world.publisher = Some(world.hub.publish(&key()).expect("the name is free"));
    let address = publisher(&mut world);
    write(&mut world, address, 0, Kind::Key);
    world.run(Duration::from_millis(40));
    for number in 1..10u8 {
        write(&mut world, address, number, Kind::Reference);
        world.run(Duration::from_millis(40));
    }
    let viewer = world.connected("198.51.100.8:50000");
    for number in 10..60u8 {
        let kind = if number == 30 { Kind::Key } else { Kind::Reference };
        write(&mut world, address, number, kind);
        world.run(Duration::from_millis(40));
    }
    world.run(Duration::from_millis(500));
    let numbers = world.clients[&viewer].numbers();
    assert_eq!(numbers, (0..60).collect::<Vec<_>>());
    let sounds = world.clients[&viewer].sounds();
    assert!(sounds.len() > 40 && sounds.iter().all(|sound| sound.len() == 40), "{}", sounds.len());
}
