//! Systems without `/proc`: no figure is known.

use super::{Process, System, Ticks};

pub(super) fn process() -> Option<Process> {
    None
}

pub(super) fn system() -> System {
    System::default()
}

pub(super) fn ticks() -> Ticks {
    Ticks::default()
}
