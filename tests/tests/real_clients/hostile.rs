use anabranch_tests::TIMEOUT;
use anabranch_tests::peer::opening;
use anabranch_tests::program::{Launch, Program, Runtime};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

anabranch_tests::on_both_programs!(
    the_server_accepts_again_after_it_ran_out_of_files,
    other_protocols_are_closed_and_named_and_the_server_serves_on,
    the_log_names_the_client_behind_a_trusted_proxy,
    a_client_cannot_fill_the_log,
);

fn the_server_accepts_again_after_it_ran_out_of_files(runtime: Runtime) {
    let mut server = Launch::of(runtime).args(["--unpublish-grace", "0"]).with_files(40).start();
    let flood: Vec<_> = (0..100).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    server.process.wait_line("cannot accept connections: ");
    drop(flood);
    super::assert_serves(&mut server);
    server.stop();
}

fn other_protocols_are_closed_and_named_and_the_server_serves_on(runtime: Runtime) {
    let mut server = Program::start(runtime, &["--unpublish-grace", "0"]);
    let client_hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[0x5a; 506]].concat();
    let cases: [(&[u8], &str); 6] = [
        (b"GET /live/cam HTTP/1.1\r\nHost: localhost\r\n\r\n", "the peer speaks HTTP"),
        (&client_hello, "the peer speaks TLS"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 51000 1935\r\n\x03", "(PROXY protocol 1) and is not a trusted one"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", "(PROXY protocol 2) and is not a trusted one"),
        (b"\xf3\0\x04\xc0\0\x02\x07\x03", "(SRS's proxy) and is not a trusted one"),
        (&[0xa7; 4096], "the peer speaks RTMP version 167 or another protocol"),
    ];
    for (index, (bytes, words)) in cases.into_iter().enumerate() {
        let mut socket = TcpStream::connect(server.address()).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        socket.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        match socket.read_to_end(&mut answer) {
            Ok(_) => {}
            // A close with unread input resets the connection.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection is not closed: {error}"),
        }
        assert_eq!(answer, [0; 0], "such peers get no answer");
        let line = server.process.wait_lines(" closed: ", index + 1).swap_remove(index).text;
        assert!(line.contains(words) && line.contains("(handshake_error)"), "{line}");
    }
    super::assert_serves(&mut server);
    server.stop();
}

fn the_log_names_the_client_behind_a_trusted_proxy(runtime: Runtime) {
    let server = Program::start(runtime, &["--trusted-proxy", "127.0.0.1"]);
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 51000 1935\r\n").unwrap();
    socket.write_all(&opening::player("cam")).unwrap();
    let line = server.wait_players("live/cam", 1).swap_remove(0).text;
    assert!(line.contains(" from 192.0.2.7:51000 "), "{line}");
    drop(socket);
    let line = server.process.wait_line(" closed: ").text;
    assert!(line.contains(", from 192.0.2.7:51000, player of live/cam;"), "{line}");
    server.stop();
}

fn a_client_cannot_fill_the_log(runtime: Runtime) {
    let server = Program::start(runtime, &[]);
    let mut socket = TcpStream::connect(server.address()).unwrap();
    let agent = "\u{1}".repeat(4000);
    let create_stream = opening::call("createStream", 2.0, 0, &[]);
    socket.write_all(&[opening::hello(), opening::connect(&agent), create_stream].concat()).unwrap();
    // Each play leaves the stream before.
    for number in 0..100 {
        let name = format!("cam-{number}");
        socket.write_all(&opening::call("play", 0.0, 1, &[name.as_str().into()])).unwrap();
    }
    server.process.wait_line(" goes on like that; ");
    drop(socket);
    server.process.wait_line(" closed: ");
    let lines = server.process.lines_with(" is player of live/cam-");
    assert_eq!(lines.len(), 10);
    assert!(lines.iter().all(|line| line.text.len() < 600 && line.text.ends_with("...\"")), "{lines:?}");
    server.stop();
}
