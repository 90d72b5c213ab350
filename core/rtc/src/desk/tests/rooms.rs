use super::*;

fn streams(world: &mut World, location: &str) -> (u16, String) {
    let answer = world.ask("GET", &format!("{location}/peers"), "", "");
    (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
}

fn publish(world: &mut World, address: &str, target: &str) -> SocketAddr {
    let address = world.client(address, target, Direction::SendOnly, RtcConfig::new());
    world.run(Duration::from_millis(500));
    assert!(world.clients[&address].is_connected());
    address
}

#[test]
fn people_in_a_room_learn_of_each_other_and_of_no_others() {
    let settings = Settings { most_in_room: 2, ..Settings::default() };
    let mut world = World::with(settings, Box::new(Engines(Identity::new().expect("a certificate"))));
    let ann = publish(&mut world, "198.51.100.1:5000", "/call/team/Ann-1/whip");
    let ann = world.clients[&ann].location.clone();
    assert_eq!(streams(&mut world, &ann), (200, r#"{"streams":["Ann-1"]}"#.to_owned()));
    let bob = publish(&mut world, "198.51.100.2:5000", "/call/team/B%C3%B6b-2/whip");
    let bob = world.clients[&bob].location.clone();
    publish(&mut world, "198.51.100.3:5000", "/call/other/Eve-3/whip");
    let eve = publish(&mut world, "198.51.100.4:5000", "/live/eve/whip");
    let both = (200, r#"{"streams":["Ann-1","Böb-2"]}"#.to_owned());
    assert_eq!((streams(&mut world, &ann), streams(&mut world, &bob)), (both.clone(), both));
    let eve = world.clients[&eve].location.clone();
    let wrong = format!("{}{}", &ann[..ann.len() - 1], if ann.ends_with('0') { '1' } else { '0' });
    for stranger in [&*eve, &wrong, "/rtc/session/1-0"] {
        assert_eq!(streams(&mut world, stranger).0, 404, "{stranger}");
    }

    let offer =
        Client::new(world.now, "198.51.100.5:5000".parse().unwrap(), Direction::SendOnly, RtcConfig::new()).offer;
    let full = world.ask("POST", "/call/team/Cat-5/whip", "Content-Type: application/sdp\r\n", &offer);
    assert_eq!((full.status, &full.body[..]), (503, &b"the room is full\n"[..]));
    world.ask("DELETE", &bob, "", "");
    assert_eq!(streams(&mut world, &bob).0, 404);
    assert_eq!(streams(&mut world, &ann), (200, r#"{"streams":["Ann-1"]}"#.to_owned()));
    publish(&mut world, "198.51.100.5:5000", "/call/team/Cat-5/whip");
}

#[test]
fn without_rooms_there_are_none() {
    let mut world = World::new();
    let offer =
        Client::new(world.now, "198.51.100.5:5000".parse().unwrap(), Direction::SendOnly, RtcConfig::new()).offer;
    let answer = world.ask("POST", "/call/team/Ann-1/whip", "Content-Type: application/sdp\r\n", &offer);
    assert_eq!(answer.status, 404);
    assert!(String::from_utf8_lossy(&answer.body).contains("rtc.rooms"));
}

#[test]
fn a_place_in_a_room_is_taken_by_those_that_may_publish_there_and_by_the_name_that_counts() {
    let settings = Settings { most_in_room: 1, ..Settings::default() };
    let mut world = World::with(settings, Box::new(Engines(Identity::new().expect("a certificate"))));
    let offer =
        Client::new(world.now, "198.51.100.5:5000".parse().unwrap(), Direction::SendOnly, RtcConfig::new()).offer;
    world.grants = false;
    for _ in 0..5 {
        world.post("/call/team/Eve-1/whip", &offer);
    }
    world.grants = true;
    publish(&mut world, "198.51.100.1:5000", "/call/team/Ann-1/whip");
    // The same room by names that mean the same.
    for (app, stream) in [("call/team", "Bob-2"), ("/call//team/", "Cat-3"), ("call/team/", "Dan-4")] {
        let target = format!("/rtc/v1/whip/?app={app}&stream={stream}");
        let answer = world.ask("POST", &target, "Content-Type: application/sdp\r\n", &offer);
        assert_eq!((answer.status, &answer.body[..]), (503, &b"the room is full\n"[..]), "{target}");
    }
    let mut world = World::new();
    let answer =
        world.ask("POST", "/rtc/v1/whip/?app=/call//team&stream=Ann", "Content-Type: application/sdp\r\n", &offer);
    assert_eq!(answer.status, 404, "there are no rooms by other names either");
    assert_eq!(world.left.len(), 1);
}
