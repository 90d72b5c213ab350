//! Streams of a cluster: published on one server, played on others.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::client::{ClientConfig, ClientEvent, Destination};
use anabranch_core::cluster::{Member, PullSigner, SignedPull};
use anabranch_core::message::MessageType;
use anabranch_core::policy::{Action, Secret, sign};
use anabranch_core::url::StreamKey;
use anabranch_tests::peer::{Driver, WebPlayer};
use anabranch_tests::program::{Launch, Program, free_address};
use anabranch_tests::redis::{Cable, Redis};
use anabranch_tests::{TIMEOUT, wait_for};

use super::wait_state;
use crate::launch;
use crate::relays::{Encoder, FORMS, list, wait_frames};
use crate::segments::view_in_all_forms;

const SECRET: &str = "a secret of these tests";

/// A server of the cluster, where the others reach it.
pub(crate) fn node_at(address: SocketAddr, redis: &Redis, more: &str) -> Program {
    node_by(address, &redis.url(), more)
}

fn node_by(address: SocketAddr, redis: &str, more: &str) -> Program {
    node_with(launch(), address, redis, more)
}

fn node_with(launch: Launch, address: SocketAddr, redis: &str, more: &str) -> Program {
    let settings = format!(
        "[api]\nlisten = '127.0.0.1:0'\n[cluster]\nredis = '{redis}'\nadvertise = 'rtmp://{address}'\nttl = '3s'\n\
         hold = false\nsecret = '{SECRET}'\n{more}"
    );
    let node = launch.settings(&settings).start_at(address);
    wait_state(&node, "connected");
    node
}

fn node(redis: &Redis) -> Program {
    node_at(free_address(), redis, "")
}

pub(super) fn names(redis: &Redis) -> usize {
    redis.command(&["KEYS", "ab:s:*"]).lines().filter(|line| !line.is_empty()).count()
}

fn wait_names(redis: &Redis, count: usize) {
    wait_for(&format!("{count} names in the directory"), TIMEOUT, || (names(redis) == count).then_some(()));
}

/// The timestamps of the next pictures.
pub(super) fn times(player: &mut Driver, count: usize) -> Vec<u32> {
    let picture = |event| match event {
        ClientEvent::Media { message, .. } if message.type_id == MessageType::VIDEO => Some(message.timestamp),
        _ => None,
    };
    (0..count).map(|_| player.wait_event("a picture", picture)).collect()
}

/// An encoder that tries again until it may publish; when that was.
fn insist(program: &Program, name: &str) -> (Encoder, Instant) {
    let driver = wait_for("grant", TIMEOUT, || {
        let mut driver = program.visitor();
        driver.publish(name).is_ok().then_some(driver)
    });
    (Encoder::of(driver), Instant::now())
}

#[test]
fn what_is_published_on_one_server_plays_on_all() {
    let redis = Redis::new();
    let [a, b, c] = [(); 3].map(|()| node(&redis));
    let encoder = Encoder::start(&a, "cam");
    let mut players: Vec<_> = [&b, &c, &b, &a].map(|program| program.player("cam")).into();
    for player in &mut players {
        wait_frames(player, 30);
    }
    assert_eq!((list(&b, "edge").len(), list(&c, "edge").len(), list(&a, "edge").len()), (1, 1, 0));
    let target = list(&b, "edge")[0]["target"].as_str().unwrap_or_default().to_owned();
    assert!(target.contains(&a.address().to_string()) && !target.contains(SECRET), "{target}");
    // Only its own player counts at the owner.
    assert_eq!((a.metric("anabranch_players"), b.metric("anabranch_players")), (Some(1.0), Some(2.0)));
    assert_eq!(names(&redis), 1);
    let mut other = b.visitor();
    let refusal = other.publish("cam").expect_err("another server has the name");
    assert_eq!(refusal.code, "NetStream.Publish.BadName");
    assert!(!refusal.description.contains(&a.address().to_string()), "{refusal:?}");
    b.wait_line("is that of the server");
    drop(encoder);
    wait_names(&redis, 0);
    // The name is free at once, and the players follow.
    let (_encoder, _) = insist(&b, "cam");
    for player in &mut players {
        wait_frames(player, 30);
    }
}

#[test]
fn viewers_by_http_at_a_server_that_is_not_the_owner_get_the_stream_of_the_owner() {
    let redis = Redis::new();
    let [a, b] = [free_address(), free_address()]
        .map(|address| node_with(launch().with_web(), address, &redis.url(), "[web]\nwait = '1s'\n"));
    let _encoder = Encoder::start(&a, "cam");
    let mut viewers = FORMS.map(|(view, _)| view(b.web(), "/live/cam.flv"));
    for (viewer, (_, status)) in viewers.iter_mut().zip(FORMS) {
        assert_eq!(viewer.status(), status);
        let times: Vec<u32> = (0..20).map(|_| viewer.picture().timestamp).collect();
        assert!(times.windows(2).all(|pair| pair[1] == pair[0] + 20), "{times:?}");
    }
    assert_eq!((list(&b, "edge").len(), list(&a, "edge").len()), (1, 0));
    assert_eq!(a.metric("anabranch_players"), Some(0.0), "a pull of the cluster is no player");
    let mut others = FORMS.map(|(view, _)| view(b.web(), "/live/nothing.flv"));
    assert_eq!(others.each_mut().map(WebPlayer::status), [404, 404]);
}

#[test]
fn a_stream_of_another_server_is_viewed_in_every_form() {
    let redis = Redis::new();
    let [a, b] = [free_address(), free_address()]
        .map(|address| node_with(launch().with_web(), address, &redis.url(), "[web]\nwait = '2s'\n"));
    let _encoder = Encoder::start(&a, "cam");
    for server in [&b, &a] {
        view_in_all_forms(server.web(), "live/cam");
    }
}

#[test]
fn of_two_encoders_with_one_name_exactly_one_wins() {
    let redis = Redis::new();
    let [a, b] = [(); 2].map(|()| node(&redis));
    let barrier = Barrier::new(2);
    for round in 0..1000 {
        let name = format!("cam{round}");
        let granted = thread::scope(|scope| {
            let publishes = |program: &'_ Program| {
                let mut driver = program.visitor();
                let name = name.clone();
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    let outcome = driver.publish(&name).map_err(|refusal| refusal.code);
                    // Until both are decided.
                    barrier.wait();
                    outcome
                })
            };
            [publishes(&a), publishes(&b)].map(|one| one.join().expect("it is decided"))
        });
        let won = granted.iter().filter(|outcome| outcome.is_ok()).count();
        let refused = granted.iter().filter_map(|outcome| outcome.as_ref().err());
        assert_eq!(won, 1, "round {round}: {granted:?}");
        assert!(refused.eq([&"NetStream.Publish.BadName".to_owned()]), "round {round}: {granted:?}");
    }
    wait_names(&redis, 0);
}

/// The Redis is away for so long, and players and the publisher lose nothing.
fn loses_no_frame(away: Duration, leave: fn(&mut Redis), come_back: fn(&mut Redis)) {
    let mut redis = Redis::new();
    let [a, b] = [(); 2].map(|()| node(&redis));
    let _encoder = Encoder::start(&a, "cam");
    let mut players = [b.player("cam"), b.player("cam"), a.player("cam")];
    // The sequence header has the time of the frame behind it.
    let first = players.each_mut().map(|player| times(player, 2)[1]);
    let left = Instant::now();
    leave(&mut redis);
    wait_state(&b, "lost");
    let frames = u32::try_from(away.as_millis() / 20).expect("a short time");
    let during = players.each_mut().map(|player| times(player, frames as usize));
    assert!(left.elapsed() >= away, "frames come in real time");
    come_back(&mut redis);
    wait_state(&b, "connected");
    for ((player, during), first) in players.iter_mut().zip(during).zip(first) {
        let after = times(player, 100);
        let expected: Vec<_> = (1..=frames + 100).map(|number| first + number * 20).collect();
        assert_eq!([during, after].concat(), expected);
    }
    wait_names(&redis, 1);
    assert!(a.lines("name_lost").is_empty() && a.lines("lease_lost").is_empty());
}

#[test]
fn players_lose_no_frame_while_the_redis_is_dead() {
    // Longer than a name is held.
    loses_no_frame(Duration::from_secs(5), Redis::kill, Redis::start);
}

#[test]
#[ignore = "takes half a minute: tests/run --all-clients runs it"]
fn players_lose_no_frame_while_the_redis_is_dead_for_half_a_minute() {
    loses_no_frame(Duration::from_secs(30), Redis::kill, Redis::start);
}

#[test]
#[ignore = "takes half a minute: tests/run --all-clients runs it"]
fn players_lose_no_frame_while_the_redis_is_stopped_for_half_a_minute() {
    loses_no_frame(Duration::from_secs(30), |redis| redis.pause(), |redis| redis.resume());
}

#[test]
fn a_killed_owner_is_followed_to_the_server_of_its_encoder() {
    let redis = Redis::new();
    let [a, b, c] = [(); 3].map(|()| node(&redis));
    let encoder = Encoder::start(&a, "cam");
    let mut player = c.player("cam");
    let before = times(&mut player, 20);
    a.kill();
    let killed = Instant::now();
    // Its publisher ends with an error, which is not what this is about.
    std::mem::forget(encoder);
    let (_encoder, granted) = insist(&b, "cam");
    assert!(granted - killed < Duration::from_secs(3 + 2), "{:?}", granted - killed);
    let after = times(&mut player, 50);
    let all = [before, after].concat();
    assert!(all.is_sorted(), "{all:?}");
    assert_eq!(c.metric("anabranch_plays_total"), Some(1.0), "the player is the same");
}

#[test]
fn no_publisher_is_closed_and_no_name_stolen_when_all_data_is_lost() {
    let redis = Redis::new();
    let [a, b] = [(); 2].map(|()| node_at(free_address(), &redis, "on_loss = 'refuse'\n"));
    let _encoders: Vec<_> = (0..10).map(|number| Encoder::start(&a, &format!("cam{number}"))).collect();
    wait_names(&redis, 10);
    redis.command(&["FLUSHALL"]);
    // The owner comes back within a third of the life of a name; until then the names are free, as `hold` is off.
    wait_names(&redis, 10);
    for number in 0..10 {
        let refusal = b.visitor().publish(&format!("cam{number}")).expect_err("another server has the name");
        assert_eq!(refusal.code, "NetStream.Publish.BadName");
    }
    assert_eq!(a.metric("anabranch_publishers"), Some(10.0));
    assert_eq!(a.metric("anabranch_cluster_names_lost_total"), Some(0.0));
    // What is pulled now is pulled under the new leases.
    wait_frames(&mut b.player("cam7"), 10);
}

#[test]
fn a_pull_with_a_forged_signature_is_refused() {
    let redis = Redis::new();
    let owner = node_at(free_address(), &redis, "[defaults.limits]\nplayers = 0\n");
    let other = node(&redis);
    let _encoder = Encoder::start(&owner, "cam");
    // Without the signature no client plays here.
    wait_frames(&mut other.player("cam"), 10);
    let fencing = wait_for("lease", TIMEOUT, || {
        redis.command(&["HGET", "ab:s:{__defaultVhost__/live/cam}", "epoch"]).parse::<u64>().ok()
    });
    let destination = Destination::parse(&format!("rtmp://{}/live/cam", owner.address())).expect("a URL");
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let key = "live/cam".parse().expect("a name");
    let by = Member { node: "10.0.0.9:1935".into(), address: "rtmp://10.0.0.9:1935".into() };
    let asked = owner.address().to_string().into();
    let pull = SignedPull { key, fencing, hop: 1, asked, by, avoid: Vec::new() };
    let plays = |text: String| {
        let mut config = ClientConfig::to(&destination);
        config.properties.insert("anabranchPull", text);
        Driver::with(owner.address(), config).is_granted(false, "cam")
    };
    assert!(plays(PullSigner::new(SECRET).sign(&pull, unix)));
    for (text, what) in [
        (PullSigner::new("another secret of theirs").sign(&pull, unix), "secret"),
        (PullSigner::new(SECRET).sign(&pull, unix - 3600), "time"),
        (PullSigner::new(SECRET).sign(&SignedPull { fencing: fencing - 1, ..pull.clone() }, unix), "lease"),
        (PullSigner::new(SECRET).sign(&SignedPull { hop: 2, ..pull.clone() }, unix), "hop"),
        (PullSigner::new(SECRET).sign(&SignedPull { asked: "another".into(), ..pull.clone() }, unix), "server"),
        ("2 1 1 1 1 1".to_owned(), "form"),
    ] {
        assert!(!plays(text), "{what}");
    }
    assert!(owner.lines(SECRET).is_empty() && other.lines(SECRET).is_empty());
    assert!(!other.get("/api/v1/cluster").to_string().contains(SECRET));
}

#[test]
fn a_server_that_was_cut_off_yields_to_the_one_that_has_got_its_name() {
    let redis = Redis::new();
    let cable = Cable::to(redis.address());
    let a = node_by(free_address(), &format!("redis://{}", cable.address()), "");
    let b = node(&redis);
    let first = Encoder::start(&a, "cam");
    let mut local = a.player("cam");
    wait_frames(&mut local, 10);
    cable.cut(true);
    let (_second, _) = insist(&b, "cam");
    // Both have it: the first one cannot know better.
    wait_frames(&mut local, 10);
    cable.cut(false);
    a.wait_line("lease_lost");
    // Its publisher ends with an error, which is not what this is about.
    std::mem::forget(first);
    wait_frames(&mut local, 50);
    assert_eq!(a.metric("anabranch_plays_total"), Some(1.0), "the player is the same");
    assert_eq!(a.get("/api/v1/cluster")["data"]["pulls"][0]["node"], b.address().to_string().as_str());
}

#[test]
fn a_stopped_redis_takes_nothing_and_delays_new_publishers_by_a_second() {
    let redis = Redis::new();
    let [a, b] = [(); 2].map(|()| node(&redis));
    let _encoder = Encoder::start(&a, "cam");
    let mut player = b.player("cam");
    let first = times(&mut player, 2)[1];
    redis.pause();
    let asked = Instant::now();
    let _new = Encoder::start(&a, "new");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    a.wait_line("is published here all the same");
    let during = times(&mut player, 200);
    redis.resume();
    wait_state(&a, "connected");
    let after = times(&mut player, 100);
    let expected: Vec<_> = (1..=300).map(|number| first + number * 20).collect();
    assert_eq!([during, after].concat(), expected);
    wait_names(&redis, 2);
    wait_frames(&mut b.player("new"), 10);
}

#[test]
fn a_server_that_stops_gives_its_names_free_at_once() {
    let redis = Redis::new();
    let [a, b] = [(); 2].map(|()| node(&redis));
    let encoder = Encoder::start(&a, "cam");
    let mut player = b.player("cam");
    wait_frames(&mut player, 10);
    // The server ends its publisher, which is not what this is about.
    std::mem::forget(encoder);
    a.stop();
    assert_eq!(names(&redis), 0);
    let _encoder = Encoder::start(&b, "cam");
    wait_frames(&mut player, 30);
}

#[test]
fn a_record_of_a_dead_server_is_no_stream() {
    let redis = Redis::new();
    let a = node_at(free_address(), &redis, "[defaults.edge]\nwait = '500ms'\n");
    redis.command(&["HSET", "ab:s:{__defaultVhost__/live/ghost}", "node", "gone", "session", "1", "epoch", "7"]);
    let (mut player, asked) = (a.visitor(), Instant::now());
    let refusal = match player.play("ghost") {
        Err(refusal) => refusal.code,
        Ok(_) => player.wait_event("a refusal", |event| match event {
            ClientEvent::Rejected { rejection, .. } => Some(rejection.code),
            _ => None,
        }),
    };
    assert_eq!(refusal, "NetStream.Play.StreamNotFound");
    // Without the setting it takes ten seconds.
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
}

#[test]
fn a_publisher_with_a_signed_url_takes_its_name_from_another_server() {
    let redis = Redis::new();
    let secret = "0123456789abcdef0123456789abcdef";
    let more = format!(
        "[defaults.publish]\nconflict = 'takeover'\n[defaults.token]\nrequired_for = 'both'\nsecrets = ['{secret}']\n"
    );
    let [a, b] = [(); 2].map(|()| node_at(free_address(), &redis, &more));
    let key: StreamKey = "live/cam".parse().expect("a name");
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let (secret, expires) = (Secret::new(secret).expect("long enough"), unix + 3600);
    let name = |action| format!("cam?expires={expires}&token={}", sign(&secret, action, &key, expires));
    let publish = name(Action::Publish);
    let first = Encoder::start(&a, &publish);
    let mut player = a.player(&name(Action::Play));
    wait_frames(&mut player, 10);
    let _second = Encoder::start(&b, &publish);
    a.wait_line("lease_lost");
    std::mem::forget(first);
    wait_frames(&mut player, 50);
}

#[test]
fn servers_of_srs_can_ask_where_a_stream_is() {
    let redis = Redis::new();
    let a = node(&redis);
    let guarded = "[api]\nlisten = '127.0.0.1:0'\ntoken = 'a token for operators'\n";
    let [open, closed] = [true, false].map(|open| {
        let settings = format!(
            "{guarded}[cluster]\nredis = '{}'\nadvertise = 'rtmp://127.0.0.1:{}'\nsrs_lookup = {open}\n",
            redis.url(),
            if open { 1 } else { 2 }
        );
        launch().settings(&settings).start()
    });
    let _encoder = Encoder::start(&a, "cam");
    let ask = |program: &Program, stream: &str| {
        let query = format!("vhost=__defaultVhost__&ip=192.0.2.1&app=live&stream={stream}&coworker=127.0.0.1:1985");
        program.ask("POST", &format!("/api/v1/clusters?{query}"))
    };
    for program in [&a, &open] {
        let answer = wait_for("the stream", TIMEOUT, || {
            let answer = ask(program, "cam").json();
            answer["data"]["origin"].is_object().then_some(answer)
        });
        let origin = &answer["data"]["origin"];
        assert_eq!((&answer["code"], &origin["ip"]), (&0.into(), &"127.0.0.1".into()), "{answer}");
        assert_eq!(origin["port"], a.address().port(), "{answer}");
        assert_eq!(answer["data"]["query"]["ip"], "192.0.2.1");
        assert!(ask(program, "none").json()["data"]["origin"].is_null());
    }
    let refused = ask(&closed, "cam");
    assert_eq!(refused.status, 401, "{refused:?}");
    let listed = a.get("/api/v1/cluster")["data"]["names"][0].clone();
    assert_eq!(listed["stream"], "cam", "{listed}");
    assert!(listed["lease"].as_u64().is_some_and(|lease| lease > 0), "{listed}");
}
