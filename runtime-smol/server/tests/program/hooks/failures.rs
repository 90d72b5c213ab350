//! Back ends that are slow, dead, or come and go.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use anabranch_core::client::ClientEvent;
use anabranch_core::message::Message;
use anabranch_tests::TIMEOUT;
use anabranch_tests::backend::{Backend, yes};
use anabranch_tests::peer::Driver;
use anabranch_tests::program::Program;

use crate::start;

fn visitor(program: &Program) -> Driver {
    Driver::at(program.address(), "rtmp://h/live/x")
}

#[test]
fn a_back_end_that_does_not_answer_refuses_clients_unless_configured_otherwise() {
    // It takes connections, and never says a word.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let silent = silent.local_addr().unwrap();
    // Nothing listens there any more.
    let dead = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let failing = Backend::start(|_| Some((503, String::new())));
    let broken = Backend::start(|_| None);
    for address in [silent, dead, failing.address, broken.address] {
        let hooks = format!("[defaults.hooks]\ntimeout = '300ms'\non_publish = ['http://{address}/']\n");
        let program = start(&hooks);
        let refusal = visitor(&program).publish("cam").unwrap_err();
        assert!(refusal.description.contains("cannot ask its back end"), "{refusal:?}");
        program.wait_line(&format!("hook http://{address}/ ("));
        let program = start(&format!("{hooks}allow_on_failure = true\n"));
        visitor(&program).publish("cam").unwrap();
    }
}

#[test]
fn a_refusal_counts_also_where_failures_do_not() {
    let dead = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let backend = Backend::start(|_| Some((200, "1".to_owned())));
    let urls = format!("['http://{dead}/', '{}']", backend.url("/"));
    let program = start(&format!("[defaults.hooks]\nallow_on_failure = true\non_play = {urls}\n"));
    assert!(visitor(&program).play("cam").unwrap_err().description.contains("code 1"));
}

#[test]
fn notices_are_repeated_in_order_until_the_back_end_answers_again() {
    let first = Backend::start(|_| yes());
    let address = first.address;
    let url = first.url("/");
    let hooks = ["on_connect", "on_close", "on_publish", "on_unpublish"].map(|name| format!("{name} = ['{url}']\n"));
    let program = start(&format!("[defaults.hooks]\nretries = 100\nretry_after = '20ms'\n{}", hooks.concat()));
    let mut peer = visitor(&program);
    peer.publish("cam").unwrap();
    let asked = first.wait_calls(2);
    drop(first);
    peer.drop_connection();
    program.wait_line("the notice will be repeated");
    // At first it has not found its feet.
    let failures = Mutex::new(3);
    let second = Backend::start_at(address, move |_| {
        let mut failures = failures.lock().unwrap();
        if *failures == 0 {
            return yes();
        }
        *failures -= 1;
        Some((500, String::new()))
    });
    let told = second.wait_calls(5);
    let actions: Vec<_> = asked.iter().chain(&told).map(anabranch_tests::backend::Call::action).collect();
    let unpublish = ["on_unpublish"; 4];
    assert_eq!(actions, [&["on_connect", "on_publish"], &unpublish[..], &["on_close"]].concat());
    // Who comes now is asked about as ever.
    visitor(&program).publish("cam").unwrap();
}

#[test]
fn a_slow_back_end_delays_no_other_client() {
    // Each call waits until the test lets it go on.
    let (release, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let slow = Backend::start(move |_| {
        let _ = gate.lock().unwrap().recv();
        yes()
    });
    let quick = Backend::start(|_| yes());
    let hooks = format!(
        "timeout = '30s'\nmax_in_flight = 2\non_publish = ['{}']\non_play = ['{}']\n",
        slow.url("/"),
        quick.url("/")
    );
    let program = Arc::new(start(&format!("[defaults.hooks]\n{hooks}")));
    // One got in before.
    release.send(()).unwrap();
    let mut publisher = visitor(&program);
    let stream = publisher.publish("cam").unwrap();
    // Twenty wait: two of them have been asked about, the others wait for that.
    let waiting: Vec<_> = (0..20)
        .map(|number| {
            let program = program.clone();
            thread::spawn(move || visitor(&program).publish(&format!("other{number}")).map(|_| ()))
        })
        .collect();
    slow.wait_calls(3);
    // Players come and go, and media flows, as if nothing were.
    for number in 0..20 {
        let mut player = visitor(&program);
        player.play("cam").unwrap();
        let timestamp = number * 10;
        let key_frame = Message::video(timestamp, [0x17, 1, 0, 0, 0, 9].as_slice());
        publisher.client.send_message(stream, key_frame).unwrap();
        publisher.flush();
        player.wait_event("frame", |event| matches!(event, ClientEvent::Media { .. }).then_some(()));
    }
    assert_eq!(quick.calls().len(), 20);
    assert_eq!(slow.calls().len(), 3, "no more at once than it is to be asked");
    assert!(waiting.iter().all(|client| !client.is_finished()));
    for _ in 0..20 {
        release.send(()).unwrap();
    }
    let start = Instant::now();
    for client in waiting {
        client.join().unwrap().unwrap();
    }
    assert!(start.elapsed() < TIMEOUT);
}

#[test]
fn questions_that_no_queue_can_take_are_answered_at_once_and_counted() {
    let (release, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let slow = Backend::start(move |_| {
        let _ = gate.lock().unwrap().recv();
        yes()
    });
    let (asking, telling) = (slow.url("/asking"), slow.url("/telling"));
    let program = Arc::new(start(&format!(
        "[defaults.hooks]\ntimeout = '30s'\nmax_in_flight = 1\nqueue = 0\nnotice_memory = '2KiB'\non_publish = ['{asking}']\n\
         on_stop = ['{telling}']\n"
    )));
    let other = program.clone();
    let waiting = thread::spawn(move || visitor(&other).publish("one").map(|_| ()));
    slow.wait_calls(1);
    let refusal = visitor(&program).publish("two").unwrap_err();
    assert!(refusal.description.contains("cannot ask its back end"), "{refusal:?}");
    program.wait_line("too many calls wait; it is not called");
    for count in [2, 2] {
        let mut player = visitor(&program);
        player.play("cam").unwrap();
        player.drop_connection();
        slow.wait_calls(count);
    }
    program.wait_line("the memory for notices is used up; the notice is dropped");
    release.send(()).unwrap();
    release.send(()).unwrap();
    waiting.join().unwrap().unwrap();
    assert_eq!(slow.calls().len(), 2, "what was dropped is not called later");
}

#[test]
fn notices_that_wait_to_be_repeated_keep_no_client_out() {
    let backend = Backend::start(|call| match call.action() {
        "on_publish" => yes(),
        _ => Some((500, String::new())),
    });
    let url = backend.url("/");
    let program = start(&format!(
        "[defaults.hooks]\nmax_in_flight = 1\nqueue = 0\nretry_after = '1h'\non_publish = ['{url}']\non_unpublish = ['{url}']\n"
    ));
    let mut peer = visitor(&program);
    peer.publish("cam").unwrap();
    peer.drop_connection();
    program.wait_line("the notice will be repeated");
    for number in 0..5 {
        visitor(&program).publish(&format!("other{number}")).unwrap();
    }
}
