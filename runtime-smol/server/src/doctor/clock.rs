use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::entry::{Entry, Report};
use crate::examine::parts::date;

/// No server of this version ran before: the 1st of October 2025.
const FIRST: u64 = 1_759_276_800;
/// So long after that a clock is probably wrong: the 1st of January 2100.
const LAST: u64 = 4_102_444_800;
/// How long the two clocks are compared, and how far they may then be apart.
const COMPARED: Duration = Duration::from_millis(200);
const APART: Duration = Duration::from_millis(20);

/// The time since 1970.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Whether the clock can be right. No other machine is asked.
pub(super) fn look(file: Option<&Path>, report: &mut Report) {
    let seconds = now().as_secs();
    let cure = "set the clock, and let it be kept right (systemd-timesyncd, chrony): signed URLs, certificates and the \
                names of recordings depend on it";
    let shown = date(seconds);
    if !(FIRST..LAST).contains(&seconds) {
        report.add(Entry::fault("clock", format!("the clock shows {shown}, which cannot be right"), cure));
        return;
    }
    // A machine without a battery for its clock begins in the past after each start.
    let program = std::env::current_exe().ok();
    let newest = [program.as_deref(), file].into_iter().flatten().filter_map(|file| {
        let changed = fs::metadata(file).ok()?.modified().ok()?;
        Some((file.display().to_string(), changed.duration_since(SystemTime::now()).ok()?))
    });
    if let Some((file, ahead)) =
        newest.max_by_key(|(_, ahead)| *ahead).filter(|(_, ahead)| *ahead > Duration::from_secs(60))
    {
        let words = format!("the clock shows {shown}, but {file} was changed {} s later than that", ahead.as_secs());
        report.add(Entry::warning("clock", words, cure));
        return;
    }
    let (wall, monotonic) = (SystemTime::now(), Instant::now());
    thread::sleep(COMPARED);
    let (passed, expected) = (wall.elapsed(), monotonic.elapsed());
    let apart = passed.as_ref().map_or(expected, |passed| passed.abs_diff(expected));
    if apart > APART {
        let words = format!("the clock was moved by {} ms while {} ms passed", apart.as_millis(), expected.as_millis());
        let cure = "find what sets the clock (two programs at once?); timeouts of the server do not depend on it";
        report.add(Entry::warning("clock", words, cure));
        return;
    }
    report.add(Entry::ok("clock", format!("it shows {shown} (UTC), and runs steadily")));
}
