use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use anabranch_core::amf::{Object, Value};
use anabranch_core::chunk::write_message;
use anabranch_core::command::Command;
use anabranch_core::message::MessageType;
use anabranch_tests::clients::{PATIENCE, Runtime, Server};

on_both_runtimes!(
    players_that_leave_before_anything_came_leave_nothing_behind,
    a_proxy_that_is_trusted_names_the_client
);

/// All that a player says up to `play`, in one piece.
pub(super) fn opening(name: &str) -> Vec<u8> {
    let mut bytes = vec![3];
    bytes.resize(1 + 2 * 1536, 0);
    let app = Object::default().with("app", "live").with("tcUrl", "rtmp://localhost/live");
    let calls = [
        (0, Command::new("connect", 1.0, Value::Object(app))),
        (0, Command::new("createStream", 2.0, Value::Null)),
        (1, Command::new("play", 3.0, Value::Null).with(name)),
    ];
    for (stream_id, call) in calls {
        write_message(&mut bytes, 128, 3, 0, MessageType::COMMAND_AMF0, stream_id, &call.encode());
    }
    bytes
}

/// Plays up to the server's consent, and hears no more.
pub(super) fn play(server: &Server, opening: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(opening).unwrap();
    let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
    while !heard.windows(20).any(|window| window == b"NetStream.Play.Start") {
        let count = socket.read(&mut piece).unwrap();
        assert!(count > 0, "the server hung up");
        heard.extend_from_slice(&piece[..count]);
    }
    socket
}

fn players_that_leave_before_anything_came_leave_nothing_behind(runtime: Runtime) {
    let mut server = Server::start(runtime, &[]);
    let files = format!("/proc/{}/fd", server.process.id());
    let open = || fs::read_dir(&files).unwrap().count();
    drop(play(&server, &opening("first")));
    server.process.wait_lines(" closed: ", 1);
    let before = open();
    for round in 0..50 {
        drop(play(&server, &opening(&format!("nobody{round}"))));
        // Two on one name: the second leaves a stream that goes on being waited for.
        let pair = [0, 1].map(|_| play(&server, &opening("somebody")));
        drop(pair);
    }
    server.process.wait_lines(" closed: ", 151);
    server.process.wait_for("closed sockets", || (open() <= before).then_some(()));
    server.stop();
}

fn a_proxy_that_is_trusted_names_the_client(runtime: Runtime) {
    let mut server = Server::start(runtime, &["--trusted-proxy", "127.0.0.0/8"]);
    let header = b"PROXY TCP4 203.0.113.9 127.0.0.1 51000 1935\r\n";
    let _player = play(&server, &[&header[..], &opening("cam")].concat());
    let line = server.wait_players("live/cam", 1).swap_remove(0).text;
    assert!(line.contains("203.0.113.9:51000"), "{line}");
    server.stop();
}
