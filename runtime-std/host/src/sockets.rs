use std::time::Duration;

use anabranch_core::pacing::Sockets;

/// What both servers tell the core about the system's sockets.
///
/// - Systems give a connection 64 KiB or more for what was not read yet, and stop the peer when that is full. Linux begins
///   with 128 KiB (tcp(7), `tcp_rmem`) and counts its own overhead in it, which is largest for small segments. Half of the
///   least is never near the point where the peer would be slowed down.
/// - A peer's system may hold back the end of what it has to send until it hears that what came before has arrived (Nagle's
///   algorithm), and a receiver says so late while its program does not read. So it is read twice before frames leave:
///   first early enough for the answer and the rest to cross a local network, then for that rest.
pub const SOCKETS: Sockets =
    Sockets { unread_bytes: 32 << 10, early_reads: &[Duration::from_millis(2), Duration::from_micros(500)] };
