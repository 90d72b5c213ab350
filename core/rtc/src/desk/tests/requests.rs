use super::*;
use crate::desk::Stage;
use crate::desk::session::MOST_SOURCES;
use crate::engine::Credentials;
use crate::peer::Gone;
use crate::signal::Fragment;

fn field<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
}

fn offer(now: Instant) -> String {
    let address = "198.51.100.7:50000".parse().expect("an address");
    Client::new(now, address, Direction::RecvOnly, RtcConfig::new()).offer
}

const SDP: &str = "Content-Type: application/sdp\r\n";

#[test]
fn an_offer_is_answered_with_a_session() {
    let mut world = World::new();
    world.publish();
    world.send(0..1, 100);
    let offer = offer(world.now);
    let fields = format!("{SDP}Authorization: Bearer secret\r\n");
    let answer = world.ask("POST", "/live/cam/whep?vhost=v", &fields, &offer);
    assert_eq!((answer.status, field(&answer, "Content-Type")), (201, Some("application/sdp")));
    assert_eq!(field(&answer, "Access-Control-Allow-Origin"), Some("*"));
    assert!(field(&answer, "ETag").is_some_and(|tag| tag.starts_with('"')));
    let location = field(&answer, "Location").expect("a location").to_owned();
    assert!(location.starts_with("/rtc/session/") && location.len() > 40, "{location}");
    let body = String::from_utf8(answer.body.to_vec()).expect("text");
    assert!(body.contains("192.0.2.1 8000 typ host"), "the address that the request reached: {body}");
    let opening = &world.openings[0];
    assert_eq!((&*opening.app, &*opening.stream, opening.role), ("live", "cam", Role::Player));
    assert_eq!(opening.request.query(), Some("vhost=v&token=secret"));

    let wrong = format!("{}0", &location[..location.len() - 1]);
    for (method, place, status) in [
        ("GET", &location, 204),
        ("HEAD", &location, 204),
        ("OPTIONS", &location, 204),
        ("POST", &location, 405),
        ("DELETE", &wrong, if wrong == location { 200 } else { 404 }),
        ("DELETE", &location, 200),
        ("DELETE", &location, 404),
        ("GET", &location, 404),
    ] {
        let answer = world.ask(method, place, "", "");
        assert_eq!(answer.status, status, "{method} {place}");
    }
    assert_eq!(world.left, [1]);
    assert_eq!(world.remarks, [Remark::Gone { session: 1, why: Gone::Left }]);
}

#[test]
fn what_is_no_offer_is_refused() {
    let mut world = World::new();
    world.publish();
    world.send(0..1, 100);
    let offer = offer(world.now);
    let long = format!("{offer}{}", "a=x\r\n".repeat(20_000));
    let twice = offer.replace("m=audio", "m=video");
    let none = offer.replace("H264", "H26x").replace("opus", "opux");
    let no_fields = "";
    for (path, fields, body, status) in [
        ("/live/cam/whep", no_fields, &*offer, 415),
        ("/live/cam/whip", "Content-Type: text/plain\r\n", &offer, 415),
        ("/live/cam/whep", SDP, "", 400),
        ("/live/cam/whep", SDP, "hello", 400),
        ("/live/cam/whep", SDP, "v=0\r\n", 400),
        ("/live/cam/whep", SDP, &long, 413),
        ("/live/cam/whep", SDP, &twice, 422),
        ("/live/cam/whep", SDP, &none, 422),
    ] {
        let answer = world.ask("POST", path, fields, body);
        let words = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, status, "{words}");
    }
    assert_eq!(world.desk.sessions(), []);
    assert!(world.followed.is_empty(), "nothing is left of them");
    let answer = world.ask("POST", "/live/cam/whep", SDP, &none);
    let words = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(words.contains("VP8") && words.contains("the stream has"), "{words}");
}

#[test]
fn an_endpoint_says_what_it_takes() {
    let mut world = World::new();
    for path in ["/live/cam/whip", "/live/cam/whep", "/rtc/v1/whep/?app=live&stream=cam"] {
        let answer = world.ask("OPTIONS", path, "Origin: https://a\r\n", "");
        assert_eq!((answer.status, field(&answer, "Accept-Post")), (204, Some("application/sdp")));
        let allowed = field(&answer, "Access-Control-Allow-Headers").expect("the field");
        assert!(allowed.contains("Authorization") && allowed.contains("Content-Type"), "{allowed}");
        assert!(field(&answer, "Access-Control-Allow-Methods").is_some_and(|methods| methods.contains("POST")));
        assert_eq!(world.ask("GET", path, "", "").status, 200);
        assert_eq!(world.ask("HEAD", path, "", "").status, 200);
        assert_eq!(world.ask("PUT", path, "", "").status, 405);
    }
}

#[test]
fn a_client_that_may_not_is_told() {
    let mut world = World::new();
    world.grants = false;
    world.publish();
    world.send(0..1, 100);
    let offer = offer(world.now);
    let number = world.post("/live/cam/whep", &offer);
    assert!(!world.answers.contains_key(&number), "it is not known yet");
    world.desk.refused(world.time(), 1, &Answer::text(401, "no"));
    world.settle();
    let answer = &world.answers[&number];
    assert_eq!((answer.status, field(answer, "Access-Control-Allow-Origin")), (401, Some("*")));
    assert!(world.left.is_empty());
    world.desk.granted(world.time(), 1, &key());
    world.settle();
    assert_eq!(world.left, [1], "that came too late");
}

#[test]
fn there_is_a_limit_for_all_and_for_each_second() {
    let settings = Settings { most_peers: 3, ..Settings::default() };
    let mut world = World::with(settings, Box::new(Engines(Identity::new().expect("a certificate"))));
    world.publish();
    world.send(0..1, 100);
    let offer = offer(world.now);
    let statuses: Vec<_> = (0..4).map(|_| world.ask("POST", "/live/cam/whep", SDP, &offer).status).collect();
    assert_eq!(statuses, [201, 201, 201, 503]);

    let settings = Settings { most_joins: 4, ..Settings::default() };
    let mut world = World::with(settings, Box::new(Engines(Identity::new().expect("a certificate"))));
    world.publish();
    world.send(0..1, 100);
    let numbers: Vec<_> = (0..10).map(|_| world.post("/live/cam/whep", &offer)).collect();
    let count = |world: &World, status: u16| world.answers.values().filter(|answer| answer.status == status).count();
    let (first, refused) = (count(&world, 201), count(&world, 503));
    assert!((1..=2).contains(&first) && refused == 10 - first - 4, "{first} came in, {refused} were refused");
    assert_eq!((world.left.len(), world.openings.len()), (0, 10 - refused), "those cost no more than that");
    world.run(Duration::from_millis(600));
    assert!((first + 1..first + 4).contains(&count(&world, 201)), "{}", count(&world, 201));
    world.run(Duration::from_secs(2));
    assert_eq!(count(&world, 201), first + 4, "the others had their turn");
    assert_eq!((world.answers.len(), world.desk.stats().too_many), (numbers.len(), refused as u64));
}

#[test]
fn an_offer_that_cannot_be_answered_takes_no_ones_place() {
    let mut world = World::new();
    let address: SocketAddr = "198.51.100.7:50000".parse().expect("an address");
    let offer = Client::new(world.now, address, Direction::SendOnly, RtcConfig::new()).offer;
    let plays = offer.replace("sendonly", "recvonly");
    let unknown = offer.replace("H264", "H266").replace("VP", "XP").replace("AV1", "AVX").replace("opus", "spous");
    let without_key = offer.replace("a=fingerprint:", "a=thumbprint:");
    for (offer, status, words) in [
        (plays, 422, "no codec in common"),
        (unknown.replace("H265", "H267"), 422, "no codec in common"),
        (without_key, 400, "fingerprint"),
        (format!("{offer}{}", "a=x\r\n".repeat(1000)), 400, "600 lines"),
        (format!("{offer}{}", &offer[offer.find("m=video").expect("it has one")..]), 422, "several tracks"),
    ] {
        let answer = world.ask("POST", "/live/cam/whip", SDP, &offer);
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status == status && body.contains(words), "{} {body}", answer.status);
    }
    assert!(world.openings.is_empty() && world.left.is_empty());
    assert_eq!(world.desk.stats().bad_offers, 5);
    let answer = world.ask("POST", "/live/cam/whip", SDP, &offer);
    assert_eq!((answer.status, world.openings.len()), (201, 1));
}

#[test]
fn offers_without_an_answer_are_bounded_in_bytes() {
    let mut world = World::new();
    world.grants = false;
    let offer = format!("{}a={}\r\n", offer(world.now), "x".repeat(25_000));
    let numbers: Vec<_> = (0..2000).map(|_| world.post("/live/cam/whep", &offer)).collect();
    let refused = world.answers.values().filter(|answer| answer.status == 503).count();
    assert!((200..2000).contains(&refused) && refused == world.answers.len(), "{refused} of {}", numbers.len());
    for session in 1..=world.openings.len() as u64 {
        world.desk.refused(world.time(), session, &Answer::text(403, "no"));
    }
    world.settle();
    assert_eq!((world.answers.len(), world.desk.lobby.bytes), (2000, 0));
}

#[test]
fn the_calls_of_srs_are_answered_with_json() {
    let mut world = World::new();
    world.publish();
    world.send(0..1, 100);
    let offer = offer(world.now);
    let body = serde_json::json!({ "streamurl": "webrtc://h/live/cam?token=t", "sdp": offer }).to_string();
    let answer = world.ask("POST", "/rtc/v1/play/", "Content-Type: application/json\r\n", &body);
    assert_eq!((answer.status, field(&answer, "Content-Type")), (200, Some("application/json")));
    let answer: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(answer["code"], 0);
    assert!(answer["sdp"].as_str().is_some_and(|sdp| sdp.starts_with("v=0")));
    let opening = &world.openings[0];
    assert_eq!((&*opening.app, &*opening.stream, opening.request.query()), ("live", "cam", Some("token=t")));
    assert_eq!(world.ask("POST", "/rtc/v1/play/", "", "{}").status, 400);
}

#[test]
fn further_addresses_of_a_client_are_read_and_not_needed() {
    let mut world = World::new();
    world.publish();
    world.send(0..1, 1000);
    let viewer = world.connected("198.51.100.7:50000");
    let location = world.clients[&viewer].location.clone();
    let fragment = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
        a=candidate:1 1 UDP 2 192.0.2.9 5000 typ host\r\n";
    let name = Fragment::of_description(&offer_of(&world, viewer)).and_then(|offer| offer.name).expect("a name");
    let fragment = fragment.replace("abcd", &name);
    let fields = "Content-Type: application/trickle-ice-sdpfrag\r\n";
    let ask = |world: &mut World, fields: &str, body: &str| world.ask("PATCH", &location, fields, body).status;
    assert_eq!(ask(&mut world, fields, &fragment), 204);
    assert_eq!(ask(&mut world, &format!("{fields}If-Match: *\r\n"), &fragment), 204);
    assert_eq!(ask(&mut world, &format!("{fields}If-Match: \"other\"\r\n"), &fragment), 412);
    assert_eq!(ask(&mut world, SDP, &fragment), 415);
    assert_eq!(ask(&mut world, fields, "hello"), 400);
}

#[test]
fn a_client_that_begins_again_from_another_address_keeps_its_session() {
    let mut world = World::new();
    world.publish();
    world.send(0..5, 1000);
    let viewer = world.connected("198.51.100.7:50000");
    let location = world.clients[&viewer].location.clone();
    let fields = "Content-Type: application/trickle-ice-sdpfrag\r\n";
    let first = answer_to(&world, viewer);
    let mut client = world.clients.remove(&viewer).expect("it is there");
    let mut api = client.rtc.sdp_api();
    let new = api.ice_restart(false);
    let (_, pending) = api.apply().expect("there is something to offer");
    let fragment = &format!("a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", new.ufrag, new.pass);
    assert_eq!(world.ask("PATCH", &location, fields, fragment).status, 428);
    let answer = world.ask("PATCH", &location, &format!("{fields}If-Match: *\r\n"), fragment);
    assert_eq!((answer.status, field(&answer, "Content-Type")), (200, Some("application/trickle-ice-sdpfrag")));
    let tag = field(&answer, "ETag").expect("a tag").to_owned();
    let text = std::str::from_utf8(&answer.body).expect("text");
    let server = Fragment::parse(text.as_bytes()).expect("a fragment");
    assert!(text.contains("192.0.2.1 8000 typ host") && server.candidates == 1, "{text}");

    // The client moves on to another address.
    let before = Fragment::of_description(&first).expect("a description");
    let replaced = |text: &str, before: Option<String>, after: Option<String>| {
        text.replace(&before.expect("it has one"), &after.expect("it has one"))
    };
    let again = replaced(&replaced(&first, before.name, server.name), before.password, server.password);
    let again = SdpAnswer::from_sdp_string(&again).expect("an answer");
    client.rtc.sdp_api().accept_answer(pending, again).expect("it is accepted");
    let moved: SocketAddr = "198.51.100.8:6000".parse().expect("an address");
    client.rtc.add_local_candidate(Candidate::host(moved, "udp").expect("a candidate"));
    world.clients.insert(moved, client);
    world.run(Duration::from_secs(2));
    world.send(100..140, 1000);
    let numbers = world.clients[&moved].numbers();
    assert!(numbers.iter().filter(|number| **number >= 100).count() >= 35, "{numbers:?}");
    assert!(world.left.is_empty());
    let old = world.ask("PATCH", &location, &format!("{fields}If-Match: \"x\"\r\n"), fragment);
    assert_eq!(old.status, 412);
    let same = world.ask("PATCH", &location, &format!("{fields}If-Match: {tag}\r\n"), fragment);
    assert_eq!(same.status, 204, "that is no restart any more");
}

fn offer_of(world: &World, client: SocketAddr) -> String {
    world.clients[&client].offer.clone()
}

#[test]
fn messages_that_are_not_genuine_change_nothing() {
    let mut world = World::new();
    world.publish();
    world.send(0..1, 1000);
    let viewer = world.connected("198.51.100.7:50000");
    let local = SERVER.parse().expect("an address");
    let attacker = Path { transport: Transport::Udp, local, remote: "203.0.113.9:9".parse().expect("an address") };
    let name = "x".repeat(12);
    for name in [name.as_str(), server_name(&world, viewer).as_str()] {
        let user = format!("{name}:abcd");
        let mut attributes = vec![0, 6, 0, user.len() as u8];
        attributes.extend_from_slice(user.as_bytes());
        attributes.resize(attributes.len().next_multiple_of(4), 0);
        attributes.extend_from_slice(&[0, 8, 0, 20]);
        attributes.extend_from_slice(&[1; 20]);
        let length = (attributes.len() as u16).to_be_bytes();
        let message = [&[0, 1][..], &length, &[0x21, 0x12, 0xA4, 0x42], &[9; 12], &attributes].concat();
        world.desk.receive(world.time(), attacker, &message);
        assert!(world.desk.poll_datagram().is_none(), "it is not answered");
    }
    for bytes in [&[][..], &[0; 1], &[0x16, 0xFE, 0xFD, 0, 0], &[0x80; 40], &[0xFF; 1500]] {
        world.desk.receive(world.time(), attacker, bytes);
        assert!(world.desk.poll_datagram().is_none(), "it is not answered");
    }
    assert!(world.desk.stats().strange >= 6);
    assert_eq!(world.desk.by_path.len(), 1);
    world.send(1..20, 1000);
    assert!(world.clients[&viewer].numbers().len() >= 17);
}

#[test]
fn an_address_that_a_client_claims_gets_no_more_bytes_than_came_from_it() {
    let mut world = World::new();
    world.publish();
    world.send(0..1, 1000);
    let viewer = world.connected("198.51.100.7:50000");
    let local = SERVER.parse().expect("an address");
    let victim: SocketAddr = "203.0.113.9:9".parse().expect("an address");
    let (mut received, mut sent) = (0, 0);
    for number in 1..100u8 {
        let message = check_of(&world, viewer, number);
        received += message.len();
        let path = Path { transport: Transport::Udp, local, remote: victim };
        world.desk.receive(world.time(), path, &message);
        world.now += Duration::from_millis(40);
        let (now, picture) = (world.now, video(world.milliseconds(), Kind::Reference, number, 0, 20_000));
        world.publisher.as_mut().expect("a publisher").push(now, picture).expect("it is on air");
        for stream in world.followed.clone() {
            world.desk.wake(world.time(), stream);
        }
        while let Some(datagram) = world.desk.poll_datagram() {
            sent += if datagram.path.remote == victim { datagram.bytes.len() } else { 0 };
            assert!(sent <= received, "{sent} bytes for {received}");
        }
    }
    let view = &world.desk.sessions()[0];
    assert_eq!(view.remote, Some(victim), "it was believed as far as that");
    assert!(sent > 0);
}

/// What a client sends first: it shows the password of its session, and nominates the address that it seems to come from.
fn check_of(world: &World, client: SocketAddr, number: u8) -> Vec<u8> {
    signed_by(world, client, number, &[(0x0024, &[0x7F; 4]), (0x802A, &[0xFF; 8]), (0x0025, &[])])
}

fn signed_by(world: &World, client: SocketAddr, number: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let server = Fragment::of_description(&answer_to(world, client)).expect("a description");
    let (name, password) = (server.name.expect("a name"), server.password.expect("a password"));
    let own = Fragment::of_description(&offer_of(world, client)).and_then(|offer| offer.name).expect("a name");
    crate::desk::stun::signed([number; 12], &own, &Credentials { name, password }, attributes)
}

#[test]
fn the_address_of_a_client_is_not_taken_by_another_session_that_only_claims_it() {
    let mut world = World::new();
    world.publish();
    world.send(0..1, 1000);
    let victim = world.connected("198.51.100.7:50000");
    let attacker = world.connected("203.0.113.9:9");
    let path = Path { transport: Transport::Udp, local: SERVER.parse().expect("an address"), remote: victim };
    let holder = |world: &World| world.desk.by_path[&path].session;
    let session = holder(&world);
    for number in 1..20 {
        let message = check_of(&world, attacker, number);
        world.desk.receive(world.time(), path, &message);
        assert_eq!(holder(&world), session, "what the client sends is still for its session");
        // The questions that the server asks at this address are lost: the client there would not answer them.
        while world.desk.poll_datagram().is_some() {}
    }
    world.send(1..20, 1000);
    assert!(world.clients[&victim].numbers().len() >= 17);
}

#[test]
fn a_client_has_a_bounded_number_of_addresses_however_many_it_claims() {
    let mut world = World::new();
    world.publish();
    world.send(0..1, 1000);
    let client = world.connected("198.51.100.7:50000");
    let mut answered = 0;
    for port in 1..=3 * MOST_SOURCES as u16 {
        let remote = SocketAddr::from(([203, 0, 113, 9], port));
        let path = Path { transport: Transport::Udp, local: SERVER.parse().expect("an address"), remote };
        // It does not say that packets are to go there.
        let message = signed_by(&world, client, 1, &[(0x0024, &[0; 4]), (0x802A, &[0xFF; 8])]);
        let is_taken = world.desk.receive(world.time(), path, &message);
        let datagrams = std::iter::from_fn(|| world.desk.poll_datagram());
        let is_answered = datagrams.filter(|datagram| datagram.path == path).count() > 0;
        assert_eq!(is_taken, is_answered);
        answered += usize::from(is_answered);
    }
    assert_eq!(answered, MOST_SOURCES - 1, "the first one is its own");
    assert!(world.desk.by_path.len() <= 8 && world.desk.questions.len() <= 8);
    world.send(1..40, 1000);
    assert!(world.clients[&client].numbers().len() >= 30, "where it is it goes on");
}

#[test]
fn a_client_may_use_its_address_again_for_another_session() {
    let mut world = World::new();
    world.publish();
    world.send(0..1, 1000);
    let address = world.connected("198.51.100.7:50000");
    let path = Path { transport: Transport::Udp, local: SERVER.parse().expect("an address"), remote: address };
    let before = world.desk.by_path[&path].session;
    // The page is loaded again: its first session was not ended.
    world.connected("198.51.100.7:50000");
    assert_ne!(world.desk.by_path[&path].session, before);
    world.send(1..20, 1000);
    assert!(world.clients[&address].numbers().len() >= 17);
}

#[test]
fn an_answer_that_does_not_show_the_password_proves_nothing() {
    let mut world = World::new();
    world.publish();
    world.send(0..1, 1000);
    let client = world.connected("198.51.100.7:50000");
    let password = Fragment::of_description(&offer_of(&world, client)).and_then(|offer| offer.password);
    let local = SERVER.parse().expect("an address");
    let claimed = Path { transport: Transport::Udp, local, remote: "203.0.113.9:9".parse().expect("an address") };
    let message = check_of(&world, client, 1);
    world.desk.receive(world.time(), claimed, &message);
    let questions = |world: &mut World| {
        let datagrams: Vec<_> = std::iter::from_fn(|| world.desk.poll_datagram()).collect();
        datagrams.into_iter().rfind(|datagram| datagram.path == claimed && datagram.bytes[..2] == [0, 1])
    };
    let question = questions(&mut world).expect("it is asked").bytes;
    let is_proven = |world: &mut World| {
        let mut proofs = world.desk.sessions.values_mut().filter_map(|session| match &mut session.stage {
            Stage::Open(open) => open.proof(claimed).map(|proof| proof.is_proven()),
            Stage::Asking(_) | Stage::Waiting(..) => None,
        });
        proofs.next().expect("it is known")
    };
    let answer = |password: &str| crate::desk::stun::answer(&question, password).expect("it is a question");
    world.desk.receive(world.time(), claimed, &answer("a password of somewhere else"));
    assert!(!is_proven(&mut world));
    let elsewhere = Path { remote: "203.0.113.9:10".parse().expect("an address"), ..claimed };
    let password = password.expect("a password");
    world.desk.receive(world.time(), elsewhere, &answer(&password));
    assert!(!is_proven(&mut world), "it comes from another address");
    world.desk.receive(world.time(), claimed, &answer(&password));
    assert!(is_proven(&mut world));
}

/// The server's answer to a client.
fn answer_to(world: &World, client: SocketAddr) -> String {
    let location = &world.clients[&client].location;
    let answer = world.answers.values().find(|answer| field(answer, "Location") == Some(location)).expect("the answer");
    String::from_utf8(answer.body.to_vec()).expect("text")
}

/// The server's name in it.
fn server_name(world: &World, client: SocketAddr) -> String {
    Fragment::of_description(&answer_to(world, client)).and_then(|answer| answer.name).expect("a name")
}

#[test]
fn what_is_logged_of_effects_and_targets_has_no_secrets_and_no_media() {
    let secret = "5ec2e700112233445566778899aabbcc";
    let body = format!("v=0\r\na=ice-pwd:{secret}\r\n");
    let with_token = request("POST", &format!("/live/cam/whip?token={secret}"), SDP, &body);
    let (session, role, app, stream) = (1, Role::Publisher, "live".to_owned(), "cam".to_owned());
    let opening = Box::new(Opening { session, role, client: None, request: with_token, app, stream });
    let location = format!("/rtc/session/1-{secret}");
    let answer = Answer::new(201).with("Location", &location).with_body(body);
    let sound = bytes::Bytes::from_static(&[0xAB; 500]);
    let packet = crate::desk::OpusPacket { time: Duration::ZERO, data: sound.clone() };
    let target = Target::of(&request("DELETE", &location, "", "")).expect("it is for a session");
    let frame = SoundJob::Frame { job: 1, time: Duration::ZERO, data: sound };
    let all: [&dyn std::fmt::Debug; 5] = [
        &Effect::Answer(Slip(1), answer),
        &Effect::<Slip>::Open(opening),
        &Effect::<Slip>::Sound(frame),
        &packet,
        &target,
    ];
    for shown in all.map(|one| format!("{one:?}")) {
        assert!(!shown.contains(secret) && shown.len() < 200, "{shown}");
    }
}

#[test]
fn addresses_of_udp_and_of_tcp_are_told_independently_of_each_other() {
    let told = |candidates: &str, tcp_candidates: &str| {
        let read = |text: &str| text.split_whitespace().map(|one| one.parse().expect("an address")).collect();
        let settings = Settings {
            candidates: read(candidates),
            tcp_candidates: read(tcp_candidates),
            tcp_listening: read("0.0.0.0:8001"),
            ..Settings::default()
        };
        let mut world = World::with(settings, Box::new(Engines(Identity::new().expect("a certificate"))));
        world.publish();
        world.send(0..1, 1000);
        let offer = offer(world.now);
        let answer = world.ask("POST", "/live/cam/whep", SDP, &offer);
        let text = String::from_utf8(answer.body.to_vec()).expect("text");
        let address = |line: &str| {
            let words: Vec<_> = line.split(' ').collect();
            format!("{} {} {}", words[2], words[4], words[5])
        };
        let mut all: Vec<_> = text.lines().filter(|line| line.starts_with("a=candidate")).map(address).collect();
        all.sort();
        all.dedup();
        all
    };
    assert_eq!(told("", ""), ["tcp 192.0.2.1 8001", "udp 192.0.2.1 8000"]);
    assert_eq!(told("203.0.113.1:9000", ""), ["tcp 192.0.2.1 8001", "udp 203.0.113.1 9000"]);
    assert_eq!(told("", "203.0.113.1:443"), ["tcp 203.0.113.1 443", "udp 192.0.2.1 8000"]);
    assert_eq!(told("203.0.113.1:9000", "203.0.113.1:443"), ["tcp 203.0.113.1 443", "udp 203.0.113.1 9000"]);
}

#[test]
fn each_socket_is_told_with_its_own_port() {
    let read = |text: &str| text.split_whitespace().map(|one| one.parse().expect("an address")).collect::<Vec<_>>();
    let told = |sockets: &str, reached: &str, interfaces: &[&str]| {
        let addresses = [&[reached], interfaces].concat();
        let addresses: Vec<_> = addresses.iter().map(|one| one.parse().expect("an address")).collect();
        let found = crate::desk::requests::reached_at(&read(sockets), &addresses);
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let interfaces = ["10.0.0.1", "10.0.0.2", "2001:db8::1"];
    assert_eq!(told("[::]:8000", "10.0.0.2", &interfaces), "10.0.0.2:8000 10.0.0.1:8000 [2001:db8::1]:8000");
    assert_eq!(told("0.0.0.0:8000", "10.0.0.2", &interfaces), "10.0.0.2:8000 10.0.0.1:8000");
    // The one that the request has reached comes first.
    assert_eq!(told("10.0.0.1:8000 10.0.0.2:9000", "10.0.0.2", &interfaces), "10.0.0.2:9000 10.0.0.1:8000");
    // Behind a proxy on the same machine, sockets that are bound to an address are where they are.
    assert_eq!(told("10.0.0.1:8000", "127.0.0.1", &interfaces), "10.0.0.1:8000");
    assert_eq!(told("[::1]:8000 127.0.0.1:8001", "127.0.0.1", &[]), "127.0.0.1:8001 [::1]:8000");
    assert_eq!(told("", "127.0.0.1", &interfaces), "");
}
