//! The queue between what is logged and the output.
//!
//! Written by hand, because a line that does not fit is dropped and the number of such lines stands in their place, and
//! because an output that fails or panics must not end the thread. tracing-appender has no place for that number in the
//! log, and prints to standard error from its worker and its guard, which is the output that may be stuck.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::LogFormat;
use crate::log_text::{Plain, json_line};

/// Log lines on their way to an output that may be slow, stuck or broken. Threads that log never wait for the output
/// and get none of its errors: a separate thread writes the lines, in order. Lines that do not fit are dropped and
/// counted, and the count is written in their place.
#[derive(Debug, Clone)]
pub(crate) struct LogQueue {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    format: LogFormat,
    /// Bytes that may wait.
    capacity: usize,
    state: Mutex<State>,
    /// Notified when there is something to write.
    filled: Condvar,
    /// Notified when all is written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines.
    waiting: Vec<u8>,
    /// Lines that came after those and are lost.
    dropped: u64,
    writing: bool,
}

impl LogQueue {
    /// Starts the thread, which ends with the process. The queue holds at most twice `capacity` bytes: `capacity` bytes
    /// may wait while as many are being written.
    pub(crate) fn start(output: impl Write + Send + 'static, capacity: usize, format: LogFormat) -> io::Result<Self> {
        let shared =
            Shared { format, capacity, state: Mutex::default(), filled: Condvar::new(), written: Condvar::new() };
        let shared = Arc::new(shared);
        let its_shared = shared.clone();
        thread::Builder::new().name("log".into()).spawn(move || its_shared.run(output))?;
        Ok(LogQueue { shared })
    }

    /// Waits until all lines are written, but not longer than `timeout`.
    pub(crate) fn flush(&self, timeout: Duration) {
        let busy = |state: &mut State| state.writing || !state.waiting.is_empty();
        // If the output is stuck, its lines are lost; there is no place to report it.
        drop(self.shared.written.wait_timeout_while(self.shared.state(), timeout, busy));
    }

    /// A warning of the log itself about so many lines.
    pub(crate) fn print(&self, event: &str, lines: u64, words: &str) {
        self.push(warning(self.shared.format, event, lines, words).as_bytes());
    }

    fn push(&self, line: &[u8]) {
        let line = match self.shared.format {
            LogFormat::Text => Cow::Borrowed(line),
            LogFormat::Json => json_line(line),
        };
        let mut state = self.shared.state();
        // After a dropped line, none is taken before the count is written, so that the count has the right place.
        if state.dropped > 0 || state.waiting.len().saturating_add(line.len()) > self.shared.capacity {
            state.dropped = state.dropped.saturating_add(1);
            return;
        }
        state.waiting.extend_from_slice(&line);
        drop(state);
        self.shared.filled.notify_one();
    }
}

impl Shared {
    fn run(&self, mut output: impl Write) {
        let mut state = self.state();
        loop {
            if !state.has_work() {
                state.writing = false;
                self.written.notify_all();
            }
            state = self.filled.wait_while(state, |state| !state.has_work()).unwrap_or_else(PoisonError::into_inner);
            let mut lines = mem::take(&mut state.waiting);
            let dropped = mem::take(&mut state.dropped);
            state.writing = true;
            drop(state);
            if dropped > 0 {
                lines.extend_from_slice(gap(self.format, dropped).as_bytes());
            }
            // If the log cannot be written, there is no place to report it.
            // If the output panics, the thread goes on with the next lines.
            let write = AssertUnwindSafe(|| output.write_all(&lines).and_then(|()| output.flush()));
            let _ = catch_unwind(write);
            state = self.state();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_work(&self) -> bool {
        self.dropped > 0 || !self.waiting.is_empty()
    }
}

/// The line that stands for lines that were dropped.
fn gap(format: LogFormat, dropped: u64) -> String {
    let words = format!("{dropped} log lines are missing here: standard error was not read fast enough");
    let event = "lines_dropped";
    warning(format, event, dropped, &words)
}

fn warning(format: LogFormat, event: &str, lines: u64, words: &str) -> String {
    let mut time = String::new();
    // The clock's text fits into any string.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    match format {
        LogFormat::Text => {
            let mut line = format!("{time}  WARN ");
            // Writing to a String does not fail.
            let _ = Plain(&mut line).write_str(words);
            line.push('\n');
            line
        }
        LogFormat::Json => {
            let line = serde_json::json!({
                "timestamp": time, "level": "WARN", "event": event, "lines": lines, "message": words
            });
            format!("{line}\n")
        }
    }
}

/// The log writes each line with one call.
impl Write for &LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = &'a LogQueue;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    /// An output that is stuck until what it was given is received.
    struct Stuck(SyncSender<String>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // The test has ended when there is no receiver.
            let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stuck(capacity: usize) -> (LogQueue, Receiver<String>) {
        let (sender, receiver) = sync_channel(0);
        (LogQueue::start(Stuck(sender), capacity, LogFormat::Text).unwrap(), receiver)
    }

    #[test]
    fn lines_that_do_not_fit_are_dropped_and_counted_in_their_place() {
        let (queue, output) = stuck(20);
        queue.push(b"first\n");
        let taken = || queue.shared.state().writing;
        while !taken() {
            thread::yield_now();
        }
        // No reader takes the first line, and no caller waits.
        for line in ["second\n", "third\n", "much too long\n", "short\n"] {
            queue.push(line.as_bytes());
        }
        assert_eq!(output.recv_timeout(TIMEOUT).unwrap(), "first\n");
        let rest = output.recv_timeout(TIMEOUT).unwrap();
        assert!(rest.starts_with("second\nthird\n2") && rest.contains(" WARN 2 log lines are missing here"), "{rest}");
        // There is room again.
        queue.push(b"fourth\n");
        assert_eq!(output.recv_timeout(TIMEOUT).unwrap(), "fourth\n");
    }

    #[test]
    fn flushing_waits_for_the_last_line_but_not_for_ever() {
        let (queue, output) = stuck(100);
        queue.push(b"last\n");
        queue.flush(Duration::from_millis(20));
        let reader = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            output.recv_timeout(TIMEOUT)
        });
        queue.flush(TIMEOUT);
        assert!(!queue.shared.state().writing);
        assert_eq!(reader.join().unwrap().unwrap(), "last\n");
    }

    #[test]
    fn the_logs_own_lines_have_its_format() {
        let text = warning(LogFormat::Text, "lines_dropped", 3, "so");
        assert!(text.ends_with("Z  WARN so\n"), "{text}");
        let json = warning(LogFormat::Json, "lines_dropped", 3, "a \"quoted\" word");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(json["level"] == "WARN" && json["message"] == "a \"quoted\" word" && json["timestamp"].is_string());
        assert!(json["event"] == "lines_dropped" && json["lines"] == 3, "{json}");
    }

    #[test]
    fn an_output_that_panics_loses_what_it_was_given_and_no_more() {
        struct Panicking(SyncSender<String>);
        impl Write for Panicking {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                assert!(!bytes.starts_with(b"bad"), "a line that it cannot take");
                Stuck(self.0.clone()).write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (sender, receiver) = sync_channel(0);
        let queue = LogQueue::start(Panicking(sender), 100, LogFormat::Text).unwrap();
        queue.push(b"bad\n");
        queue.flush(TIMEOUT);
        queue.push(b"good\n");
        assert_eq!(receiver.recv_timeout(TIMEOUT).unwrap(), "good\n");
        queue.flush(TIMEOUT);
        assert!(!queue.shared.state().writing);
    }

    #[test]
    fn an_output_that_fails_does_not_affect_logging() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::StorageFull.into())
            }
        }
        let queue = LogQueue::start(Broken, 100, LogFormat::Text).unwrap();
        for _ in 0..10 {
            assert!((&queue).write_all(b"a line of twenty byte").is_ok());
            queue.flush(TIMEOUT);
            assert!(!queue.shared.state().has_work());
        }
    }
}
