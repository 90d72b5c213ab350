use std::io::{self, IoSlice, Write};
use std::net::TcpStream;

use anabranch_core::session::{CloseReason, Lent};
use bytes::Buf;
use rustix::net::{SendFlags, send};

/// Most slices for one write call.
const SLICES: usize = 64;

/// Writes until the queue is empty or the socket takes nothing for the time of its timeout.
pub(crate) fn write(mut socket: &TcpStream, outbound: &mut Lent) -> io::Result<()> {
    while outbound.has_remaining() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = outbound.chunks_vectored(&mut slices);
        let offered = slices[..count].iter().map(|slice| slice.len()).sum::<usize>();
        match socket.write_vectored(&slices[..count]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                outbound.advance(count);
                // A blocking write takes less than it is offered only at its timeout.
                if count < offered {
                    return Ok(());
                }
            }
            // The timeout, with nothing taken at all.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes what the socket takes at once, without waiting.
pub(crate) fn send_now(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    Ok(send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

/// The close reason for an error of the socket.
pub(crate) fn lost(error: &io::Error) -> CloseReason {
    CloseReason::PeerLost(error.to_string())
}
