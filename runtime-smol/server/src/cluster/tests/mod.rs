//! Several servers' directories in one process, with a real Redis. Each row of the table of failures in docs/cluster.md is a
//! test here, as far as the directory alone can show it.

mod failures;
mod hostile;
mod leases;
mod ways;

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anabranch_core::location::{ClaimError, Conflict, Event, Located, LostReason};
use anabranch_tests::{TIMEOUT, wait_for};

use super::directory::{Claim, Directory};
use super::record::Load;
use super::settings::{ClusterSettings, OnLoss};
use crate::settings::values::Time;

/// The time to live of most tests. A renewal has a second.
const TTL: Duration = Duration::from_secs(3);

fn settings(url: &str) -> ClusterSettings {
    let settings = ClusterSettings {
        advertise: "rtmp://127.0.0.1:1935".to_owned(),
        ttl: Time(TTL),
        hold: false,
        ..ClusterSettings::default()
    };
    settings.with_redis(url)
}

/// One server, as far as the directory sees it.
struct Node {
    directory: Directory,
    events: Arc<Mutex<Vec<(Instant, Event)>>>,
}

impl Node {
    /// A server with this id.
    fn start(id: &str, settings: ClusterSettings) -> Self {
        let settings = ClusterSettings { node: id.to_owned(), ..settings };
        let status = || (Load { streams: 1, players: 2 }, false);
        let directory = Directory::start(&settings, "test", None, None, status).expect("it starts").expect("it is on");
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = events.clone();
        directory.listen(move |event| seen.lock().unwrap().push((Instant::now(), event.clone())));
        Node { directory, events }
    }

    /// A server with this id that has reached the Redis.
    fn connected(id: &str, settings: ClusterSettings) -> Self {
        let node = Node::start(id, settings);
        node.wait_state(true);
        node
    }

    fn wait_state(&self, connected: bool) {
        let what = if connected { "connection to the directory" } else { "loss of the directory" };
        wait_for(what, TIMEOUT, || (self.directory.state().connected == connected).then_some(()));
    }

    /// Waits for an error of the directory with these words.
    fn wait_error(&self, words: &str) -> String {
        wait_for(words, TIMEOUT, || {
            let state = self.directory.state();
            state.error.map(|(_, error)| error).filter(|error| !state.connected && error.contains(words))
        })
    }

    fn claim_as(&self, name: &str, conflict: Conflict) -> (Claim, Result<Option<u64>, ClaimError>) {
        let (sender, answer) = mpsc::channel();
        let claim = self.directory.claim(&name.into(), conflict, move |answer| {
            // The test may have ended.
            let _ = sender.send(answer);
        });
        (claim, answer.recv_timeout(TIMEOUT).expect("each claim has an answer"))
    }

    fn claim(&self, name: &str) -> (Claim, Result<Option<u64>, ClaimError>) {
        self.claim_as(name, Conflict::Refuse)
    }

    /// A name that the server gets, with the number of its lease.
    fn take(&self, name: &str) -> (Claim, u64) {
        match self.claim(name) {
            (claim, Ok(Some(fencing))) => (claim, fencing),
            (_, answer) => panic!("{name}: {answer:?}"),
        }
    }

    /// Names that the server gets.
    fn take_all(&self, names: &[String]) -> Vec<Claim> {
        names.iter().map(|name| self.take(name).0).collect()
    }

    fn find(&self, name: &str) -> Located {
        let (sender, answer) = mpsc::channel();
        let _find = self.directory.find(&name.into(), move |located| {
            let _ = sender.send(located);
        });
        answer.recv_timeout(TIMEOUT).expect("each question has an answer")
    }

    /// Where the directory says that the name is: the id of the server.
    fn owner(&self, name: &str) -> Option<String> {
        match self.find(name) {
            Located::At { owner, .. } => Some(owner.node.to_string()),
            Located::Here => Some("here".to_owned()),
            Located::Nowhere | Located::Unknown => None,
        }
    }

    fn lost(&self) -> Vec<(Instant, String, LostReason)> {
        let events = self.events.lock().unwrap();
        let lost = events.iter().filter_map(|(at, event)| match event {
            Event::Lost { name, reason } => Some((*at, name.to_string(), reason.clone())),
            _ => None,
        });
        lost.collect()
    }

    fn wait_lost(&self, name: &str) -> (Instant, LostReason) {
        wait_for("loss of the name", TIMEOUT, || {
            self.lost().into_iter().find(|(_, lost, _)| lost == name).map(|(at, _, reason)| (at, reason))
        })
    }

    fn wait_event(&self, what: &str, is_it: impl Fn(&Event) -> bool) {
        wait_for(what, TIMEOUT, || self.events.lock().unwrap().iter().any(|(_, event)| is_it(event)).then_some(()));
    }

    /// Waits until the directory has confirmed so many names.
    fn wait_confirmed(&self, names: usize) {
        wait_for("confirmed names", TIMEOUT, || {
            let view = self.directory.view();
            (view.state.connected && view.leases == names && view.unconfirmed == 0 && view.outstanding == 0)
                .then_some(())
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.directory.leave(Duration::from_millis(200));
        self.directory.crash();
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("v/live/cam {number} {{é}}")).collect()
}

/// How many names the Redis has.
fn count(redis: &anabranch_tests::redis::Redis) -> usize {
    redis.command(&["KEYS", "ab:s:*"]).lines().filter(|line| !line.is_empty()).count()
}

fn strict(settings: ClusterSettings) -> ClusterSettings {
    ClusterSettings { on_loss: OnLoss::Strict, ..settings }
}

fn refuse(settings: ClusterSettings) -> ClusterSettings {
    ClusterSettings { on_loss: OnLoss::Refuse, ..settings }
}
