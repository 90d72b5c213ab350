use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for something that should happen soon. Long enough for a machine that does much else.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// Waits until `probe` finds something.
///
/// # Panics
/// If it has not by the end of `timeout`, with `what` in the message.
pub fn wait_for<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < timeout, "no {what} in {timeout:?}");
        thread::sleep(PAUSE);
    }
}
