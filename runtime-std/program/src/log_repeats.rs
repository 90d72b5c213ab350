use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anabranch_host::events::MANY;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::log_queue::LogQueue;
use crate::log_text::EVENT;

/// Most lines of one warning or error in one second.
const LINES: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);

/// Holds back lines of the same warning or error, and lines that come in great numbers ([`MANY`]). They are counted, and
/// the count is logged with the next line of any kind after that second, or at the end.
#[derive(Debug, Clone)]
pub(crate) struct Repeats {
    queue: LogQueue,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// True while there are lines held back whose count is not logged yet.
    holds: AtomicBool,
    seconds: Mutex<Seconds>,
}

impl Repeats {
    pub(crate) fn new(queue: LogQueue) -> Self {
        Repeats { queue, shared: Arc::default() }
    }

    /// Logs the counts that `due` returns.
    fn print_due(&self, due: impl Fn(&mut Seconds) -> Vec<Held>) {
        let Shared { holds, seconds } = &*self.shared;
        if !holds.load(Ordering::Relaxed) {
            return;
        }
        let due = {
            let mut seconds = seconds.lock().unwrap_or_else(PoisonError::into_inner);
            let due = due(&mut seconds);
            holds.store(seconds.hold_any(), Ordering::Relaxed);
            due
        };
        for held in due {
            let event = "lines_left_out";
            self.queue.print(event, held.count, &held.to_string());
        }
    }

    pub(crate) fn tell_all(&self) {
        self.print_due(Seconds::take_all);
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let now = Instant::now();
        self.print_due(|seconds| seconds.take_over(now));
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN && metadata.target() != MANY {
            return true;
        }
        let place = (metadata.callsite(), code(event));
        let mut seconds = self.shared.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = seconds.pass(place, now, || words(event));
        if !passes {
            self.shared.holds.store(true, Ordering::Relaxed);
        }
        passes
    }
}

/// Where in the program a line comes from, and its code, if it is one of ours with a code: many refusals of one kind do
/// not keep those of another kind out of the log.
type Place = (Identifier, String);

/// The lines of the second that runs, by their places: there are a few dozen.
#[derive(Debug)]
struct Seconds<K = Place>(HashMap<K, Second>);

impl<K> Default for Seconds<K> {
    fn default() -> Self {
        Seconds(HashMap::new())
    }
}

#[derive(Debug)]
struct Second {
    start: Instant,
    passed: u32,
    held: Option<Held>,
}

/// What was not let through.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    count: u64,
    /// The first of it.
    words: String,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (s, was) = if self.count == 1 { ("", "was") } else { ("s", "were") };
        write!(f, "{} more line{s} like this {was} left out: {}", self.count, self.words)
    }
}

impl<K: std::hash::Hash + Eq> Seconds<K> {
    /// Whether one more line from there is let through; else it is counted.
    fn pass(&mut self, place: K, now: Instant, words: impl FnOnce() -> String) -> bool {
        let second = self.0.entry(place).or_insert(Second { start: now, passed: 0, held: None });
        if now.saturating_duration_since(second.start) >= SECOND {
            (second.start, second.passed) = (now, 0);
        }
        if second.passed < LINES {
            second.passed += 1;
            return true;
        }
        second.held.get_or_insert_with(|| Held { count: 0, words: words() }).count += 1;
        false
    }

    /// What was held back in seconds that are over.
    fn take_over(&mut self, now: Instant) -> Vec<Held> {
        let over = self.0.values_mut().filter(|second| now.saturating_duration_since(second.start) >= SECOND);
        over.filter_map(|second| mem::take(&mut second.held)).collect()
    }

    fn take_all(&mut self) -> Vec<Held> {
        self.0.values_mut().filter_map(|second| mem::take(&mut second.held)).collect()
    }

    fn hold_any(&self) -> bool {
        self.0.values().any(|second| second.held.is_some())
    }
}

/// The code of a line of ours, of which there are few; empty for other lines.
fn code(event: &Event<'_>) -> String {
    #[derive(Default)]
    struct Code {
        code: String,
        is_ours: bool,
    }
    impl Visit for Code {
        fn record_str(&mut self, field: &Field, value: &str) {
            match field.name() {
                "code" => value.clone_into(&mut self.code),
                EVENT => self.is_ours = true,
                _ => {}
            }
        }
        fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
    }
    let mut code = Code::default();
    event.record(&mut code);
    if code.is_ours { code.code } else { String::new() }
}

/// What a line says.
fn words(event: &Event<'_>) -> String {
    struct Words(String);
    impl Visit for Words {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}");
            }
        }
    }
    let mut words = Words(String::new());
    event.record(&mut words);
    words.0
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn ten_lines_a_second_pass_and_the_rest_is_counted() {
        let start = Instant::now();
        let mut seconds = Seconds::default();
        let passed = |seconds: &mut Seconds<u8>, place: u8, at: Duration| {
            (0..15).filter(|number| seconds.pass(place, start + at, || format!("line {number}"))).count()
        };
        assert_eq!(passed(&mut seconds, 1, Duration::ZERO), 10);
        assert_eq!(passed(&mut seconds, 2, Duration::from_millis(500)), 10, "each place has its own");
        assert_eq!(passed(&mut seconds, 1, Duration::from_millis(999)), 0);
        assert!(seconds.hold_any() && seconds.take_over(start + Duration::from_millis(999)).is_empty());
        let due = seconds.take_over(start + SECOND);
        assert_eq!(due, [Held { count: 20, words: "line 10".to_owned() }]);
        assert_eq!(due[0].to_string(), "20 more lines like this were left out: line 10");
        assert_eq!(passed(&mut seconds, 1, SECOND), 10);
        assert_eq!(seconds.take_all().len(), 2);
        assert!(!seconds.hold_any());
    }

    /// An output that can be looked into.
    #[derive(Debug, Clone, Default)]
    struct Shown(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Shown {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_is_not_flooded_with_one_warning_and_says_so_at_the_end() {
        let shown = Shown::default();
        let queue = LogQueue::start(shown.clone(), 1 << 20, crate::LogFormat::Text).unwrap();
        let repeats = Repeats::new(queue.clone());
        let lines = tracing_subscriber::fmt::layer().with_writer(queue.clone()).with_ansi(false);
        let log = tracing_subscriber::registry().with(repeats.clone()).with(lines);
        tracing::subscriber::with_default(log, || {
            // All within a second, or a few of them later: that is for the clock to say, their number is not.
            for number in 0..1000 {
                tracing::warn!("conn {number} cannot be served");
                tracing::info!("conn {number} opened");
                tracing::info!(target: MANY, "conn {number} waits");
            }
            for number in 0..1000 {
                let code = if number == 999 { "another" } else { "one" };
                tracing::warn!(event = "refused", code, "conn {number} is refused");
            }
        });
        repeats.tell_all();
        queue.flush(Duration::from_secs(30));
        let text = String::from_utf8(shown.0.lock().unwrap().clone()).unwrap();
        let count = |words: &str| text.lines().filter(|line| line.ends_with(words)).count() as u64;
        let due = text.lines().filter_map(|line| line.split_once(" more line"));
        let left_out = due.filter_map(|(before, _)| before.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>();
        let warnings =
            text.lines().filter(|line| line.contains("cannot be served") && !line.contains("more line")).count();
        let waits = text.lines().filter(|line| line.contains(" waits") && !line.contains("more line")).count();
        let refused = text.lines().filter(|line| line.contains(" is refused") && !line.contains("more line")).count();
        assert_eq!((warnings + waits + refused) as u64 + left_out, 3000, "{text}");
        assert!(left_out > 0 && warnings >= 10 && waits >= 10, "{text}");
        assert_eq!(count(" opened"), 1000, "lines of single connections are not left out");
        assert!(text.contains("conn 999 is refused"), "it has another code: {text}");
    }
}
