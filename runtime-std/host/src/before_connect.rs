use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::info;

/// Connections opened in one second that are logged at once. On a large server fewer real clients come in most seconds;
/// the others are logged when they have connected.
const LINES: u32 = 20;
const SECOND: Duration = Duration::from_secs(1);

/// Keeps connections that end before `connect` from filling the log: of those opened while many others were, all that
/// end before `connect` is granted are counted and logged in one line.
#[derive(Debug, Default)]
pub(crate) struct BeforeConnect {
    second: Mutex<Option<Second>>,
}

#[derive(Debug)]
struct Second {
    start: Instant,
    shown: u32,
    left_out: u64,
    /// The last connection that was left out.
    last: Option<Last>,
}

#[derive(Debug, PartialEq, Eq)]
struct Last {
    /// As the log shows it.
    address: Option<String>,
    reason: &'static str,
}

/// Connections that were left out, and the last of them.
type LeftOut = (u64, Last);

impl BeforeConnect {
    /// Whether a connection that is opened now is logged at once.
    pub(crate) fn show(&self, now: Instant) -> bool {
        let (shown, left_out) = {
            let mut second = self.second();
            let (second, left_out) = Second::at(&mut second, now);
            second.shown = second.shown.saturating_add(1);
            (second.shown <= LINES, left_out)
        };
        log_left_out(left_out);
        shown
    }

    /// Counts a connection that has ended and was not logged.
    pub(crate) fn leave_out(&self, now: Instant, address: Option<String>, reason: &'static str) {
        let left_out = {
            let mut second = self.second();
            let (second, left_out) = Second::at(&mut second, now);
            second.left_out += 1;
            second.last = Some(Last { address, reason });
            left_out
        };
        log_left_out(left_out);
    }

    fn second(&self) -> MutexGuard<'_, Option<Second>> {
        self.second.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for BeforeConnect {
    fn drop(&mut self) {
        let second = self.second.get_mut().unwrap_or_else(PoisonError::into_inner);
        log_left_out(second.take().and_then(Second::left_out));
    }
}

impl Second {
    /// The current second, and the line about the one before, if there is one.
    fn at(second: &mut Option<Second>, now: Instant) -> (&mut Second, Option<LeftOut>) {
        let over = second.take_if(|second| now.saturating_duration_since(second.start) >= SECOND);
        let fresh = Second { start: now, shown: 0, left_out: 0, last: None };
        (second.get_or_insert(fresh), over.and_then(Second::left_out))
    }

    fn left_out(self) -> Option<LeftOut> {
        Some((self.left_out, self.last?))
    }
}

fn log_left_out(left_out: Option<LeftOut>) {
    if let Some((count, Last { address, reason })) = left_out {
        let connections = if count == 1 { "connection" } else { "connections" };
        let from = address.as_ref().map(|address| format!(" from {address}")).unwrap_or_default();
        info!(
            event = "unidentified",
            connections = count,
            last_address = address.as_deref(),
            last_reason = reason,
            "{count} {connections} more that ended without a stream; the last{from}: {reason}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_connections_a_second_are_shown_and_the_rest_is_counted() {
        let before_connect = BeforeConnect::default();
        let (start, address) = (Instant::now(), Some("192.0.2.7".to_owned()));
        let shown = |at: Duration| (0..100).filter(|_| before_connect.show(start + at)).count();
        assert_eq!(shown(Duration::ZERO), 20);
        assert_eq!(shown(Duration::from_millis(999)), 0);
        for reason in ["handshake_error"; 179].into_iter().chain(["peer_lost"]) {
            before_connect.leave_out(start, address.clone(), reason);
        }
        let mut second = before_connect.second();
        let (fresh, left_out) = Second::at(&mut second, start + SECOND);
        assert_eq!((fresh.shown, fresh.left_out), (0, 0));
        assert_eq!(left_out, Some((180, Last { address, reason: "peer_lost" })));
        drop(second);
        assert_eq!(shown(SECOND), 20);
        assert!(Second::at(&mut before_connect.second(), start + 3 * SECOND).1.is_none(), "all had their lines");
    }
}
