use std::time::Instant;

/// A moment to begin at. Core only ever compares and adds, so any will do.
pub(crate) fn any_instant() -> Instant {
    Instant::now()
}
