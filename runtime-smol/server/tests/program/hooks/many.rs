use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use anabranch_tests::backend::{Backend, yes};
use anabranch_tests::peer::Driver;

use crate::start;

/// Clients at the same time.
const AT_ONCE: usize = 8;

/// `ANABRANCH_PUBLISHES=10000` is the long run.
#[test]
fn each_publish_is_asked_about_once_and_its_end_told_once() {
    let count: usize = std::env::var("ANABRANCH_PUBLISHES").map_or(3000, |count| count.parse().unwrap());
    let backend = Backend::start(|_| yes());
    let url = backend.url("/");
    let program = Arc::new(start(&format!("[defaults.hooks]\non_publish = ['{url}']\non_unpublish = ['{url}']\n")));
    let clients: Vec<_> = (0..AT_ONCE)
        .map(|client| {
            let program = program.clone();
            thread::spawn(move || {
                for number in (client..count).step_by(AT_ONCE) {
                    let mut peer = Driver::at(program.address(), "rtmp://h/live/x");
                    let stream = peer.publish(&format!("cam{number}")).unwrap();
                    // Some take their leave.
                    if number % 2 == 0 {
                        peer.client.stop(stream);
                        peer.flush();
                    }
                    peer.drop_connection();
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    // The last calls are made before the server ends; nothing may come after them.
    program.finish();
    let mut actions: HashMap<(String, String), Vec<String>> = HashMap::new();
    for call in backend.calls() {
        let client = (call.text("client_id").to_owned(), call.text("stream").to_owned());
        actions.entry(client).or_default().push(call.action().to_owned());
    }
    assert_eq!(actions.len(), count);
    for (client, actions) in actions {
        assert_eq!(actions, ["on_publish", "on_unpublish"], "{client:?}");
    }
}

/// Many clients leave at once, many more than fit any queue of questions: all promised notices come, in order.
/// `ANABRANCH_LEAVERS=20000` is the long run.
#[test]
fn each_of_many_clients_that_leave_at_once_has_its_notice() {
    let count: usize = std::env::var("ANABRANCH_LEAVERS").map_or(3000, |count| count.parse().unwrap());
    let backend = Backend::start(|_| yes());
    let url = backend.url("/");
    let hooks = ["on_connect", "on_close", "on_play", "on_stop"].map(|name| format!("{name} = ['{url}']\n")).concat();
    let program = Arc::new(start(&format!("[defaults.hooks]\n{hooks}")));
    let clients: Vec<_> = (0..AT_ONCE)
        .map(|client| {
            let program = program.clone();
            thread::spawn(move || {
                let enter = |_| {
                    let mut peer = Driver::at(program.address(), "rtmp://h/live/x");
                    peer.play("cam").unwrap();
                    peer
                };
                (client..count).step_by(AT_ONCE).map(enter).collect::<Vec<_>>()
            })
        })
        .collect();
    let crowd: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    assert_eq!(crowd.len(), count);
    crowd.into_iter().for_each(Driver::drop_connection);
    let told = backend.wait(|calls| calls.len() >= 4 * count);
    assert_eq!(told.len(), 4 * count);
    let mut actions: HashMap<String, Vec<String>> = HashMap::new();
    for call in told {
        actions.entry(call.text("client_id").to_owned()).or_default().push(call.action().to_owned());
    }
    assert_eq!(actions.len(), count);
    for (client, actions) in actions {
        assert_eq!(actions, ["on_connect", "on_play", "on_stop", "on_close"], "{client}");
    }
    assert_eq!(program.lines("is dropped").len(), 0);
}
