use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use anabranch_core::message::Message;
use anabranch_host::Serve;
use anabranch_tests::embedded::Embedded;
use anabranch_tests::peer::opening;
use anabranch_tests::{TIMEOUT, wait_for};

anabranch_tests::on_both_libraries!(two_thousand_players_are_served_and_leave_nothing_behind);

const PLAYERS: usize = 2000;
/// Threads that serve the players' sockets.
const ATTENDANTS: usize = 8;
const LAST: &[u8] = b"the last picture";

/// One test at a time: each counts the threads of the process.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// The number of threads of this process that serve connections, and of open files.
fn held() -> (usize, usize) {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux").filter_map(|task| {
        let name = fs::read_to_string(task.ok()?.path().join("comm")).ok()?;
        ["writer-", "reader-", "worker-", "listener-"].iter().any(|kind| name.starts_with(kind)).then_some(())
    });
    (tasks.count(), fs::read_dir("/proc/self/fd").expect("Linux").count())
}

fn two_thousand_players_are_served_and_leave_nothing_behind<S: Serve + Send + 'static>() {
    let _alone = ALONE.lock();
    let server = Embedded::start::<S>(|builder| builder);
    let mut publication = server.handle.publish("live/cam").expect("the name is free");
    let (address, opening) = (server.address, opening::player("cam"));
    // A first connection makes the runtime open what it opens once and keeps.
    drop(TcpStream::connect(address).expect("it accepts"));
    wait_for("first connection", TIMEOUT, || (server.handle.stats().accepted == 1).then_some(()));
    wait_for("its end", TIMEOUT, || (server.handle.stats().connections == 0).then_some(()));
    let files = held().1;
    thread::scope(|scope| {
        for _ in 0..ATTENDANTS {
            scope.spawn(|| {
                let connect = |_| {
                    let mut socket = TcpStream::connect(address).expect("it accepts");
                    socket.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
                    socket.write_all(&opening).expect("it reads");
                    socket
                };
                let mut sockets: Vec<_> = (0..PLAYERS / ATTENDANTS).map(connect).collect();
                for socket in &mut sockets {
                    let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
                    while !heard.ends_with(LAST) {
                        let count = socket.read(&mut piece).expect("frames come");
                        assert!(count > 0, "the server hung up");
                        heard.extend_from_slice(&piece[..count]);
                    }
                }
            });
        }
        wait_for("all players", TIMEOUT, || (publication.players() == PLAYERS).then_some(()));
        for number in 0..10 {
            publication.push(Message::video(number * 40, [0x17, 1, 0, 0, 0, 9].as_slice())).expect("it is published");
        }
        let last = [&[0x27, 1, 0, 0, 0][..], LAST].concat();
        publication.push(Message::video(400, last)).expect("it is published");
    });
    // All of them have hung up.
    wait_for("end of all connections", TIMEOUT, || (server.handle.stats().connections == 0).then_some(()));
    assert_eq!(server.handle.stats().accepted, 1 + PLAYERS as u64);
    wait_for("closed sockets", TIMEOUT, || (held().1 <= files).then_some(()));
    drop(publication);
    server.stop();
    wait_for("end of all threads", TIMEOUT, || (held().0 == 0).then_some(()));
}
