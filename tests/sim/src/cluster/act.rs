use std::fmt;
use std::time::Duration;

use super::ClusterSim;
use crate::{ClientId, Encoder};

/// One thing that happens in a scene of several servers.
#[derive(Debug, Clone)]
pub struct Operation {
    /// When, from the beginning on.
    pub at: Duration,
    /// What.
    pub act: Act,
}

/// What happens. Clients are numbered in the order in which they come, servers in that of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each operation says what it does; `node` is the server, `client` the client")]
pub enum Act {
    /// A client comes that publishes, at this server or at one of others.
    Publish { node: usize, name: String, among: Vec<usize> },
    /// A client comes that plays.
    Play { node: usize, name: String, among: Vec<usize> },
    /// A client comes that plays, and goes where it is sent.
    PlayAsEdge { node: usize, name: String, among: Vec<usize> },
    /// An encoder makes nothing for this time; if it is dark, nothing comes from it or to it either.
    Freeze { client: usize, time: Duration, is_dark: bool },
    /// An operator has the publishers of a name disconnected.
    Kick { name: String },
    /// A client leaves for good.
    Leave { client: usize, politely: bool },
    /// The connection of a client breaks, and it connects again.
    Break { client: usize },
    /// The process of a server is killed.
    Kill { node: usize },
    /// The machine of a server disappears.
    Darken { node: usize },
    /// A server that does not run is started.
    Start { node: usize },
    /// A server gets no new clients and stops after this time.
    Drain { node: usize, time: Duration },
    /// Two servers do not reach each other any more.
    Cut { one: usize, other: usize },
    /// They reach each other again.
    Mend { one: usize, other: usize },
    /// So many of a million segments between two servers are lost, and come late.
    Loss { one: usize, other: usize, per_million: u32 },
    /// A server does not reach the directory any more, or again.
    CutDirectory { node: usize, is_cut: bool },
    /// The process of the directory is stopped, or goes on.
    StopDirectory { is_stopped: bool },
    /// The process of the directory is killed.
    KillDirectory,
    /// It is started again, with its data or without.
    StartDirectory { is_empty: bool },
    /// All data of the directory is removed.
    FlushDirectory,
    /// A standby of the directory takes over, which lacks what was confirmed in this last time.
    FailOver { lacks: Duration },
    /// Messages to and from the directory take so long at the most, and its notices are lost.
    SlowDirectory { delay: Duration, is_deaf: bool },
    /// The clock of a server's machine is so many seconds ahead.
    Skew { node: usize, seconds: i64 },
}

/// Few frames, so that thousands of scenes can be played.
pub fn encoder() -> Encoder {
    Encoder {
        video: Some(Duration::from_millis(200)),
        gop: 5,
        key: 100..=300,
        inter: 20..=60,
        audio: Some(Duration::from_millis(270)),
        sound: 10..=20,
        ..Encoder::default()
    }
}

impl Act {
    /// True if one more client comes.
    pub fn opens(&self) -> bool {
        matches!(self, Act::Publish { .. } | Act::Play { .. } | Act::PlayAsEdge { .. })
    }

    /// Runs the operation. `clients` are the clients so far, `None` for those left out: nothing happens to these.
    pub(super) fn perform(&self, net: &mut ClusterSim, clients: &mut Vec<Option<ClientId>>) {
        let known = |client: &usize| clients.get(*client).copied().flatten();
        match self {
            Act::Publish { node, name, among } => clients.push(Some(net.publish(*node, name, encoder(), among))),
            Act::Play { node, name, among } => clients.push(Some(net.play(*node, name, among))),
            Act::PlayAsEdge { node, name, among } => clients.push(Some(net.play_as_edge(*node, name, among))),
            Act::Freeze { client, time, is_dark } => {
                if let Some(id) = known(client) {
                    net.freeze(id, *time, *is_dark);
                }
            }
            Act::Kick { name } => net.kick(name),
            Act::Leave { client, politely } => {
                if let Some(id) = known(client) {
                    net.leave(id, *politely);
                }
            }
            Act::Break { client } => {
                if let Some(id) = known(client) {
                    net.break_connection(id);
                }
            }
            Act::Kill { node } => net.kill_node(*node),
            Act::Darken { node } => net.darken_node(*node),
            Act::Start { node } => net.start_node(*node),
            Act::Drain { node, time } => net.drain_node(*node, *time),
            Act::Cut { one, other } => net.cut(*one, *other, true),
            Act::Mend { one, other } => net.cut(*one, *other, false),
            Act::Loss { one, other, per_million } => net.set_loss(*one, *other, *per_million),
            Act::CutDirectory { node, is_cut } => net.cut_directory(*node, *is_cut),
            Act::StopDirectory { is_stopped } => net.stop_directory(*is_stopped),
            Act::KillDirectory => net.kill_directory(),
            Act::StartDirectory { is_empty } => net.start_directory(*is_empty),
            Act::FlushDirectory => net.flush_directory(),
            Act::FailOver { lacks } => net.fail_over(*lacks),
            Act::SlowDirectory { delay, is_deaf } => net.slow_directory(*delay, *is_deaf),
            Act::Skew { node, seconds } => net.set_skew(*node, *seconds),
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Publish { node, name, among } if among.is_empty() => write!(f, "publishes {name} at server {node}"),
            Act::Publish { node, name, among } => write!(f, "publishes {name} at server {node}, or one of {among:?}"),
            Act::Play { node, name, among } if among.is_empty() => write!(f, "plays {name} at server {node}"),
            Act::Play { node, name, among } => write!(f, "plays {name} at server {node}, or one of {among:?}"),
            Act::PlayAsEdge { node, name, .. } => write!(f, "plays {name} at server {node}, and goes where it is sent"),
            Act::Freeze { client, time, is_dark } => {
                let network = if *is_dark { ", and its network" } else { "" };
                write!(f, "the encoder of client {client} is frozen for {time:?}{network}")
            }
            Act::Kick { name } => write!(f, "the publishers of {name} are disconnected"),
            Act::Leave { client, politely: true } => write!(f, "client {client} leaves"),
            Act::Leave { client, politely: false } => write!(f, "client {client} leaves without a word"),
            Act::Break { client } => write!(f, "the connection of client {client} breaks"),
            Act::Kill { node } => write!(f, "server {node} is killed"),
            Act::Darken { node } => write!(f, "the machine of server {node} is gone"),
            Act::Start { node } => write!(f, "server {node} is started"),
            Act::Drain { node, time } => write!(f, "server {node} drains, and stops after {time:?}"),
            Act::Cut { one, other } => write!(f, "servers {one} and {other} do not reach each other"),
            Act::Mend { one, other } => write!(f, "servers {one} and {other} reach each other again"),
            Act::Loss { one, other, per_million } => {
                write!(f, "{} % of the segments between servers {one} and {other} are lost", *per_million / 10_000)
            }
            Act::CutDirectory { node, is_cut: true } => write!(f, "server {node} does not reach the directory"),
            Act::CutDirectory { node, is_cut: false } => write!(f, "server {node} reaches the directory"),
            Act::StopDirectory { is_stopped: true } => write!(f, "the directory's process is stopped"),
            Act::StopDirectory { is_stopped: false } => write!(f, "the directory's process goes on"),
            Act::KillDirectory => write!(f, "the directory is killed"),
            Act::StartDirectory { is_empty: true } => write!(f, "the directory is started without data"),
            Act::StartDirectory { is_empty: false } => write!(f, "the directory is started with its data"),
            Act::FlushDirectory => write!(f, "the directory's data is removed"),
            Act::FailOver { lacks } => write!(f, "a standby of the directory takes over that lacks the last {lacks:?}"),
            Act::SlowDirectory { delay, is_deaf } => {
                let notices = if *is_deaf { "are lost" } else { "come" };
                write!(f, "the directory's messages take up to {delay:?}, its notices {notices}")
            }
            Act::Skew { node, seconds } => write!(f, "the clock of server {node} is {seconds} s ahead"),
        }
    }
}
