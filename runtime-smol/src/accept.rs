use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anabranch_host::AcceptErrors;
use async_io::{Async, Timer};

use crate::connection::Connection;
use crate::server::Shared;

/// Accepts connections for ever. No error ends it: a connection that was gone before it was accepted is nothing, and
/// when there are no more file descriptors there will be some again.
pub(crate) async fn run(shared: Arc<Shared>, listener: Async<TcpListener>) {
    let mut errors = AcceptErrors::default();
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                if shared.stopping.load(Ordering::Acquire) {
                    return;
                }
                Connection::start(&shared, socket, peer);
            }
            Err(error) => {
                if let Some(pause) = errors.pause(&error) {
                    Timer::after(pause).await;
                }
            }
        }
    }
}
