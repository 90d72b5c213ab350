//! The attacks, a file for each kind.

mod bombs;
mod crowds;
mod files;
mod floods;
mod memory;
mod recorded;
mod rtc;
mod slow;
mod tls;
mod web;

use std::time::Duration;

use anabranch_core::amf::{Value, amf0};
use anabranch_tests::conformance::Target;
use anabranch_tests::peer::opening::{body, call, connect, hello, player};
use anabranch_tests::peer::{End, ScriptedClient, Wire};
use anabranch_tests::program::Runtime;

use crate::arena::Arena;

/// All there are, in the order of the table.
pub(crate) static CASES: &[&[Case]] = &[
    slow::CASES,
    bombs::CASES,
    floods::CASES,
    crowds::CASES,
    recorded::CASES,
    memory::CASES,
    files::CASES,
    tls::CASES,
    web::CASES,
    rtc::CASES,
];

/// Longer than any timeout of the server's.
const LONG: Duration = Duration::from_secs(60);

/// An attack that must not affect other clients.
pub(crate) struct Case {
    /// A sentence with `_` between its words.
    pub(crate) name: &'static str,
    /// What bounds it, and where that bound is.
    pub(crate) limit: &'static str,
    /// For the server's command line.
    pub(crate) arguments: &'static [&'static str],
    /// A configuration file, which the smol server alone has; `FOLDER` stands for an empty folder, and `KEYS` for that
    /// of the [certificates](crate::certificates).
    pub(crate) settings: Option<&'static str>,
    /// What it is about that the other program has not.
    pub(crate) lacking: &'static str,
    /// True if the server speaks HTTP, too. Then one more neighbour plays by that.
    pub(crate) has_web: bool,
    /// True if it speaks WebRTC, too.
    pub(crate) has_rtc: bool,
    /// Files that the server may open.
    pub(crate) files: Option<u32>,
    pub(crate) attack: fn(&Arena),
    /// The reasons for which its connections may end.
    pub(crate) ends: &'static [&'static str],
    /// Seconds after which those end that are closed for a timeout.
    pub(crate) lasts: Option<f64>,
    waits: bool,
    attackers: Attackers,
    memory: Memory,
}

/// How many attackers there are.
enum Attackers {
    /// As one of `cargo test`, and in the full table.
    Of(usize, usize),
    /// The same, with fewer in the full table on threads, of which a connection takes two.
    FewerThreads(usize, usize, usize),
}

/// By how much the memory of the server may grow.
enum Memory {
    /// MiB at all times, for whatever the attack makes the server's own structures and the allocator's pools keep, and
    /// KiB for each attacker.
    Of(usize, usize),
    /// The same, with other KiB for each on threads: two stacks and a read buffer.
    MoreOnThreads(usize, usize, usize),
}

impl Case {
    const fn new(
        name: &'static str,
        limit: &'static str,
        attackers: Attackers,
        memory: Memory,
        ends: &'static [&'static str],
        attack: fn(&Arena),
    ) -> Self {
        Case {
            name,
            limit,
            arguments: &[],
            settings: None,
            lacking: "",
            has_web: false,
            has_rtc: false,
            files: None,
            attack,
            ends,
            lasts: None,
            waits: false,
            attackers,
            memory,
        }
    }

    /// A case whose connections end at a timeout of so many seconds.
    const fn lasting(self, seconds: f64) -> Self {
        Case { lasts: Some(seconds), ..self.waiting() }
    }

    /// A case of the smol server with this configuration, for what the other program has not.
    const fn with_settings(self, settings: &'static str, lacking: &'static str) -> Self {
        Case { settings: Some(settings), lacking, ..self }
    }

    /// A case of a server that may open so many files.
    const fn with_files(self, files: u32) -> Self {
        Case { files: Some(files), ..self }
    }

    /// A case of a server that speaks HTTP, too.
    const fn with_web(self) -> Self {
        Case { has_web: true, ..self }
    }

    /// A case of a server that speaks WebRTC, and so HTTP.
    const fn with_rtc(self) -> Self {
        Case { has_web: true, has_rtc: true, ..self }
    }

    /// A case that does little but wait.
    const fn waiting(self) -> Self {
        Case { waits: true, ..self }
    }

    /// Whether it does little but wait.
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }

    pub(crate) fn attackers(&self, runtime: Runtime, all: bool) -> usize {
        match self.attackers {
            Attackers::Of(few, many) | Attackers::FewerThreads(few, many, _) if !all || runtime == Runtime::Smol => {
                if all {
                    many
                } else {
                    few
                }
            }
            Attackers::Of(_, many) | Attackers::FewerThreads(_, _, many) => many,
        }
    }

    /// Bytes by which the server's memory may grow.
    pub(crate) fn bound(&self, runtime: Runtime, attackers: usize) -> usize {
        let (base, each) = match self.memory {
            Memory::Of(base, each) => (base, each),
            Memory::MoreOnThreads(base, each, _) if runtime == Runtime::Smol => (base, each),
            Memory::MoreOnThreads(base, _, each) => (base, each),
        };
        (base << 20) + (each << 10) * attackers
    }
}

/// Values of AMF 0 in a row.
fn encoded(values: &[Value]) -> Vec<u8> {
    let mut body = Vec::new();
    for value in values {
        amf0::encode(value, &mut body);
    }
    body
}

/// A key frame of `length` bytes.
fn key_frame(length: usize) -> Vec<u8> {
    let mut body = vec![0x17, 1, 0, 0, 0];
    body.resize(length.max(6), 0x5a);
    body
}

/// Sends byte after byte, with so much time after each, until the server hangs up.
fn trickle(wire: &mut Wire, bytes: impl IntoIterator<Item = u8>, pause: Duration) {
    for byte in bytes {
        wire.write(&[byte]);
        if wire.receive_for(pause) != End::Open {
            return;
        }
    }
    panic!("all bytes were taken and the connection is still open");
}

/// Reads until the server closes.
fn assert_hangs_up(wire: &mut Wire) {
    assert_ne!(wire.receive_for(LONG), End::Open, "the server does not hang up");
}

/// A publisher with its own name.
fn publisher(target: &Target) -> ScriptedClient {
    ScriptedClient::publisher(target, &target.name)
}
