//! A server with a Redis as the directory of its cluster: it starts, serves and stops whatever becomes of the Redis, and says
//! so.

mod clock;
mod leaving;
mod streams;
mod tree;

pub(crate) use streams::node_at;

use anabranch_core::client::ClientEvent;
use anabranch_core::message::Message;
use anabranch_tests::program::{Launch, Program, free_address};
use anabranch_tests::redis::Redis;
use anabranch_tests::{Folder, TIMEOUT, wait_for};
use serde_json::Value as Json;

use super::start_with_api;

fn start(redis: &str, advertise: &str, more: &str) -> Program {
    start_with_api(&format!("[cluster]\nredis = '{redis}'\nadvertise = '{advertise}'\nttl = '3s'\n{more}"))
}

fn cluster(server: &Program) -> Json {
    server.get("/api/v1/cluster")["data"].clone()
}

fn wait_state(server: &Program, state: &str) {
    wait_for(state, TIMEOUT, || (cluster(server)["state"] == state).then_some(()));
}

/// A key frame with this number in it.
fn frame(number: u8) -> Message {
    let mut body = vec![0x17, 1, 0, 0, 0];
    body.resize(200, number);
    Message::video(u32::from(number) * 40, body)
}

#[test]
fn streams_run_whatever_becomes_of_the_redis() {
    let mut redis = Redis::new();
    redis.kill();
    let server = start(&redis.url(), "rtmp://127.0.0.1:1", "");
    let line = server.wait_line("the directory cannot be used").text;
    assert!(line.contains("refused") && line.contains("start the Redis"), "{line}");
    let health = server.get("/api/v1/health");
    assert_eq!((&health["data"]["status"], &health["data"]["ready"]), (&"degraded".into(), &true.into()));
    assert_eq!(health["data"]["reasons"][0]["code"], "directory_lost");
    assert_eq!(server.metric("anabranch_cluster_connected"), Some(0.0));
    assert_eq!(server.metric("anabranch_health_reasons{code=\"directory_lost\"}"), Some(1.0));
    let mut publisher = server.publisher("cam");
    let mut player = server.player("cam");
    let mut received = Vec::new();
    let mut pass = |number: u8| {
        publisher.send(frame(number));
        let body = player.wait_event("frame", |event| match event {
            ClientEvent::Media { message, .. } => Some(message.payload.into_bytes()).filter(|body| body.len() == 200),
            _ => None,
        });
        received.push(body[100]);
    };
    pass(1);
    redis.start();
    wait_state(&server, "connected");
    pass(2);
    redis.pause();
    pass(3);
    wait_state(&server, "lost");
    pass(4);
    redis.resume();
    wait_state(&server, "connected");
    redis.kill();
    pass(5);
    wait_state(&server, "lost");
    pass(6);
    redis.start();
    wait_state(&server, "connected");
    pass(7);
    assert_eq!(received, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(server.get("/api/v1/health")["data"]["status"], "ok");
    assert!(server.metric("anabranch_cluster_connections_total") >= Some(3.0));
    assert!(server.metric("anabranch_cluster_connections_lost_total") >= Some(2.0));
}

#[test]
fn servers_know_each_other_and_one_that_stops_is_gone_at_once() {
    let redis = Redis::with(&["--requirepass", "s3cret"], &["-a", "s3cret"]);
    let url = format!("redis://:s3cret@{}/0", redis.address());
    let [a, b] = ["rtmp://127.0.0.1:1", "rtmp://127.0.0.1:2"].map(|advertise| start(&url, advertise, ""));
    let ids = |server: &Program| -> Vec<String> {
        let nodes = cluster(server)["nodes"].as_array().cloned().unwrap_or_default();
        let mut ids: Vec<_> = nodes.iter().filter_map(|node| Some(node["node"].as_str()?.to_owned())).collect();
        ids.sort_unstable();
        ids
    };
    wait_for("both servers", TIMEOUT, || (ids(&a) == ["127.0.0.1:1", "127.0.0.1:2"]).then_some(()));
    let state = cluster(&a);
    assert_eq!((&state["node"], &state["advertise"]), (&"127.0.0.1:1".into(), &"rtmp://127.0.0.1:1".into()));
    assert!(!state.to_string().contains("s3cret"), "{state}");
    // Nothing listens there, and the server says so.
    b.wait_line("does not reach itself");
    b.stop();
    wait_for("one server", TIMEOUT, || (ids(&a) == ["127.0.0.1:1"]).then_some(()));
    assert_eq!(redis.command(&["EXISTS", "ab:n:127.0.0.1:2"]), "0");
    // Two with the same id are told.
    let twin = start(&url, "rtmp://127.0.0.1:1", "");
    a.wait_line("another server calls itself");
    assert!(a.lines("s3cret").is_empty() && twin.lines("s3cret").is_empty());
    let stand_alone = start_with_api("");
    assert_eq!(cluster(&stand_alone)["state"], "off");
}

fn run(subcommand: &[&str], settings: &str) -> (bool, String) {
    let folder = Folder::new();
    let file = folder.write("a.toml", settings);
    let ended = Launch::new(env!("CARGO_BIN_EXE_anabranch")).args(subcommand).arg("--config").arg(&file).run();
    (ended.status.success(), ended.stdout + &ended.stderr)
}

#[test]
fn an_address_that_no_server_reaches_keeps_the_server_from_starting() {
    for advertise in ["rtmp://0.0.0.0:1935", "rtmp://[::]", "", "10.0.0.7"] {
        let settings = format!("[cluster]\nredis = 'redis://127.0.0.1:1'\nadvertise = '{advertise}'\n");
        let (started, said) = run(&["--listen", "127.0.0.1:0"], &settings);
        assert!(!started && said.contains("cluster.advertise") && said.contains("rtmp://10.0.0.7:1935"), "{said}");
    }
    let (started, said) = run(&["--listen", "127.0.0.1:0"], "[cluster]\nredis = 'redis://:s3cret@h:x'\n");
    assert!(!started && said.contains("cluster.redis") && !said.contains("s3cret"), "{said}");
}

#[test]
fn check_and_doctor_look_at_the_redis() {
    let redis = Redis::with(&["--requirepass", "s3cret"], &["-a", "s3cret"]);
    let settings = |password: &str, at: std::net::SocketAddr| {
        format!("[cluster]\nredis = 'redis://:{password}@{at}'\nadvertise = 'rtmp://{}'\n", redis.address())
    };
    let (valid, said) = run(&["check"], &settings("s3cret", redis.address()));
    // The file of this test is readable for all.
    let is_new = |line: &&str| line.contains("Warning: ") && !line.contains("has secrets");
    assert!(valid && !said.contains("s3cret"), "{said}");
    assert_eq!(said.lines().find(is_new), None);
    assert!(said.contains("The directory of the cluster: at most"), "{said}");
    assert!(said.contains("8 get a stream from one server (cluster.children), and 584 over 3 connections"), "{said}");
    let (valid, said) = run(&["check"], &settings("wr0ng", redis.address()));
    assert!(valid && said.contains("WRONGPASS") && said.contains("correct user and password"), "{said}");
    let (valid, said) = run(&["check"], &settings("s3cret", free_address()));
    assert!(valid && said.contains("refused") && said.contains("start the Redis"), "{said}");
    let (_, said) = run(&["doctor"], &settings("s3cret", redis.address()));
    assert!(said.contains("runs the scripts") && said.contains("takes connections from this machine"), "{said}");
    let (sound, said) = run(&["doctor"], &settings("wr0ng", redis.address()));
    let fault = said.lines().find(|line| line.contains("WRONGPASS")).unwrap_or_default();
    assert!(!sound && fault.starts_with("fault"), "{said}");
    assert_eq!(said.matches("WRONGPASS").count(), 1, "it is said once: {said}");
}
