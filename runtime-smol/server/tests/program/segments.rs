//! Viewers of HLS: one player each for hooks, lists and other servers, whatever they ask for.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anabranch_tests::backend::{Backend, yes};
use anabranch_tests::peer::WebPlayer;
use anabranch_tests::program::{Process, Program};
use anabranch_tests::{TIMEOUT, wait_for};

use crate::launch;

/// Short segments, so that a viewer is silent after three seconds.
const SHORT: &str = "[defaults.hls]\ntarget = '1s'\n";

fn publish(program: &Program, name: &str) -> Process {
    let url = program.url(name);
    let picture = ["-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25", "-c:v", "libx264"];
    let more = ["-preset", "ultrafast", "-g", "25", "-t", "120", "-f", "flv", &url];
    let encoder = Process::start("ffmpeg", [&picture[..], &more].concat());
    program.wait_publishers(name, 1);
    encoder
}

/// Status, head and body of the answer.
fn get(server: SocketAddr, target: &str) -> (u16, String, String) {
    let mut socket = TcpStream::connect(server).expect("it listens");
    socket.set_read_timeout(Some(TIMEOUT)).expect("it can be set");
    let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("it ends in time");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("it has a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("it has a status");
    (status, head.to_owned(), body.to_owned())
}

fn location(head: &str) -> String {
    let line = head.lines().find_map(|line| line.strip_prefix("Location: "));
    format!("/live/{}", line.expect("it leads somewhere"))
}

/// Each form in which a stream is got by HTTP: for a stream, what its media begin with, for lists of segments, what they
/// contain.
const FORMS: [(&str, &str); 4] = [("flv", "FLV"), ("mp4", "ftyp"), ("m3u8", "#EXTINF"), ("mpd", "<Period ")];

/// Gets a stream in each form, until there is media, and one that is nowhere.
pub(crate) fn view_in_all_forms(web: SocketAddr, name: &str) {
    for (extension, says) in FORMS {
        let target = format!("/{name}.{extension}");
        if matches!(extension, "flv" | "mp4") {
            let mut viewer = WebPlayer::get(web, &target);
            assert_eq!(viewer.status(), 200, "{target}");
            let mut received = Vec::new();
            while received.len() < 10_000 {
                received.extend(viewer.piece().expect("the stream goes on"));
            }
            assert!(received[..8].windows(says.len()).any(|bytes| bytes == says.as_bytes()), "{target}");
            continue;
        }
        let (status, head, body) = get(web, &target);
        assert!(status == 200 && body.contains(says), "{target}: {head}\n{body}");
        if let Some(segment) = body.lines().find(|line| line.ends_with(".m4s")) {
            let (status, head, body) = get(web, &format!("/live/{segment}"));
            assert!(status == 200 && body.contains("moof"), "{segment}: {head}");
        }
    }
    for (extension, _) in FORMS {
        let target = format!("/live/nothing.{extension}");
        let mut viewer = WebPlayer::get(web, &target);
        assert_eq!(viewer.status(), 404, "{target}");
    }
}

#[test]
fn a_viewer_is_asked_about_once_and_told_of_once_and_one_that_was_closed_gets_403() {
    let backend = Backend::start(|_| yes());
    let url = backend.url("/");
    let settings =
        format!("[api]\nlisten = '127.0.0.1:0'\n{SHORT}[defaults.hooks]\non_play = ['{url}']\non_stop = ['{url}']\n");
    let program = launch().with_web().settings(&settings).start();
    let _encoder = publish(&program, "live/cam");
    let sessions: Vec<_> = (0..2)
        .map(|_| {
            let (status, head, _) = get(program.web(), "/live/cam.m3u8?user=me");
            assert_eq!(status, 302, "{head}");
            location(&head)
        })
        .collect();
    assert_ne!(sessions[0], sessions[1]);
    for session in &sessions {
        for _ in 0..3 {
            let (status, head, body) = get(program.web(), session);
            assert!(status == 200 && body.contains("#EXTINF"), "{head}\n{body}");
            assert!(head.contains("Cache-Control: no-cache"), "{head}");
        }
    }
    let asked = backend.wait_calls(2);
    assert!(asked.iter().all(|call| call.action() == "on_play"), "{asked:?}");
    assert!(asked[0].text("param").contains("user=me"), "{asked:?}");
    let clients = program.get("/api/v1/clients");
    let clients = clients["clients"].as_array().expect("a list").clone();
    let viewers: Vec<_> = clients.iter().filter(|client| client["type"] == "hls-play").collect();
    assert_eq!(viewers.len(), 2, "{clients:?}");
    let id = viewers[0]["id"].as_str().expect("it has an id");
    assert_eq!(program.ask("DELETE", &format!("/api/v1/clients/{id}")).status, 200);
    let stopped = backend.wait_calls(3);
    assert_eq!(stopped[2].action(), "on_stop");
    let statuses: Vec<_> = sessions.iter().map(|session| get(program.web(), session).0).collect();
    assert!(statuses.contains(&403) && statuses.contains(&200), "{statuses:?}");
    // The other one leaves when it has been silent for three target durations.
    let stopped = backend.wait_calls(4);
    assert_eq!(stopped[3].action(), "on_stop");
    assert_eq!(program.metric("anabranch_segment_sessions"), Some(0.0));
}

#[test]
fn a_refusal_by_rule_limit_or_name_is_the_answer() {
    let settings = "[defaults.limits]\nplayers = 1\n[defaults.security]\nrules = ['deny play all']\n\
                    [[defaults.application]]\nstreams = ['off/*']\nhls.mode = 'off'\nsecurity.rules = []\n\
                    [[defaults.application]]\nstreams = ['free/*']\nsecurity.rules = []\nhls.target = '1s'\n\
                    [web]\nwait = '100ms'\n";
    let program = launch().with_web().settings(settings).start();
    assert_eq!(get(program.web(), "/live/cam.m3u8").0, 403);
    assert_eq!(get(program.web(), "/off/cam.m3u8").0, 404);
    assert_eq!(get(program.web(), "/free/cam.m3u8").0, 404, "nothing is published");
    let _encoder = publish(&program, "free/cam");
    assert_eq!(get(program.web(), "/free/cam.m3u8").0, 200);
    let other = get(program.web(), "/free/cam.m3u8?another=viewer");
    assert_eq!(other.0, 503, "{}", other.1);
}

#[test]
fn a_stream_is_pulled_from_its_origin_as_long_as_it_is_viewed() {
    let source = launch().settings("[api]\nlisten = '127.0.0.1:0'\n").start();
    let _encoder = publish(&source, "live/cam");
    let origin = source.address();
    let settings = format!("{SHORT}[defaults.edge]\norigins = ['rtmp://{origin}']\nlinger = '200ms'\n");
    let edge = launch().with_web().settings(&settings).start();
    for _ in 0..3 {
        let (status, head, body) = get(edge.web(), "/live/cam.m3u8");
        assert!(status == 200 && body.contains("#EXTINF"), "{head}\n{body}");
    }
    assert_eq!(source.metric("anabranch_plays_total"), Some(1.0));
    wait_for("no player at the origin", TIMEOUT, || (source.metric("anabranch_players") == Some(0.0)).then_some(()));
    assert_eq!(get(edge.web(), "/live/nothing.m3u8").0, 404, "no origin has it");
}

/// The addresses of a multivariant playlist.
fn qualities(list: &str) -> Vec<String> {
    let lines = list.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|uri| format!("/live/{uri}")).collect()
}

#[test]
fn a_viewer_that_changes_the_quality_is_one_player() {
    let backend = Backend::start(|_| yes());
    let url = backend.url("/");
    let settings =
        format!("{SHORT}renditions = ['_low']\n[defaults.hooks]\non_play = ['{url}']\non_stop = ['{url}']\n");
    let program = launch().with_web().settings(&settings).start();
    let _encoders = [publish(&program, "live/cam"), publish(&program, "live/cam_low")];
    let (status, head, _) = get(program.web(), "/live/cam.m3u8?user=me");
    assert_eq!(status, 302, "{head}");
    let session = location(&head);
    let (status, head, list) = get(program.web(), &session);
    assert!(status == 200 && head.contains("Cache-Control: no-cache"), "{head}");
    let qualities = qualities(&list);
    assert_eq!(qualities, [format!("{session}&_quality=0"), format!("{session}&_quality=1")], "{list}");
    for quality in qualities.iter().cycle().take(6) {
        let (status, head, body) = get(program.web(), quality);
        assert!(status == 200 && body.contains("#EXTINF"), "{head}\n{body}");
    }
    let told = backend.wait_calls(2);
    let told: Vec<_> = told.iter().map(|call| (call.action(), call.text("stream"))).collect();
    assert_eq!(told, [("on_play", "cam"), ("on_stop", "cam")]);
}

#[test]
fn the_qualities_of_a_stream_are_pulled_with_it() {
    let source = launch().settings("[api]\nlisten = '127.0.0.1:0'\n").start();
    let _encoders = [publish(&source, "live/cam"), publish(&source, "live/cam_low")];
    let origin = source.address();
    let settings = format!(
        "{SHORT}renditions = ['_low', '_none']\n[defaults.edge]\norigins = ['rtmp://{origin}']\nlinger = '200ms'\n"
    );
    let edge = launch().with_web().settings(&settings).start();
    let (status, head, list) = get(edge.web(), "/live/cam.m3u8");
    assert_eq!(status, 200, "{head}\n{list}");
    assert_eq!(qualities(&list), ["/live/cam.m3u8?_quality=0", "/live/cam.m3u8?_quality=1"], "{list}");
    for quality in qualities(&list) {
        let (status, head, body) = get(edge.web(), &quality);
        assert!(status == 200 && body.contains("#EXTINF"), "{head}\n{body}");
    }
    wait_for("no player at the origin", TIMEOUT, || (source.metric("anabranch_players") == Some(0.0)).then_some(()));
}
