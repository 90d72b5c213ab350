use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use anabranch_tests::clients::{PATIENCE, Runtime, Server};

on_both_runtimes!(
    the_server_accepts_again_after_it_ran_out_of_files,
    other_protocols_are_closed_and_named_and_the_server_serves_on,
);

fn the_server_accepts_again_after_it_ran_out_of_files(runtime: Runtime) {
    let mut server = Server::start_with_files(runtime, &["--unpublish-grace", "0"], Some(40));
    let flood: Vec<_> = (0..100).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    server.process.wait_line("cannot accept connections: ");
    drop(flood);
    super::assert_serves(&mut server);
    server.stop();
}

fn other_protocols_are_closed_and_named_and_the_server_serves_on(runtime: Runtime) {
    let mut server = Server::start(runtime, &["--unpublish-grace", "0"]);
    let client_hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[0x5a; 506]].concat();
    let cases: [(&[u8], &str); 3] = [
        (b"GET /live/cam HTTP/1.1\r\nHost: localhost\r\n\r\n", "the peer speaks HTTP"),
        (&client_hello, "the peer speaks TLS"),
        (&[0xa7; 4096], "the peer speaks RTMP version 167 or another protocol"),
    ];
    for (index, (bytes, words)) in cases.into_iter().enumerate() {
        let mut socket = TcpStream::connect(server.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
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
