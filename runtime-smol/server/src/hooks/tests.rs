//! Tests that need more than one configuration file, or access to the server's state.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::conn::{Config, StreamFacts, Subject, VhostConfig};
use anabranch_core::policy::{Applications, Vhost, Vhosts};
use anabranch_core::url::StreamKey;
use anabranch_smol::Server;
use anabranch_tests::backend::{Answer, Backend, Call, yes};
use anabranch_tests::embedded::Embedded;
use anabranch_tests::peer::Driver;
use anabranch_tests::{TIMEOUT, wait_for};

use super::body::{Bodies, Event};
use super::endpoint::{Endpoint, EndpointKey, IDLE, Sort};
use super::order::{Job, Kind, Order};
use super::reply::Reply;
use super::settings::{Form, HookTarget};
use super::{HookSettings, HttpHooks, Identity};
use crate::settings::{OfStreams, OfVhost};

/// A server in this process.
struct Running {
    server: Embedded,
    hooks: HttpHooks,
}

impl Running {
    fn start(settings: &HashMap<String, HookSettings>) -> Running {
        let vhosts = settings.iter().map(|(name, settings)| {
            let mut config = VhostConfig::default();
            settings.apply(&mut config);
            Vhost::new(name.as_str(), config)
        });
        let config = Config { vhosts: Vhosts::new(vhosts).unwrap(), ..Config::default() };
        let hooks = HttpHooks::new(Identity::new(None), &of_vhosts(settings)).unwrap();
        let server = Embedded::start::<Server>(|builder| builder.config(config).hooks(hooks.clone()));
        Running { server, hooks }
    }

    fn wait_until_empty(&self) {
        let is_empty = || self.server.handle.stats().connections == 0;
        wait_for("end of all connections", TIMEOUT, || is_empty().then_some(()));
    }
}

fn of_vhosts(settings: &HashMap<String, HookSettings>) -> OfStreams<HookSettings> {
    let vhosts = settings.iter().map(|(name, settings)| {
        let vhost = OfVhost { own: settings.clone(), applications: Applications::default() };
        (name.clone(), vhost)
    });
    OfStreams { vhosts: vhosts.collect(), ..OfStreams::default() }
}

fn settings(text: &str) -> HookSettings {
    toml::from_str(text).unwrap()
}

/// A back end that gives the answers from a channel, one after the other.
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
    let address = server.server.address;
    let waiting = thread::spawn(move || Driver::at(address, "rtmp://slow/live/x").publish("cam").map(|_| ()));
    slow.wait_calls(1);
    let mut publisher = Driver::at(address, "rtmp://quick/live/x");
    publisher.publish("cam").unwrap();
    assert_eq!(first.calls()[0].text("vhost"), "quick");
    assert_eq!(first.calls()[0].text("stream_url"), "quick/live/cam");
    // A stream in a virtual host other than the client's.
    publisher.publish("other?vhost=quick").unwrap();
    all.insert("quick".to_owned(), publishing(&second));
    server.hooks.update(&of_vhosts(&all)).unwrap();
    publisher.drop_connection();
    let told = second.wait_calls(2);
    assert!(told.iter().all(|call| call.action() == "on_unpublish"), "notices go to the endpoint in force now");
    assert_eq!(first.calls().len(), 2);
    assert!(!waiting.is_finished());
    answers.send(yes()).unwrap();
    waiting.join().unwrap().unwrap();
    slow.wait_calls(2);
    answers.send(yes()).unwrap();
    let wrong = HookSettings { ca_file: "/does/not/exist".into(), ..publishing(&first) };
    all.insert("slow".to_owned(), wrong);
    let error = server.hooks.update(&of_vhosts(&all)).unwrap_err();
    assert!(error.contains("/does/not/exist"), "{error}");
}

#[test]
fn a_client_that_left_before_the_answer_has_a_notice_only_if_it_was_allowed() {
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
        let address = server.server.address;
        let mut peer = Driver::at(address, "rtmp://v/live/x");
        let publisher = thread::spawn(move || peer.publish("cam").map(|_| ()));
        backend.wait_calls(2);
        assert!(server.server.handle.close(server.server.handle.connections()[0].id, "to be rid of it"));
        assert!(publisher.join().is_err(), "it is over before it has an answer");
        server.wait_until_empty();
        answers.send(answer).unwrap();
        answers.send(yes()).unwrap();
        answers.send(yes()).unwrap();
        let calls = backend.wait_calls(actions.len());
        assert_eq!(server.hooks.flush(TIMEOUT), 0);
        assert_eq!(calls.iter().map(Call::action).collect::<Vec<_>>(), actions);
        assert_eq!(backend.calls().len(), actions.len());
    }
}

/// An endpoint that makes no calls and runs the given function instead.
fn endpoint(text: &str, post: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Arc<Endpoint> {
    endpoint_with(text, IDLE, post)
}

/// The same, with threads that end after `idle` without work.
fn endpoint_with(text: &str, idle: Duration, post: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Arc<Endpoint> {
    let key =
        EndpointKey::new(&HookTarget { url: "http://127.0.0.1:1/".parse().unwrap(), form: Form::Srs }, &settings(text))
            .unwrap();
    Arc::new(Endpoint::calling(key, Box::new(move |_, call, _| Ok(post(&call.body))), idle).unwrap())
}

/// One call about a client, which is not repeated; it must have a place.
fn call(order: &Arc<Order>, endpoint: &Arc<Endpoint>, connection: u64, event: Event, body: &str) {
    call_again(order, endpoint, connection, event, body, (0, Duration::ZERO));
}

/// The same, repeated so often, and first after so long.
fn call_again(
    order: &Arc<Order>,
    endpoint: &Arc<Endpoint>,
    connection: u64,
    event: Event,
    body: &str,
    (retries, retry_after): (u32, Duration),
) {
    let asks = matches!(event, Event::Connect | Event::Publish | Event::Play);
    let sort = if asks { Sort::Question } else { Sort::notice(event, body) };
    let kind = if asks {
        Kind::Ask { answer: None, deadline: Instant::now() + TIMEOUT, allow_on_failure: false, renamed: None }
    } else {
        Kind::Notice { retries, retry_after, open: 0, targets: None }
    };
    let key = StreamKey::new("v", "live", "cam").unwrap();
    let subject = match event {
        Event::Connect | Event::Close => Subject::Connect,
        _ => Subject::Publish(StreamFacts { key, params: String::new() }),
    };
    let places = VecDeque::from([endpoint.admit(sort).expect("there is a place")]);
    order.push(connection, Job { event, subject, vhost: String::new(), body: Bodies::all(body), places, kind });
}

#[test]
fn a_call_that_panics_gives_back_all_that_it_held() {
    let order = Arc::new(Order::default());
    let endpoint = endpoint("max_in_flight = 2\nqueue = 1\nnotice_memory = '2KiB'", |body| {
        assert_ne!(body, "bad", "the call panics");
        Reply::Granted
    });
    for round in 0..20 {
        for (number, event) in [(0, Event::Publish), (1, Event::Connect), (2, Event::Close)] {
            call(&order, &endpoint, round * 10 + number, event, "bad");
        }
        assert_eq!(order.wait_until_done(TIMEOUT), 0, "the lines of all clients have gone on");
    }
    assert_eq!(order.tally().failed_questions(), 40);
    assert_eq!(order.tally().lost().map(|(.., count)| count).sum::<u64>(), 20);
    let places = |sort| std::iter::from_fn(|| endpoint.admit(sort)).take(100).collect::<Vec<_>>().len();
    assert_eq!(places(Sort::Question), 3);
    assert_eq!(places(Sort::Notice { bytes: 512 }), 3);
    call(&order, &endpoint, 1, Event::Publish, "good");
    assert_eq!(order.wait_until_done(TIMEOUT), 0);
    assert_eq!(order.tally().failed_questions(), 40, "its threads are there");
}

#[test]
fn a_repetition_comes_in_time_though_the_thread_that_waits_for_it_leaves() {
    let (called, calls) = channel::<String>();
    let called = Mutex::new(called);
    let order = Arc::new(Order::default());
    let idle = Duration::from_millis(20);
    let endpoint = endpoint_with("max_in_flight = 2", idle, move |body| {
        called.lock().unwrap().send(body.to_owned()).unwrap();
        Reply::Failed("it is down".to_owned())
    });
    let next = || calls.recv_timeout(TIMEOUT).unwrap();
    call_again(&order, &endpoint, 0, Event::Close, "late", (1, 2 * TIMEOUT));
    assert_eq!(next(), "late");
    // By then the one thread that stays waits for the repetition.
    thread::sleep(10 * idle);
    call_again(&order, &endpoint, 1, Event::Close, "soon", (1, 20 * idle));
    assert_eq!([next(), next()], ["soon", "soon"]);
}

#[test]
fn the_last_quarter_of_the_memory_is_for_ends_of_streams() {
    let endpoint = endpoint("notice_memory = '4KiB'", |_| Reply::Granted);
    let (notice, unpublish) = (Sort::Notice { bytes: 1024 }, Sort::Unpublish { bytes: 1024 });
    let places: Vec<_> = std::iter::from_fn(|| endpoint.admit(notice)).take(10).collect();
    assert_eq!(places.len(), 3);
    let last = endpoint.admit(unpublish);
    assert!(last.is_some() && endpoint.admit(unpublish).is_none());
    drop(places);
    assert!(endpoint.admit(notice).is_some());
}

#[test]
fn the_end_of_a_stream_is_told_before_other_ends_and_questions_have_their_turn() {
    let (release, gate) = channel::<()>();
    let (gate, (called, calls)) = (Mutex::new(gate), channel::<String>());
    let called = Mutex::new(called);
    let order = Arc::new(Order::default());
    let endpoint = endpoint("max_in_flight = 1", move |body| {
        called.lock().unwrap().send(body.to_owned()).unwrap();
        let _ = gate.lock().unwrap().recv();
        Reply::Granted
    });
    let next = |calls: &Receiver<String>| calls.recv_timeout(TIMEOUT).unwrap();
    call(&order, &endpoint, 0, Event::Close, "first");
    assert_eq!(next(&calls), "first");
    for client in 1..=4 {
        call(&order, &endpoint, client, Event::Close, "close");
    }
    call(&order, &endpoint, 5, Event::Unpublish, "unpublish");
    call(&order, &endpoint, 6, Event::Publish, "publish");
    drop(release);
    let told: Vec<_> = (0..6).map(|_| next(&calls)).collect();
    let place = |body: &str| told.iter().position(|told| told == body).unwrap();
    assert!(place("unpublish") <= 1 && place("publish") <= 1, "{told:?}");
    assert_eq!(told.iter().filter(|told| *told == "close").count(), 4);
    assert_eq!(order.wait_until_done(TIMEOUT), 0);
}

#[test]
fn an_endpoint_that_is_not_called_any_more_has_no_threads() {
    let alive = Arc::new(());
    let held = alive.clone();
    let endpoint = endpoint("", move |_| {
        let _held = &held;
        Reply::Granted
    });
    let order = Arc::new(Order::default());
    for client in 0..50 {
        call(&order, &endpoint, client, Event::Close, "");
    }
    drop(endpoint);
    wait_for("end of its threads", TIMEOUT, || (Arc::strong_count(&alive) == 1).then_some(()));
    assert_eq!(order.wait_until_done(TIMEOUT), 0, "what was to be called is called first");
}
