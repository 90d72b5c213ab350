//! Does what the relays of a server want done: looks up names, connects, hands verdicts on, and logs.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use anabranch_core::conn::AnyConn;
use anabranch_core::hub::StreamId;
use anabranch_core::relay::{Order, RelayEvent, RelayId, RelayKind, Remark};
use event_listener::{Event, EventListener};
use tracing::error;

use crate::host::{Host, Link};
use crate::publications::PublishStart;
use crate::{Runtime, uplinks};

/// After a panic, the driver goes on after this time, so that a panic that comes again and again takes little CPU time.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// Wakes the driver.
#[derive(Debug, Default)]
pub(crate) struct Driver {
    news: Arc<News>,
    is_over: AtomicBool,
    /// Pulls that are or were live, with their streams.
    pulled: Mutex<HashMap<RelayId, StreamId>>,
}

#[derive(Debug, Default)]
struct News(Event);

impl Wake for News {
    fn wake(self: Arc<Self>) {
        self.0.notify(usize::MAX);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify(usize::MAX);
    }
}

impl Driver {
    pub(crate) fn waker(&self) -> Waker {
        Waker::from(self.news.clone())
    }
}

/// When a driver calls [`drive`] again: at this time, or when the listener is notified.
#[derive(Debug)]
pub struct Pause {
    /// The time; `None` if only the listener counts.
    pub until: Option<Instant>,
    /// Notified when there is something to do.
    pub news: EventListener,
}

/// Does all that the relays of the server want done now. `None`: the server is over, and so is its driver. A server has
/// one driver.
pub fn drive<R: Runtime>(runtime: &Arc<R>) -> Option<Pause> {
    let host = runtime.host();
    let driver = host.driver();
    // What happens from here on is noticed.
    let news = driver.news.0.listen();
    if driver.is_over.load(Ordering::Acquire) {
        return None;
    }
    let until = catch_unwind(AssertUnwindSafe(|| follow_orders(runtime))).unwrap_or_else(|_| {
        error!(event = "bug", "the driver of the relays panicked, which is a bug; it goes on");
        Some(Instant::now() + AFTER_PANIC)
    });
    Some(Pause { until, news })
}

fn follow_orders<R: Runtime>(runtime: &Arc<R>) -> Option<Instant> {
    let host = runtime.host();
    loop {
        match host.core().relays().poll(Instant::now()) {
            Order::Resolve { attempt, host, port } => runtime.resolve(attempt, host, port),
            Order::Connect { attempt, address, tls } => runtime.connect(attempt, address, tls),
            Order::Abort(attempt) => runtime.abort(attempt),
            Order::Answer { connection, ask, verdict } => {
                let mut verdict = Some(verdict);
                host.change_client(connection, &mut |conn| {
                    if let Some(verdict) = verdict.take() {
                        conn.answer(Instant::now(), ask, verdict);
                    }
                });
            }
            Order::Close { connection, reason } => {
                host.change_client(connection, &mut |conn| conn.close(reason.clone()));
            }
            Order::LoseName { connection, key } => {
                host.change_client(connection, &mut |conn| conn.lose_name(&key));
            }
            Order::Poll { connection } => match host.find_uplink(connection) {
                Some(uplink) => uplink.change(&mut |_: &mut AnyConn| {}),
                None => _ = host.change_client(connection, &mut |_| {}),
            },
            Order::Wake(stream) => runtime.wake(stream),
            Order::Remark(remark) => note(host, &remark),
            Order::Wait(until) => return until,
        }
    }
}

/// Logs a remark. What an origin sends is a publication, which the program learns.
fn note<C: Link>(host: &Host<C>, remark: &Remark) {
    uplinks::log(remark);
    if remark.kind != RelayKind::Pull {
        return;
    }
    let mut pulled = host.driver().pulled.lock().unwrap_or_else(PoisonError::into_inner);
    match &remark.event {
        // What happens when a stream begins happens at the server of the cluster where it is published.
        RelayEvent::Live { .. } if host.core().relays().is_from_cluster(&remark.key) => {}
        RelayEvent::Live { .. } => {
            let stream = host.core().hub().play(&remark.key).stream_id();
            let before = pulled.insert(remark.id, stream);
            drop(pulled);
            // Another connection may go on with what the first one has begun.
            if before != Some(stream) {
                before.into_iter().for_each(|before| host.unpublishes(before));
                host.publishes(&PublishStart::pulled(&remark.key, stream));
            }
        }
        RelayEvent::Failed { was_live: true, .. } | RelayEvent::Silent | RelayEvent::Ended { .. } => {
            let ended = pulled.remove(&remark.id);
            drop(pulled);
            if let Some(stream) = ended {
                host.unpublishes(stream);
            }
        }
        _ => {}
    }
}

impl<C: Link> Host<C> {
    /// Ends the driver: [`drive`] returns `None` from now on. All connections have ended.
    pub fn end_driver(&self) {
        #[cfg(feature = "webrtc")]
        self.rtc().end();
        self.driver().is_over.store(true, Ordering::Release);
        self.driver().news.0.notify(usize::MAX);
    }
}
