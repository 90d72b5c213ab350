//! WebRTC of the running program: its settings, what it says about them, and what operators see of its clients.

use std::net::UdpSocket;

use anabranch_core::message::Message;
use anabranch_tests::peer::Driver;
use anabranch_tests::program::{Launch, Program, free_address};
use anabranch_tests::redis::Redis;
use anabranch_tests::rtc::{Direction, RtcClient, Way, ask};
use anabranch_tests::{Folder, TIMEOUT, wait_for};
use serde_json::Value as Json;

use crate::launch;

/// The body of a message with the parameters of H.264: baseline, 16 x 16.
const VIDEO_HEADER: &[u8] =
    &[0x17, 0, 0, 0, 0, 1, 0x42, 0xC0, 0x1F, 0xFF, 0xE1, 0, 4, 0x67, 0x42, 0xC0, 0x1F, 1, 0, 4, 0x68, 0xCE, 0x3C, 0x80];
/// The body of a message with a key frame of one unit.
const KEY_FRAME: &[u8] = &[0x17, 1, 0, 0, 0, 0, 0, 0, 6, 0x65, 0x88, 1, 2, 3, 4];

fn program() -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_anabranch"))
}

/// What `check` says about these settings, and whether the server would start.
fn check(settings: &str) -> (bool, String) {
    let folder = Folder::new();
    let file = folder.write("a.toml", &format!("server.listen = ['127.0.0.1:0']\napi.listen = 'off'\n{settings}"));
    let ended = program().arg("check").arg(&file).run();
    (ended.status.success(), ended.stdout + &ended.stderr)
}

#[test]
fn check_names_what_cannot_work_and_what_is_probably_not_meant() {
    for (settings, words) in [
        ("rtc.listen = 'here'", "is not \"auto\", \"off\", or addresses such as"),
        ("rtc.candidates = ['0.0.0.0']", "is not an address such as"),
        ("rtc.tcp_listen = ['x']", "is no address to listen on"),
        ("rtc.sessions = 0", "0 is not within 1 to 1000000"),
        ("rtc.connect_timeout = 'never'", "\"never\" is not a time from 1s to 5m"),
        ("rtc.listen = '192.0.2.1:8000'", "this machine has no such address"),
        ("rtc.candidate = []", "unknown key; did you mean candidates?"),
    ] {
        let (is_good, said) = check(settings);
        assert!(!is_good && said.contains(words), "{settings}: {said}");
    }
    let at_any_port = "rtc.listen = '127.0.0.1:0'\n";
    for (settings, words) in [
        ("web.listen = 'off'", "rtc.listen: clients negotiate WebRTC by HTTP, and no address serves HTTP"),
        ("rtc.candidates = ['127.0.0.1']", "rtc.candidates[0]: only clients on this machine reach 127.0.0.1"),
        ("rtc.candidates = ['no-such-host.invalid']", "no-such-host.invalid has no address now"),
        ("rtc.tcp_candidates = ['203.0.113.7']", "rtc.tcp_candidates: nothing listens for ICE over TCP"),
        ("rtc.rooms = 5", "rtc.rooms: browsers give camera and microphone to pages by HTTPS"),
    ] {
        let (is_good, said) = check(&format!("{at_any_port}{settings}"));
        let warning = said.lines().find(|line| line.starts_with("# Warning: ") && line.contains(words));
        assert!(is_good && warning.is_some(), "{settings}: {said}");
    }
    let (is_good, said) = check("rtc.listen = 'off'\nrtc.rooms = 5\nrtc.tcp_listen = ['127.0.0.1:0']");
    assert!(is_good && said.contains("rooms need WebRTC") && said.contains("no WebRTC without UDP"), "{said}");
    let (is_good, said) = check("rtc.listen = '127.0.0.1:0'\nrtc.candidates = ['203.0.113.7', '[2001:db8::7]:9000']");
    assert!(is_good && !said.contains("# Warning: "), "{said}");
    assert!(
        said.contains("# Each session of WebRTC: at most 256 KiB, so 2500.0 MiB for 10000 (rtc.sessions)"),
        "{said}"
    );
}

#[test]
fn a_port_of_udp_that_is_taken_keeps_a_server_from_starting_that_was_told_to_use_it() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let settings = format!("rtc.listen = '{address}'");
    let (is_good, said) = check(&settings);
    assert!(is_good && said.contains(&format!("WebRTC cannot use UDP {address}")), "{said}");
    let options = ["--listen", "127.0.0.1:0", "--web", "off", "--rtc", &address.to_string()];
    let ended = program().args(options).run();
    assert!(!ended.status.success() && ended.stderr.contains("ss -lunp"), "{}", ended.stderr);
}

/// A stream with a picture that decoding can start at.
fn publish(program: &Program) -> Driver {
    let mut publisher = program.publisher("cam");
    publisher.send(Message::video(0, VIDEO_HEADER.to_vec()));
    publisher.send(Message::video(0, KEY_FRAME.to_vec()));
    publisher
}

/// The client by WebRTC in the list of clients, once it is as it should be.
fn listed(program: &Program, is_right: impl Fn(&Json) -> bool) -> Json {
    wait_for("a client by WebRTC in the list", TIMEOUT, || {
        let clients = program.get("/api/v1/clients")["clients"].as_array().cloned().unwrap_or_default();
        clients.into_iter().find(|client| client["rtc"].is_object() && is_right(client))
    })
}

#[test]
fn a_client_by_webrtc_is_listed_counted_and_closed_as_others_are() {
    let program = launch().with_rtc().settings("[api]\nlisten = '127.0.0.1:0'\n").start();
    let _publisher = publish(&program);
    let player = RtcClient::play(program.web(), "/live/cam/whep", Way::V4);
    player.wait_connected();
    let client = listed(&program, |client| client["rtc"]["connected"] == true);
    assert_eq!((&client["form"], &client["publish"]), (&"webrtc".into(), &false.into()), "{client}");
    assert_eq!((&client["url"], &client["rtc"]["transport"]), (&"/live/cam".into(), &"udp".into()), "{client}");
    let address = client["rtc"]["address"].as_str().unwrap_or_default();
    assert!(address.starts_with("127.0.0.1:"), "{client}");
    wait_for("a picture", TIMEOUT, || player.pictures().first().cloned());
    for (series, value) in [
        ("anabranch_rtc_players", 1.0),
        ("anabranch_rtc_publishers", 0.0),
        ("anabranch_rtc_sessions_answered_total", 1.0),
        ("anabranch_rtc_sessions_connected_total", 1.0),
        ("anabranch_form_players{form=\"webrtc\"}", 1.0),
    ] {
        wait_for(series, TIMEOUT, || (program.metric(series) == Some(value)).then_some(()));
    }
    assert!(program.metric("anabranch_rtc_sent_datagrams_total") > Some(0.0));
    let id = client["id"].as_str().expect("an id");
    assert_eq!(program.ask("DELETE", &format!("/api/v1/clients/{id}")).status, 200);
    player.wait_over();
    wait_for("no player", TIMEOUT, || (program.metric("anabranch_rtc_players") == Some(0.0)).then_some(()));
}

#[test]
fn candidates_and_limits_change_with_a_reload() {
    let folder = Folder::new();
    let text = |rtc: &str| format!("[api]\nlisten = '127.0.0.1:0'\n[rtc]\n{rtc}\n");
    let file = folder.write("a.toml", &text(""));
    let program = launch().with_rtc().arg("--config").arg(&file).start();
    let _publisher = publish(&program);
    let begin = || RtcClient::try_begin(program.web(), "/live/cam/whep", Way::V4, Direction::RecvOnly);
    let player = begin().expect("it is granted");
    player.wait_connected();
    assert!(!player.answer.body.contains("203.0.113.7"), "{}", player.answer.body);
    folder.write("a.toml", &text("candidates = ['203.0.113.7:40000', 'localhost']"));
    let line = program.reload(|| ());
    assert!(line.contains("changed: rtc.candidates"), "{line}");
    let told = wait_for("the candidates of the file", TIMEOUT, || {
        let answer = begin().expect("it is granted").answer.body.clone();
        answer.contains(" 127.0.0.1 ").then_some(answer)
    });
    assert!(told.contains(" 203.0.113.7 40000 "), "{told}");
    program.wait_line("are told [127.0.0.1");
    folder.write("a.toml", &text("sessions = 1"));
    program.reload(|| ());
    let refused = wait_for("a session beyond the limit is refused", TIMEOUT, || begin().err());
    assert_eq!((refused.status, refused.field("Retry-After").is_some()), (503, true), "{refused:?}");
    assert!(player.is_connected() && !player.is_over(), "a reload ends no session");
    folder.write("a.toml", &text("tcp_listen = ['127.0.0.1:0']"));
    let line = program.reload(|| ());
    assert!(line.contains("need a restart") && line.contains("rtc.tcp_listen"), "{line}");
}

#[test]
fn a_server_of_a_cluster_passes_requests_for_sessions_on_to_the_server_that_has_them() {
    let redis = Redis::new();
    let [a, b] = [free_address(), free_address()].map(|address| {
        let settings = format!(
            "[api]\nlisten = '127.0.0.1:0'\n[cluster]\nredis = '{}'\nadvertise = 'rtmp://{address}'\nttl = '3s'\nhold = false\n",
            redis.url()
        );
        let node = launch().with_rtc().settings(&settings).start_at(address);
        wait_for("the directory", TIMEOUT, || {
            (node.get("/api/v1/cluster")["data"]["state"] == "connected").then_some(())
        });
        node
    });
    let _publisher = publish(&a);
    // The stream comes from the other server.
    let player = RtcClient::play(b.web(), "/live/cam/whep", Way::V4);
    player.wait_connected();
    wait_for("a picture", TIMEOUT, || player.pictures().first().cloned());
    let path = player.session();
    let stranger = format!("{}{}", &path[..path.len() - 4], "0000");
    assert_eq!(ask(a.web(), "DELETE", &stranger, "", "").status, 404, "the secret is wrong");
    assert!(!player.is_over());
    let ended = wait_for("the directory knows both", TIMEOUT, || {
        let answer = ask(a.web(), "DELETE", path, "", "");
        (answer.status != 404).then_some(answer)
    });
    assert_eq!(ended.status, 200, "{ended:?}");
    player.wait_over();
    assert_eq!(ask(a.web(), "DELETE", path, "", "").status, 404);
}
