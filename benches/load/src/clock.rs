//! The clock in the frames: one for all processes of a machine where the system has such a clock.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::time::ClockId;

/// How often the time is read on both clocks.
const TRIES: u32 = 16;

/// One clock, as a process sees it.
#[derive(Debug, Clone, Copy)]
struct Clock {
    id: u32,
    zero: Instant,
}

/// Tells clocks apart: times of two of them have nothing to do with each other.
pub(crate) fn id() -> u32 {
    clock().id
}

/// Nanoseconds on the clock at this time.
pub(crate) fn nanoseconds(time: Instant) -> u64 {
    u64::try_from(time.saturating_duration_since(clock().zero).as_nanos()).unwrap_or(u64::MAX)
}

fn clock() -> Clock {
    static CLOCK: OnceLock<Clock> = OnceLock::new();
    *CLOCK.get_or_init(|| of_the_machine().unwrap_or_else(|| Clock { id: std::process::id(), zero: Instant::now() }))
}

/// Linux counts from its start, which has a name, and an `Instant` is a time on that clock.
fn of_the_machine() -> Option<Clock> {
    let start = procfs::sys::kernel::random::boot_id().ok()?;
    let id = u32::from_str_radix(start.get(..8)?, 16).ok()?;
    let now = || ClockId::CLOCK_MONOTONIC.now().map(Duration::from).ok();
    // The pair between which least time passed: a thread may be put aside at any moment.
    let pairs = (0..TRIES).filter_map(|_| {
        let (before, instant, after) = (now()?, Instant::now(), now()?);
        Some((after - before, instant.checked_sub(before)?))
    });
    let (_, zero) = pairs.min_by_key(|(passed, _)| *passed)?;
    Some(Clock { id, zero })
}
