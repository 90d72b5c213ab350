use std::io::{BufRead as _, BufReader, Write as _, copy};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use super::*;

/// The same Redis with another clock: times in its replies, in milliseconds or in seconds, are this many seconds later.
fn with_clock(redis: SocketAddr, later: i64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it has one");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (Ok(server), Ok(mut requests)) = (TcpStream::connect(redis), client.try_clone()) else {
                continue;
            };
            let Ok(mut asked) = server.try_clone() else {
                continue;
            };
            thread::spawn(move || copy(&mut requests, &mut asked));
            thread::spawn(move || pass_answers(BufReader::new(server), client, later));
        }
    });
    address
}

fn pass_answers(mut from: BufReader<TcpStream>, mut to: TcpStream, later: i64) {
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        let moved = std::str::from_utf8(&line).ok().and_then(|text| {
            let text = text.strip_suffix("\r\n")?;
            let (mark, digits) = text.strip_prefix(':').map_or(("", text), |digits| (":", digits));
            let time: i64 = digits.parse().ok()?;
            match digits.len() {
                13 if mark == ":" => Some(format!(":{}\r\n", time + later * 1000)),
                10 if mark.is_empty() => Some(format!("{}\r\n", time + later)),
                _ => None,
            }
        });
        if to.write_all(moved.as_ref().map_or(&line, |text| text.as_bytes())).is_err() {
            return;
        }
        line.clear();
    }
}

#[test]
fn a_clock_that_is_far_from_that_of_the_redis_is_told() {
    let redis = Redis::new();
    for (later, side) in [(0, None), (3600, Some("s behind the one of the Redis")), (-3600, Some("s ahead of the one"))]
    {
        let at = with_clock(redis.address(), later);
        let settings = format!("[cluster]\nredis = 'redis://{at}'\nadvertise = 'rtmp://{at}'\n");
        for command in ["check", "doctor"] {
            let (_, said) = run(&[command], &settings);
            assert!(command == "check" || said.contains("runs the scripts"), "{said}");
            let told: Vec<&str> = said.lines().filter(|line| line.contains("the clock of this machine is")).collect();
            assert_eq!(told.len(), usize::from(side.is_some()), "{command}: {said}");
            assert!(side.is_none_or(|side| told[0].contains(side)), "{told:?}");
        }
        let server = start(&format!("redis://{at}"), "rtmp://127.0.0.1:1", "");
        wait_state(&server, "connected");
        // Its record is there once the announcement was answered.
        wait_for("record", TIMEOUT, || {
            cluster(&server)["nodes"].as_array().filter(|nodes| !nodes.is_empty()).map(drop)
        });
        match side {
            Some(side) => assert!(server.wait_line("the clock of this machine is").text.contains(side)),
            None => assert_eq!(server.lines("the clock of this machine is").len(), 0),
        }
    }
}
