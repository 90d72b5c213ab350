//! A Redis that is none, or is hostile.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use anabranch_tests::redis::Redis;

use super::*;

/// A program that answers each connection with these bytes, again and again, whatever it is asked.
fn program(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || {
                let mut buffer = [0; 1024];
                let _ = socket.read(&mut buffer);
                while socket.write_all(&answer).is_ok() {}
            });
        }
    });
    address
}

#[test]
fn whatever_answers_in_place_of_a_redis_claims_have_their_answers() {
    for (answer, words) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "protocol of Redis"),
        (b"*1\r\n".repeat(1000), "larger than any"),
        (b"$1000000000\r\n".to_vec(), "larger than any"),
        (vec![b'+'; 16 << 10], "larger than any"),
        (b"-ERR unknown command\r\n".to_vec(), "ERR unknown command"),
        (b"+OK\r\n".to_vec(), ""),
        (b":1\r\n*2\r\n$2\r\nok\r\n$1\r\n1\r\n".to_vec(), ""),
        (b"*3\r\n$7\r\nmessage\r\n$4\r\nab:c\r\n$5\r\na b 1\r\n".to_vec(), ""),
    ] {
        let node = Node::start("a", settings(&format!("redis://{}", program(answer.clone()))));
        assert_eq!(
            node.claim("v/live/cam").1.err(),
            None,
            "{:?}",
            String::from_utf8_lossy(&answer[..answer.len().min(30)])
        );
        assert_eq!(node.find("v/live/other"), Located::Unknown);
        if !words.is_empty() {
            node.wait_error(words);
        }
    }
}

#[test]
fn a_redis_that_answers_to_each_request_with_an_error_is_asked_again_later() {
    let redis = Redis::new();
    let a = Node::connected("a", settings(&redis.url()));
    let _claim = a.take("v/live/cam");
    // Each key of a name has the wrong type.
    redis.command(&["SET", "ab:s:{v/live/wrong}", "text"]);
    let (_wrong, answer) = a.claim("v/live/wrong");
    assert_eq!(answer, Ok(None));
    assert_eq!(a.find("v/live/wrong"), Located::Here);
    redis.command(&["DEL", "ab:s:{v/live/wrong}"]);
    a.wait_confirmed(2);
    assert_eq!((a.directory.tally().lost(), a.lost()), (0, Vec::new()));
}

#[test]
fn what_others_write_into_the_directory_harms_no_server() {
    let redis = Redis::new();
    let a = Node::connected("a", settings(&redis.url()));
    let _claim = a.take("v/live/cam");
    redis.command(&["HSET", "ab:s:{v/live/odd}", "node", "a b", "session", "1", "epoch", "x"]);
    redis.command(&["SET", "ab:n:odd", &"x".repeat(100_000)]);
    redis.command(&["ZADD", "ab:nodes", "1", "odd"]);
    for notice in ["", "x", "v/live/cam other 18446744073709551615", "v/live/cam other -1", "%ff other 1"] {
        redis.command(&["PUBLISH", "ab:c", notice]);
    }
    // A value that is no answer does not end the connection: the next one would meet it again.
    assert_eq!(a.find("v/live/odd"), Located::Unknown);
    assert_eq!(a.directory.tally().lost(), 0);
    redis.command(&["DEL", "ab:s:{v/live/odd}"]);
    a.wait_confirmed(1);
    assert_eq!(a.lost(), []);
    wait_for("list", TIMEOUT, || (a.directory.view().nodes.len() == 1).then_some(()));
}
