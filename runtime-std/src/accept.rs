use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;

use anabranch_core::conn::Accepts;
use anabranch_host::AcceptErrors;

use crate::connection::Connection;
use crate::server::Shared;

/// Accepts connections until the server stops. No error ends it.
pub(crate) fn run(shared: &Arc<Shared>, listener: &TcpListener, accepts: Accepts) {
    let mut errors = AcceptErrors::default();
    loop {
        let accepted = listener.accept();
        if shared.host.is_stopping() {
            return;
        }
        match accepted {
            Ok((socket, peer)) => match admitted(shared, socket) {
                Some(socket) => Connection::start(shared, socket, peer, accepts),
                None => shared.host.turn_away(),
            },
            Err(error) => {
                if let Some(pause) = errors.pause(&error) {
                    thread::sleep(pause);
                }
            }
        }
    }
}

/// The socket, if its connection is admitted. The system chose the socket's number when `accept` began to wait, which
/// may be long ago: the number of a duplicate says how many files are open now.
fn admitted(shared: &Shared, socket: TcpStream) -> Option<TcpStream> {
    if shared.host.admits(socket.as_raw_fd()) {
        return Some(socket);
    }
    let again = socket.try_clone().ok()?;
    shared.host.admits(again.as_raw_fd()).then_some(again)
}
