//! The whole process is stopped for a while: SIGSTOP, a container that is paused, a virtual machine that was frozen.
//! What clients say meanwhile waits in their sockets, and when the server goes on the time of all of them is over long
//! ago. That does not count as silence: clients that were healthy before are served on.

use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::message::MessageType;
use anabranch_tests::conformance::Target;
use anabranch_tests::peer::ScriptedClient;
use anabranch_tests::program::{Example, Program, Runtime};

/// Publishers, each with a player.
const PUBLISHERS: usize = 12;
/// Between two frames of each.
const FRAME: Duration = Duration::from_millis(250);
/// Longer than a publisher may be silent and a client may take for its `connect`; one of them only just.
const PAUSES: [Duration; 2] = [Duration::from_millis(10_100), Duration::from_secs(13)];

/// One key frame, so that the stream keeps all there is until its players have it.
fn frame(number: u32) -> Vec<u8> {
    let head = if number == 0 { 0x17 } else { 0x27 };
    let mut body = [&[head, 1, 0, 0, 0][..], &number.to_be_bytes()].concat();
    // A server that looks for key frames inside finds the type of an inter picture.
    body.resize(4000, 0x41);
    body
}

/// Starts a server, and stops it in the midst of what it does.
fn pause(server: &Program, pause: Duration) {
    let target = Target::at(server.address(), "paused");
    let names: Vec<String> = (0..PUBLISHERS).map(|number| target.named(&number.to_string())).collect();
    let mut publishers: Vec<ScriptedClient> =
        names.iter().map(|name| ScriptedClient::publisher(&target, name)).collect();
    let mut players: Vec<ScriptedClient> = names.iter().map(|name| ScriptedClient::player(&target, name)).collect();
    let stranger = ScriptedClient::open(&target);
    let mut number = 0;
    let mut send = |publishers: &mut [ScriptedClient], time: Duration| {
        let end = Instant::now() + time;
        while Instant::now() < end {
            for publisher in &mut *publishers {
                publisher.video(number * FRAME.as_millis() as u32, &frame(number));
            }
            number += 1;
            thread::sleep(FRAME);
        }
        number
    };
    send(&mut publishers, 2 * FRAME);
    server.process.signal("STOP");
    send(&mut publishers, pause);
    server.process.signal("CONT");
    let sent = send(&mut publishers, 2 * FRAME);

    for publisher in &mut publishers {
        publisher.receive_pending();
    }
    for player in &mut players {
        let media = std::iter::repeat_with(|| player.message()).filter(|message| message.type_id == MessageType::VIDEO);
        let numbers = media.map(|message| u32::from_be_bytes(message.payload[5..9].try_into().expect("a number")));
        let mut expected = None;
        for number in numbers {
            assert!(expected.is_none_or(|expected| number == expected), "{number} comes when {expected:?} was due");
            expected = Some(number + 1);
            if number == sent - 1 {
                break;
            }
        }
    }
    assert!(stranger.is_open());
    let closed = server.process.lines_with(" closed");
    assert!(closed.is_empty(), "after {pause:?}: {closed:?}");
}

#[test]
fn clients_that_were_healthy_before_a_pause_of_the_process_are_served_on() {
    let servers: [fn() -> Program; 4] = [
        || Program::start(Runtime::Smol, &[]),
        || Program::start(Runtime::Std, &[]),
        || Program::start_example(Example::Polling),
        || Program::start_example(Example::Blocking),
    ];
    thread::scope(|scope| {
        let threads: Vec<_> = PAUSES
            .into_iter()
            .flat_map(|time| servers.map(|start| (start, time)))
            .map(|(start, time)| scope.spawn(move || pause(&start(), time)))
            .collect();
        for thread in threads {
            thread.join().unwrap_or_else(|words| std::panic::resume_unwind(words));
        }
    });
}
