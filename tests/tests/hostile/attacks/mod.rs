//! The attacks, a file for each kind.

mod bombs;
mod crowds;
mod files;
mod floods;
mod memory;
mod recorded;
mod slow;
mod tls;

use std::time::Duration;

use anabranch_core::amf::{Object, Value, amf0};
use anabranch_core::chunk::write_message;
use anabranch_core::command::Command;
use anabranch_core::message::MessageType;
use anabranch_tests::clients::Runtime;
use anabranch_tests::conformance::{Client, End, Target, Wire};

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
];

/// Longer than any timeout of the server's.
const LONG: Duration = Duration::from_secs(60);

/// Something that must harm nobody.
pub(crate) struct Case {
    /// A sentence with `_` between its words.
    pub(crate) name: &'static str,
    /// What bounds it, and where that bound is.
    pub(crate) limit: &'static str,
    /// For the server's command line.
    pub(crate) arguments: &'static [&'static str],
    /// A configuration file, which the smol server alone has; `FOLDER` stands for an empty folder, and `KEYS` for that of
    /// the [certificates](crate::certificates).
    pub(crate) settings: Option<&'static str>,
    /// What it is about that the other program has not.
    pub(crate) lacking: &'static str,
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
    /// MiB at all times, for whatever the attack makes the server's own structures and the allocator's pools keep, and KiB
    /// for each attacker.
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

/// The body of a command.
fn command(name: &str, transaction: f64, arguments: &[Value]) -> Vec<u8> {
    let mut command = Command::new(name, transaction, Value::Null);
    command.arguments = arguments.to_vec();
    command.encode()
}

/// The bytes of a command with a Null object, cut for a chunk size of 128.
fn call(name: &str, transaction: f64, stream_id: u32, arguments: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let body = command(name, transaction, arguments);
    write_message(&mut bytes, 128, 3, 0, MessageType::COMMAND_AMF0, stream_id, &body);
    bytes
}

/// C0, C1 and something in place of C2, which servers do not look at.
fn hello() -> Vec<u8> {
    [&[3][..], &[0; 2 * 1536]].concat()
}

/// `connect`, by this agent.
fn connect(agent: &str) -> Vec<u8> {
    let object = Object::new().with("app", "live").with("tcUrl", "rtmp://localhost/live").with("flashVer", agent);
    let mut bytes = Vec::new();
    let body = Command::new("connect", 1.0, Value::Object(object)).encode();
    write_message(&mut bytes, 128, 3, 0, MessageType::COMMAND_AMF0, 0, &body);
    bytes
}

/// All that a player says, in one piece.
fn player(name: &str) -> Vec<u8> {
    let create = call("createStream", 2.0, 0, &[]);
    [hello(), connect("crowd"), create, call("play", 3.0, 1, &[name.into()])].concat()
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
        if wire.listen(pause) != End::Open {
            return;
        }
    }
    panic!("all bytes were taken and the connection is still open");
}

/// Reads until the server hangs up.
fn assert_hangs_up(wire: &mut Wire) {
    assert_ne!(wire.listen(LONG), End::Open, "the server does not hang up");
}

/// A publisher of a name of its own.
fn publisher(target: &Target) -> Client {
    Client::publisher(target, &target.name)
}
