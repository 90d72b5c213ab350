//! The cases, a file for each group.

/// Makes a file's list of cases from the names of their functions, each with its setup if that is not the default.
macro_rules! cases {
    ($($run:ident $(with $setup:ident)?),+ $(,)?) => {
        pub(super) static CASES: &[$crate::conformance::Case] = &[$($crate::conformance::Case {
            name: stringify!($run),
            setup: cases!(@setup $($setup)?),
            run: $run,
        }),+];
    };
    (@setup) => { &$crate::conformance::PLAIN };
    (@setup $setup:ident) => { &$setup };
}

/// Makes setups, each named as its static.
macro_rules! setups {
    ($($(#[$doc:meta])* $name:ident = $apply:expr;)+) => {
        $($(#[$doc])* static $name: $crate::conformance::Setup =
            $crate::conformance::Setup { name: concat!(module_path!(), "::", stringify!($name)), apply: $apply };)+
    };
}

mod connect;
mod encoders;
mod handshakes;
mod hostile;
mod identification;
mod limits;
mod odd;
mod play;
mod publish;
mod refusals;
mod relay;
mod timeouts;

pub use hostile::in_every_phase;

use super::Group;

/// All there are, in the order of the table.
pub(super) static GROUPS: &[Group] = &[
    Group { name: "handshakes", cases: handshakes::CASES, healthy: false },
    Group { name: "connect", cases: connect::CASES, healthy: false },
    Group { name: "identification", cases: identification::CASES, healthy: false },
    Group { name: "odd", cases: odd::CASES, healthy: false },
    Group { name: "publish", cases: publish::CASES, healthy: false },
    Group { name: "relay", cases: relay::CASES, healthy: false },
    Group { name: "encoders", cases: encoders::CASES, healthy: false },
    Group { name: "play", cases: play::CASES, healthy: false },
    Group { name: "refusals", cases: refusals::CASES, healthy: false },
    Group { name: "limits", cases: limits::CASES, healthy: true },
    Group { name: "hostile", cases: hostile::CASES, healthy: true },
    Group { name: "timeouts", cases: timeouts::CASES, healthy: false },
];
