//! What takes more than one configuration file, or a look into the server.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anabranch_core::conn::{Config, VhostConfig};
use anabranch_core::policy::{Vhost, Vhosts};
use anabranch_host::{Handle, Listen};
use anabranch_smol::Server;

use super::{HookSettings, HttpHooks, Identity};
use backend::{Answer, Backend, yes};
use peer::{PATIENCE, Peer};

// Integration tests use all of them.
#[allow(dead_code)]
#[path = "../../tests/hooks/backend.rs"]
mod backend;
#[allow(dead_code)]
#[path = "../../tests/support/peer.rs"]
mod peer;

/// A server in this process.
struct Running {
    address: SocketAddr,
    handle: Handle,
    hooks: HttpHooks,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(settings: &HashMap<String, HookSettings>) -> Running {
        let vhosts = settings.iter().map(|(name, settings)| {
            let mut config = VhostConfig::default();
            settings.apply(&mut config);
            Vhost::new(name.as_str(), config)
        });
        let config = Config { vhosts: Vhosts::new(vhosts).unwrap(), ..Config::default() };
        let hooks = HttpHooks::new(Identity::new(None), &HookSettings::default(), settings).unwrap();
        let listen = Listen::One("127.0.0.1:0".parse().unwrap());
        let server = Server::builder().config(config).hooks(hooks.clone()).listen(listen).build().unwrap();
        let (address, handle) = (server.addresses()[0], server.handle());
        Running { address, handle, hooks, thread: Some(thread::spawn(move || server.run())) }
    }

    fn wait_until_empty(&self) {
        let start = Instant::now();
        while self.handle.stats().connections > 0 {
            assert!(start.elapsed() < PATIENCE, "a connection does not end");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn settings(text: &str) -> HookSettings {
    toml::from_str(text).unwrap()
}

/// A back end that gives the answers it is sent, one after the other.
fn waiting() -> (Backend, Sender<Answer>) {
    let (answers, answer) = channel::<Answer>();
    let answer = Mutex::new(answer);
    (Backend::start(move |_| answer.lock().unwrap().recv().unwrap_or_default()), answers)
}

#[test]
fn virtual_hosts_have_back_ends_of_their_own_and_may_change_them() {
    let (slow, answers) = waiting();
    let (first, second) = (Backend::start(|_| yes()), Backend::start(|_| yes()));
    let publishing = |backend: &Backend| {
        let url = backend.url("/");
        settings(&format!("timeout = '30s'\nmax_in_flight = 1\non_publish = ['{url}']\non_unpublish = ['{url}']"))
    };
    let mut all = HashMap::from([("slow".to_owned(), publishing(&slow)), ("quick".to_owned(), publishing(&first))]);
    let server = Running::start(&all);
    let address = server.address;
    let waiting = thread::spawn(move || Peer::to(address, "rtmp://slow/live/x").publish("cam").map(|_| ()));
    slow.wait_calls(1);
    let mut publisher = Peer::to(address, "rtmp://quick/live/x");
    publisher.publish("cam").unwrap();
    assert_eq!(first.calls()[0].text("vhost"), "quick");
    assert_eq!(first.calls()[0].text("stream_url"), "quick/live/cam");
    // A stream in another virtual host than its client's.
    publisher.publish("other?vhost=quick").unwrap();
    all.insert("quick".to_owned(), publishing(&second));
    server.hooks.update(&HookSettings::default(), &all).unwrap();
    publisher.leave();
    let told = second.wait_calls(2);
    assert!(told.iter().all(|call| call.action() == "on_unpublish"), "what is told goes to whoever is there now");
    assert_eq!(first.calls().len(), 2);
    assert!(!waiting.is_finished());
    answers.send(yes()).unwrap();
    waiting.join().unwrap().unwrap();
    slow.wait_calls(2);
    answers.send(yes()).unwrap();
    let wrong = HookSettings { ca_file: "/does/not/exist".into(), ..publishing(&first) };
    let error = server.hooks.update(&wrong, &all).unwrap_err();
    assert!(error.contains("/does/not/exist"), "{error}");
}

#[test]
fn who_is_gone_before_the_answer_is_told_about_only_if_it_was_a_yes() {
    for (answer, actions) in [
        (yes(), &["on_connect", "on_publish", "on_unpublish", "on_close"][..]),
        (Some((200, "1".to_owned())), &["on_connect", "on_publish", "on_close"]),
    ] {
        let (backend, answers) = waiting();
        let url = backend.url("/");
        let hooks =
            ["on_connect", "on_close", "on_publish", "on_unpublish"].map(|name| format!("{name} = ['{url}']\n"));
        let server = Running::start(&HashMap::from([("v".to_owned(), settings(&hooks.concat()))]));
        answers.send(yes()).unwrap();
        let address = server.address;
        let mut peer = Peer::to(address, "rtmp://v/live/x");
        let publisher = thread::spawn(move || peer.publish("cam").map(|_| ()));
        backend.wait_calls(2);
        assert!(server.handle.close(server.handle.connections()[0].id, "to be rid of it"));
        assert!(publisher.join().is_err(), "it is over before it has an answer");
        server.wait_until_empty();
        answers.send(answer).unwrap();
        answers.send(yes()).unwrap();
        answers.send(yes()).unwrap();
        let calls = backend.wait_calls(actions.len());
        assert!(server.hooks.flush(PATIENCE));
        assert_eq!(calls.iter().map(backend::Call::action).collect::<Vec<_>>(), actions);
        assert_eq!(backend.calls().len(), actions.len());
    }
}
