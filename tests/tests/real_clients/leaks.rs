use std::io::{Read, Write};
use std::net::TcpStream;

use anabranch_tests::TIMEOUT;
use anabranch_tests::peer::opening;
use anabranch_tests::program::{Program, Runtime};

anabranch_tests::on_both_programs!(
    players_that_leave_before_anything_came_leave_nothing_behind,
    a_proxy_that_is_trusted_names_the_client
);

/// Plays until the server accepts, and reads nothing more.
pub(super) fn play(server: &Program, opening: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
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
    let server = Program::start(runtime, &[]);
    drop(play(&server, &opening::player("first")));
    server.process.wait_lines(" closed: ", 1);
    let before = server.open_files();
    for round in 0..50 {
        drop(play(&server, &opening::player(&format!("nobody{round}"))));
        // Two players of one name: the second leaves a stream for which the first still waits.
        let pair = [0, 1].map(|_| play(&server, &opening::player("somebody")));
        drop(pair);
    }
    server.process.wait_lines(" closed: ", 151);
    server.process.wait_for("closed sockets", || (server.open_files() <= before).then_some(()));
    server.stop();
}

fn a_proxy_that_is_trusted_names_the_client(runtime: Runtime) {
    let server = Program::start(runtime, &["--trusted-proxy", "127.0.0.0/8"]);
    let header = b"PROXY TCP4 203.0.113.9 127.0.0.1 51000 1935\r\n";
    let _player = play(&server, &[&header[..], &opening::player("cam")].concat());
    let line = server.wait_players("live/cam", 1).swap_remove(0).text;
    assert!(line.contains("203.0.113.9:51000"), "{line}");
    server.stop();
}
