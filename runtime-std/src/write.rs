use std::io::{self, IoSlice, Write};
use std::net::TcpStream;

use anabranch_core::session::{CloseReason, Lent};
use bytes::Buf;
use rustix::net::{SendFlags, send};

/// Pieces handed to one write call.
const SLICES: usize = 64;

/// Writes until the queue is empty or the socket takes no more for the time of its timeout.
pub(crate) fn write(mut socket: &TcpStream, outbound: &mut Lent) -> io::Result<()> {
    while outbound.has_remaining() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = outbound.chunks_vectored(&mut slices);
        let offered = slices[..count].iter().map(|slice| slice.len()).sum::<usize>();
        match socket.write_vectored(&slices[..count]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                outbound.advance(count);
                // A blocking write falls short only when its time is over.
                if count < offered {
                    return Ok(());
                }
            }
            // Its time is over and nothing was taken at all.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes what the socket takes at once, whatever its timeout.
pub(crate) fn send_now(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    Ok(send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

/// What a broken connection means.
pub(crate) fn lost(error: &io::Error) -> CloseReason {
    CloseReason::PeerLost(error.to_string())
}
