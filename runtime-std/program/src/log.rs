use std::io::{self, IsTerminal};
use std::time::Duration;

use anabranch_host::LogAddresses;
use clap::ValueEnum;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::log_filter::bounded;
use crate::log_queue::LogQueue;
use crate::log_repeats::Repeats;
use crate::log_text::TextFields;

/// Bytes of log lines that may wait to be written: some thousands of lines.
const CAPACITY: usize = 1 << 20;
/// How long the end of the program waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object a line, with the name of what happened as `event`, the number of the connection as
    /// `conn`, and a field for each value in the text.
    Json,
}

/// How much of the addresses of clients the log shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ShownAddresses {
    /// Address and port.
    #[default]
    Full,
    /// The network: 24 bits of an IPv4 address, 48 bits of an IPv6 address.
    Network,
    /// Nothing.
    Off,
}

impl From<ShownAddresses> for LogAddresses {
    fn from(shown: ShownAddresses) -> Self {
        match shown {
            ShownAddresses::Full => LogAddresses::Full,
            ShownAddresses::Network => LogAddresses::Network,
            ShownAddresses::Off => LogAddresses::Off,
        }
    }
}

/// The running log. When it is dropped, at the end of the program, it waits up to a second for its last lines to be
/// written.
#[derive(Debug)]
#[must_use = "the last lines are lost without it"]
pub struct Log {
    queue: LogQueue,
    repeats: Repeats,
    filter: LogFilter,
}

impl Log {
    /// The filter, which can be changed while the log runs.
    pub fn filter(&self) -> &LogFilter {
        &self.filter
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.repeats.tell_all();
        self.queue.flush(LAST_LINES);
    }
}

/// What a running log lets through. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogFilter {
    handle: reload::Handle<Targets, Registry>,
}

impl LogFilter {
    /// Checks a filter.
    ///
    /// # Errors
    /// The text is no valid filter; the error says why, for people.
    pub fn check(filter: &str) -> Result<(), String> {
        parse(filter).map(drop)
    }

    /// Logs by this filter from now on.
    ///
    /// # Errors
    /// The text is no valid filter, or the log has ended.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        self.handle.reload(parse(filter)?).map_err(|error| error.to_string())
    }
}

fn parse(filter: &str) -> Result<Targets, String> {
    bounded(filter)?.parse::<Targets>().map_err(|error| format!("log filter {filter:?}: {error}"))
}

/// Starts the log, on standard error. Logging never blocks and never fails: a separate thread writes the lines. While
/// standard error takes none, lines that do not fit into a queue are dropped and counted. The same warning or error, and
/// the same line of the target [`MANY`](anabranch_host::events::MANY), is logged at most ten times a second; a later line
/// says how many more there were.
///
/// # Errors
/// The filter is not valid, or the log's thread cannot start; the error is for people.
pub fn init_log(filter: &str, format: LogFormat) -> Result<Log, String> {
    let filter = parse(filter)?;
    let queue = LogQueue::start(io::stderr(), CAPACITY, format);
    let queue = queue.map_err(|error| format!("no thread for the log: {error}"))?;
    let repeats = Repeats::new(queue.clone());
    let (filter, handle) = reload::Layer::new(filter);
    // With internal errors on, it would write them to standard error, and panic if that cannot be written.
    let lines = fmt::layer().with_writer(queue.clone()).log_internal_errors(false);
    let lines = match format {
        LogFormat::Text => {
            lines.fmt_fields(TextFields).with_target(false).with_ansi(io::stderr().is_terminal()).boxed()
        }
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    let log = tracing_subscriber::registry().with(filter).with(repeats.clone()).with(lines);
    log.try_init().map_err(|error| error.to_string())?;
    Ok(Log { queue, repeats, filter: LogFilter { handle } })
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_filter_lets_through_what_it_names() {
        for (filter, target, most) in [
            ("info", "anabranch_smol::connection", Some(Level::INFO)),
            ("trace", "anabranch_smol::connection", Some(Level::TRACE)),
            ("trace", "ureq::run", Some(Level::INFO)),
            ("warn,ureq=debug", "ureq::run", Some(Level::DEBUG)),
            ("info,anabranch_host::before_connect=debug", "anabranch_host::before_connect", Some(Level::DEBUG)),
            ("info,anabranch_host::before_connect=debug", "anabranch_host::lines", Some(Level::INFO)),
            ("anabranch_smol", "anabranch_smol", Some(Level::TRACE)),
            ("anabranch_smol", "anabranch_host", None),
            ("off", "anabranch_smol", None),
            ("", "anabranch_smol", Some(Level::ERROR)),
        ] {
            let targets = parse(filter).unwrap();
            let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
            let shown = levels.into_iter().take_while(|level| targets.would_enable(target, level)).last();
            assert_eq!(shown, most, "{filter:?} {target}");
        }
        assert!(parse("anabranch=loud").unwrap_err().contains("log filter"));
    }
}
