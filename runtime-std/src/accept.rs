use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use anabranch_host::AcceptErrors;

use crate::connection::Connection;
use crate::server::Shared;

/// Accepts connections until the server stops. No error ends it.
pub(crate) fn run(shared: &Arc<Shared>, listener: &TcpListener) {
    let mut errors = AcceptErrors::default();
    loop {
        let accepted = listener.accept();
        if shared.host.is_stopping() {
            return;
        }
        match accepted {
            Ok((socket, peer)) => Connection::start(shared, socket, peer),
            Err(error) => {
                if let Some(pause) = errors.pause(&error) {
                    thread::sleep(pause);
                }
            }
        }
    }
}
