use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::viewer::Viewer;
use super::{Times, locked};

/// How often the loop looks what is due.
const STEP: Duration = Duration::from_millis(10);
/// The largest datagram that is read.
const LARGEST: usize = 2048;

/// What all viewers have seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    connected: AtomicU64,
    bytes: AtomicU64,
    packets: AtomicU64,
    missing: AtomicU64,
    pictures: AtomicU64,
    gaps: AtomicU64,
    is_measured: AtomicBool,
    errors: Mutex<BTreeMap<String, u64>>,
    times: Mutex<Times>,
}

impl Seen {
    pub(super) fn fail(&self, name: &str) {
        *locked(&self.errors).entry(name.to_owned()).or_default() += 1;
    }

    pub(super) fn connect(&self, after: Duration) {
        self.connected.fetch_add(1, Ordering::Relaxed);
        locked(&self.times).connecting.record(after);
    }

    pub(super) fn disconnect(&self) {
        self.connected.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn first_packet(&self, after: Duration) {
        locked(&self.times).first_packet.record(after);
    }

    pub(super) fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.packets.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn missed(&self, packets: u64) {
        self.missing.fetch_add(packets, Ordering::Relaxed);
    }

    pub(super) fn picture(&self, gap: u64, latency: Option<Duration>) {
        self.gaps.fetch_add(gap, Ordering::Relaxed);
        if self.is_measured.load(Ordering::Relaxed) {
            self.pictures.fetch_add(1, Ordering::Relaxed);
            if let Some(latency) = latency {
                locked(&self.times).latency.record(latency);
            }
        }
    }

    pub(super) fn measure(&self, is_measured: bool) {
        self.is_measured.store(is_measured, Ordering::Relaxed);
    }

    pub(super) fn connected(&self) -> u64 {
        self.connected.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    pub(super) fn missing(&self) -> u64 {
        self.missing.load(Ordering::Relaxed)
    }

    pub(super) fn pictures(&self) -> u64 {
        self.pictures.load(Ordering::Relaxed)
    }

    pub(super) fn gaps(&self) -> u64 {
        self.gaps.load(Ordering::Relaxed)
    }

    pub(super) fn errors(&self) -> u64 {
        locked(&self.errors).values().sum()
    }

    pub(super) fn names_of_errors(&self) -> BTreeMap<String, u64> {
        locked(&self.errors).clone()
    }

    pub(super) fn times(&self) -> Times {
        locked(&self.times).clone()
    }
}

/// One loop with all viewers.
pub(super) struct Viewers {
    poll: Poll,
    viewers: Vec<Viewer>,
    seen: Arc<Seen>,
    joining: Receiver<Viewer>,
}

impl Viewers {
    pub(super) fn new(seen: Arc<Seen>, joining: Receiver<Viewer>) -> io::Result<Self> {
        Ok(Viewers { poll: Poll::new()?, viewers: Vec::new(), seen, joining })
    }

    /// Runs until it is over, and then all leave.
    pub(super) fn run(mut self, is_over: &AtomicBool) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = [0; LARGEST];
        let mut next = Instant::now();
        while !is_over.load(Ordering::Relaxed) {
            match self.poll.poll(&mut events, Some(next.saturating_duration_since(Instant::now()))) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                if let Some(viewer) = self.viewers.get_mut(event.token().0) {
                    viewer.read(&mut buffer, &self.seen);
                }
            }
            while let Ok(mut viewer) = self.joining.try_recv() {
                let token = Token(self.viewers.len());
                self.poll.registry().register(&mut viewer.socket, token, Interest::READABLE)?;
                viewer.poll(&self.seen);
                self.viewers.push(viewer);
            }
            let now = Instant::now();
            if now >= next {
                next = now + STEP;
                for viewer in self.viewers.iter_mut().filter(|viewer| !viewer.is_over && viewer.due <= now) {
                    viewer.turn(now, &self.seen);
                }
            }
        }
        for viewer in self.viewers.iter_mut().filter(|viewer| !viewer.is_over) {
            viewer.leave(&self.seen);
        }
        Ok(())
    }
}
