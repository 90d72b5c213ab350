//! Pushes to and pulls from other servers, over sockets.

mod edge;
mod push;
mod viewers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anabranch_core::client::ClientEvent;
use anabranch_tests::media::frames::{video, video_header};
use anabranch_tests::peer::{Driver, WebPlayer};
use anabranch_tests::program::Program;
use anabranch_tests::{TIMEOUT, wait_for};
use serde_json::Value;

/// A publisher that sends a frame each 20 ms and a key frame each half second, until it is dropped.
pub(crate) struct Encoder {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Encoder {
    pub(crate) fn start(program: &Program, name: &str) -> Self {
        Encoder::of(program.publisher(name))
    }

    pub(crate) fn of(mut driver: Driver) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        let thread = thread::spawn(move || {
            driver.send(video_header());
            for number in 0.. {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                driver.send(video(number * 20, number % 25 == 0, 300));
                thread::sleep(Duration::from_millis(20));
            }
            driver.close();
        });
        Encoder { over, thread: Some(thread) }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            thread::panicking() || ended.is_some_and(|ended| ended.is_ok()),
            "the publisher was not served to its end"
        );
    }
}

/// Waits until a player has got so many frames.
pub(crate) fn wait_frames(player: &mut Driver, count: usize) {
    for _ in 0..count {
        player.wait_event("a frame", |event| matches!(event, ClientEvent::Media { .. }).then_some(()));
    }
}

/// How a live stream is asked for by HTTP, with the status of a success.
pub(crate) const FORMS: [(View, u16); 2] = [(WebPlayer::get, 200), (WebPlayer::web_socket, 101)];

type View = fn(SocketAddr, &str) -> WebPlayer;

/// A list of the API.
pub(crate) fn list(program: &Program, name: &str) -> Vec<Value> {
    let path = if name == "edge" { "/api/v1/edge?count=1000" } else { "/api/v1/forwards?count=1000" };
    program.get(path)[name].as_array().cloned().unwrap_or_default()
}

/// Waits until the one relay of a list whose target has this text is in one of these states.
fn wait_state(program: &Program, name: &str, target: &str, states: &[&str]) -> Value {
    wait_for(&format!("{name} {target} in state {states:?}"), TIMEOUT, || {
        let all = list(program, name);
        let is_meant = |relay: &&Value| relay["target"].as_str().is_some_and(|text| text.contains(target));
        let relay = all.iter().find(is_meant)?;
        states.contains(&relay["state"].as_str()?).then(|| relay.clone())
    })
}

fn wait_live(program: &Program, name: &str, target: &str) -> Value {
    wait_state(program, name, target, &["live"])
}
