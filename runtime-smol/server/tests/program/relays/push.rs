use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use anabranch_tests::backend::Backend;
use anabranch_tests::media::frames::{video, video_header};
use anabranch_tests::peer::Driver;
use anabranch_tests::program::{Nginx, free_address};
use anabranch_tests::{Authority, TIMEOUT, wait_for};

use super::{Encoder, list, wait_frames, wait_live, wait_state};
use crate::{launch, start, start_with_api};

fn forward(to: &str) -> String {
    format!("[[defaults.forward]]\nto = '{to}'\nbackoff = '50ms'\nmax_backoff = '200ms'\nconnect_timeout = '1s'\n")
}

#[test]
fn a_stream_is_pushed_to_several_servers_until_it_ends() {
    let (other, nginx) = (start(""), Nginx::start());
    let to_other = forward(&format!("rtmp://{}/{{app}}/{{stream}}", other.address()));
    let to_nginx = forward(&format!("rtmp://{}/live/copy-of-{{stream}}", nginx.address()));
    let program = start_with_api(&format!("{to_other}{to_nginx}"));
    let mut waiting = other.player("cam");
    let encoder = Encoder::start(&program, "cam");
    for target in [other.address(), nginx.address()] {
        let live = wait_live(&program, "forwards", &target.to_string());
        assert_eq!((&live["kind"], &live["source"]), (&"push".into(), &"configuration".into()), "{live}");
    }
    wait_frames(&mut waiting, 30);
    let mut late = Driver::to(&nginx.url("copy-of-cam"));
    late.play("copy-of-cam").expect("nginx has the stream");
    wait_frames(&mut late, 10);
    // Connections to other servers are not clients.
    assert_eq!(program.metric("anabranch_connections"), Some(1.0));
    assert_eq!(program.metric("anabranch_uplinks"), Some(2.0));
    assert_eq!(program.metric("anabranch_relays{kind=\"push\",state=\"live\"}"), Some(2.0));
    drop(encoder);
    program.wait_lines("is over: the stream is not published any more", 2);
    wait_for("the ends of all pushes", TIMEOUT, || list(&program, "forwards").is_empty().then_some(()));
    other.wait_line("publisher of live/cam, for which 1 player waits");
}

#[test]
fn only_streams_that_a_pattern_matches_are_pushed() {
    let other = start("");
    let settings = forward(&format!("rtmp://{}/live/{{stream}}", other.address())) + "streams = ['live/a*']\n";
    let program = start_with_api(&settings);
    let _encoders = ["abc", "xyz"].map(|name| Encoder::start(&program, name));
    wait_live(&program, "forwards", "/abc");
    other.wait_publishers("live/abc", 1);
    assert_eq!(list(&program, "forwards").len(), 1);
}

#[test]
fn a_target_with_tls_must_prove_its_name_by_a_root_that_is_trusted() {
    let authority = Authority::new();
    authority.issue("good", &["localhost"]);
    authority.issue("wrong", &["other.example"]);
    let (good, wrong) = (authority.server(&["good"]), authority.server(&["wrong"]));
    let url = |port: u16| format!("rtmps://localhost:{port}/live/{{stream}}?key=s3cret");
    let targets = forward(&url(good.address().port())) + &forward(&url(wrong.address().port()));
    let program = start_with_api(&format!("[relay]\nca_file = {:?}\n{targets}", authority.ca()));
    let _encoder = Encoder::start(&program, "cam");
    wait_live(&program, "forwards", &format!(":{}/", good.address().port()));
    let mut player = good.player("cam");
    wait_frames(&mut player, 10);
    let target = format!(":{}/", wrong.address().port());
    let refused = wait_state(&program, "forwards", &target, &["waiting", "refused"]);
    assert_eq!(refused["last_error"]["reason"], "tls", "{refused}");
    assert_eq!(refused["last_error"]["lasting"], true, "{refused}");
    assert!(refused["last_error"]["words"].as_str().is_some_and(|words| words.contains("another name")), "{refused}");
    // A root that is not trusted.
    let program = start_with_api(&targets);
    let _encoder = Encoder::start(&program, "cam");
    let target = format!(":{}/", good.address().port());
    let refused = wait_state(&program, "forwards", &target, &["waiting", "refused"]);
    assert!(refused["last_error"]["words"].as_str().is_some_and(|words| words.contains("not trusted")), "{refused}");
    let all = program.ask("GET", "/metrics").body + &program.ask("GET", "/api/v1/forwards").body;
    let log = program.lines("");
    assert!(!all.contains("s3cret") && log.iter().all(|line| !line.contains("s3cret")), "{all}\n{log:?}");
}

#[test]
fn a_refusal_is_told_in_the_words_of_the_target_and_touches_nothing_else() {
    let (other, taken) = (start(""), start(""));
    let _holder = Encoder::start(&taken, "cam");
    let targets = [&other, &taken].map(|target| forward(&format!("rtmp://{}/live/{{stream}}", target.address())));
    let program = start_with_api(&targets.concat());
    let _encoder = Encoder::start(&program, "cam");
    let refused = wait_state(&program, "forwards", &taken.address().to_string(), &["refused"]);
    assert_eq!(refused["last_error"]["code"], "NetStream.Publish.BadName", "{refused}");
    assert!(refused["next_try_ms"].as_u64() > Some(0), "{refused}");
    program.wait_line("NetStream.Publish.BadName");
    wait_live(&program, "forwards", &other.address().to_string());
    let mut player = other.player("cam");
    wait_frames(&mut player, 30);
}

#[test]
fn a_target_that_is_dead_silent_or_killed_gets_the_stream_when_it_is_there() {
    // It takes connections, and never says a word.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = free_address();
    let targets = [address, silent.local_addr().unwrap()];
    let targets = targets.map(|target| forward(&format!("rtmp://{target}/live/{{stream}}")));
    let program = start_with_api(&targets.concat());
    let _encoder = Encoder::start(&program, "cam");
    let dead = wait_state(&program, "forwards", &address.to_string(), &["waiting"]);
    assert_eq!(dead["last_error"]["reason"], "connect", "{dead}");
    let mute = wait_state(&program, "forwards", &silent.local_addr().unwrap().to_string(), &["waiting"]);
    assert!(mute["last_error"]["reason"].as_str().is_some_and(|reason| reason.contains("timeout")), "{mute}");
    for _ in 0..2 {
        let target = launch().start_at(address);
        wait_live(&program, "forwards", &address.to_string());
        let mut player = target.player("cam");
        wait_frames(&mut player, 10);
        target.kill();
        wait_state(&program, "forwards", &address.to_string(), &["waiting", "connecting"]);
    }
}

#[test]
fn a_target_that_closes_at_once_is_tried_again_with_pauses() {
    let rude = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = rude.local_addr().unwrap();
    thread::spawn(move || {
        for mut socket in rude.incoming().flatten() {
            let _ = socket.read(&mut [0; 64]);
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let program = start_with_api(&forward(&format!("rtmp://{address}/live/{{stream}}")));
    let _encoder = Encoder::start(&program, "cam");
    let failing = wait_for("three failures", TIMEOUT, || {
        list(&program, "forwards").into_iter().find(|relay| relay["failures"].as_u64() >= Some(3))
    });
    assert!(failing["attempts"].as_u64() >= Some(3), "{failing}");
}

#[test]
fn pushes_are_added_and_removed_while_the_stream_is_live() {
    let other = start("");
    let program = start_with_api("");
    let url = format!("rtmp%3A%2F%2F{}%2Flive%2Fcopy%3Fkey%3Ds3cret", other.address());
    let path = format!("/api/v1/forwards?stream=live/cam&url={url}");
    let added = program.ask("POST", &path).json();
    let id = added["forward"]["id"].as_u64().expect("an id");
    assert_eq!(added["forward"]["state"], "idle", "{added}");
    assert_eq!(program.ask("POST", &path).status, 409, "it is there already");
    let encoder = Encoder::start(&program, "cam");
    wait_live(&program, "forwards", &other.address().to_string());
    let mut player = other.player("copy");
    wait_frames(&mut player, 5);
    drop(encoder);
    wait_state(&program, "forwards", &other.address().to_string(), &["idle"]);
    let one = program.get(&format!("/api/v1/forwards/{id}"));
    assert_eq!(one["forward"]["stream"], "cam", "{one}");
    assert_eq!(program.ask("DELETE", &format!("/api/v1/forwards/{id}")).status, 200);
    assert_eq!(program.ask("DELETE", &format!("/api/v1/forwards/{id}")).status, 404);
    assert!(list(&program, "forwards").is_empty());
    for (query, status) in [
        ("stream=live/cam", 400),
        ("stream=live/cam&url=http%3A%2F%2Fa%2Fb", 400),
        ("stream=live/cam&url=rtmp%3A%2F%2Fhost", 400),
        ("stream=cam&url=rtmp%3A%2F%2Fa%2Fb%2Fc", 400),
    ] {
        let answer = program.ask("POST", &format!("/api/v1/forwards?{query}"));
        assert_eq!(answer.status, status, "{query}: {}", answer.body);
    }
    assert!(program.lines("s3cret").is_empty());
}

#[test]
fn a_back_end_chooses_the_targets_and_its_failure_leaves_nothing_busy() {
    let other = start("");
    let urls = format!("{{\"code\":0,\"data\":{{\"urls\":[\"rtmp://{}/live/copy\",\"http://no\"]}}}}", other.address());
    let backend = Backend::start(move |call| {
        assert_eq!((call.action(), call.text("stream")), ("on_forward", "cam"));
        Some((200, urls.clone()))
    });
    let program = start_with_api(&format!("[defaults.hooks]\non_forward = ['{}']\n", backend.url("/")));
    let encoder = Encoder::start(&program, "cam");
    let live = wait_live(&program, "forwards", &other.address().to_string());
    assert_eq!(live["source"], "hook", "{live}");
    program.wait_line("a target that on_forward gave");
    drop(encoder);
    wait_for("the end of the push", TIMEOUT, || list(&program, "forwards").is_empty().then_some(()));

    let failing = Backend::start(|_| Some((500, String::new())));
    let program = start_with_api(&format!("[defaults.hooks]\non_forward = ['{}']\n", failing.url("/")));
    for _ in 0..3 {
        let mut encoder = program.publisher("cam");
        encoder.flush();
        encoder.close();
    }
}

/// Passes bytes on between a program and a server, and says how the program ended its side of the first connection.
fn watch_end(server: SocketAddr) -> (SocketAddr, JoinHandle<io::Result<()>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (from, _) = listener.accept().unwrap();
        let to = TcpStream::connect(server).unwrap();
        let (answers, mut back) = (to.try_clone().unwrap(), from.try_clone().unwrap());
        let copying = thread::spawn(move || {
            let _ = io::copy(&mut &answers, &mut back);
            let _ = back.shutdown(Shutdown::Write);
        });
        let ended = io::copy(&mut &from, &mut &to).map(drop);
        let _ = to.shutdown(Shutdown::Write);
        copying.join().unwrap();
        ended
    });
    (address, thread)
}

#[test]
fn a_target_sees_the_end_of_a_push_and_no_reset() {
    let other = start("");
    for _ in 0..5 {
        let (address, ended) = watch_end(other.address());
        let program = start_with_api(&forward(&format!("rtmp://{address}/live/{{stream}}")));
        let encoder = Encoder::start(&program, "cam");
        wait_live(&program, "forwards", &address.to_string());
        drop(encoder);
        ended.join().unwrap().expect("an end and no reset");
        wait_for("the end of the push", TIMEOUT, || list(&program, "forwards").is_empty().then_some(()));
    }
}

#[test]
fn one_stream_is_pushed_to_two_hundred_targets() {
    let other = start("");
    let targets: String =
        (0..200).map(|number| forward(&format!("rtmp://{}/live/{{stream}}-{number}", other.address()))).collect();
    let program = start_with_api(&targets);
    let mut publisher = program.publisher("cam");
    publisher.send(video_header());
    publisher.send(video(0, true, 300));
    let mut time = 0;
    // A few frames are enough: other tests need the processor, too.
    let mut next = |publisher: &mut Driver| {
        time += 40;
        publisher.send(video(time, false, 300));
    };
    wait_for("200 pushes", TIMEOUT, || {
        next(&mut publisher);
        (program.metric("anabranch_relays{kind=\"push\",state=\"live\"}") == Some(200.0)).then_some(())
    });
    let mut players = [0, 100, 199].map(|number| other.player(&format!("cam-{number}")));
    for player in &mut players {
        wait_frames(player, 2);
    }
    next(&mut publisher);
    for player in &mut players {
        wait_frames(player, 1);
    }
    assert!(list(&program, "forwards").iter().all(|relay| relay["state"] == "live" && relay["connects"] == 1));
    publisher.close();
    wait_for("the ends of all pushes", TIMEOUT, || list(&program, "forwards").is_empty().then_some(()));
}
