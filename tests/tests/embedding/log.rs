use std::fmt::{self, Write};
use std::sync::mpsc::channel;
use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::Duration;

use anabranch_core::client::ClientEvent;
use anabranch_core::command::PublishType;
use anabranch_host::{Handle, Serve};
use anabranch_tests::embedded::Embedded;
use anabranch_tests::peer::Driver;
use anabranch_tests::{TIMEOUT, wait_for};
use tracing::field::{Field, Visit};
use tracing::{Metadata, Subscriber, span};

anabranch_tests::on_both_libraries!(no_line_is_written_while_a_connection_is_locked);

/// How long a server may take to list its connections. Only one with a locked connection takes that long.
const LOOK: Duration = Duration::from_secs(10);

/// The servers that are looked at with each line, and what came of it.
static LOOKED_AT: Mutex<Vec<Handle>> = Mutex::new(Vec::new());
/// The lines that were written, and whether the connections could be listed during each.
static LINES: Mutex<Vec<(String, bool)>> = Mutex::new(Vec::new());

/// A log that lists all connections with each line, as a program may do that adds details to its lines.
struct Looking;

impl Subscriber for Looking {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("anabranch")
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let servers = LOOKED_AT.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if servers.is_empty() {
            return;
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        // On another thread: this thread would wait for itself forever.
        let (sender, receiver) = channel();
        thread::spawn(move || {
            servers.iter().for_each(|server| drop(server.connections()));
            // If this is not received, the test has failed already.
            let _ = sender.send(());
        });
        let shown = receiver.recv_timeout(LOOK).is_ok();
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push((line.0, shown));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The text of a line.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing to a String does not fail.
            let _ = write!(self.0, "{value:?}");
        }
    }
}

fn no_line_is_written_while_a_connection_is_locked<S: Serve + Send + 'static>() {
    static LOG: Once = Once::new();
    LOG.call_once(|| tracing::subscriber::set_global_default(Looking).expect("no other test sets one"));
    // One test at a time: the servers' lines use the same connection numbers.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);

    let server = Embedded::start::<S>(|builder| builder);
    LOOKED_AT.lock().unwrap_or_else(PoisonError::into_inner).push(server.handle.clone());
    server.handle.on_publish(|start| assert_ne!(start.key.stream(), "trap", "what the program does has a bug"));

    let mut publisher = Driver::to(&server.url("live/cam"));
    publisher.client.publish("cam", PublishType::Live).expect("it may ask");
    publisher.wait_event("a stream", |event| matches!(event, ClientEvent::Publishing { .. }).then_some(()));
    let mut trapped = Driver::to(&server.url("live/trap"));
    trapped.client.publish("trap", PublishType::Live).expect("it may ask");
    trapped.wait_close();
    drop(publisher);
    wait_for("end of all", TIMEOUT, || (server.handle.stats().connections == 0).then_some(()));
    server.stop();

    LOOKED_AT.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let lines = std::mem::take(&mut *LINES.lock().unwrap_or_else(PoisonError::into_inner));
    for words in ["opened from", "is publisher of live/cam", "panicked", "closed: "] {
        assert!(lines.iter().any(|(line, _)| line.contains(words)), "{words}: {lines:?}");
    }
    let locked: Vec<_> = lines.iter().filter(|(_, shown)| !shown).map(|(line, _)| line).collect();
    assert!(locked.is_empty(), "connections were locked while these lines were written: {locked:?}");
}
