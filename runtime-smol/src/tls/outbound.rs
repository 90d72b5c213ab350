//! The client's side of TLS, for connections that the server opens.

use std::io;
use std::net::TcpStream;
use std::sync::Weak;

use anabranch_core::relay::Failure;
use anabranch_host::tls_failure;
use async_io::Async;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::server::Shared;

/// Agrees on TLS with the peer, which has to prove this name.
pub(crate) async fn secure(
    shared: &Weak<Shared>,
    socket: &Async<TcpStream>,
    name: String,
) -> Result<Box<ClientConnection>, Failure> {
    let Some(shared) = shared.upgrade() else {
        return Err(Failure::Connect("the server has stopped".to_owned()));
    };
    // Reading the system's roots takes a while.
    let config = smol::unblock(move || shared.host.outbound_tls()).await?;
    let server = ServerName::try_from(name).map_err(|error| Failure::Tls(error.to_string()))?;
    let connection = ClientConnection::new(config, server).map_err(|error| tls_failure(&error))?;
    let mut connection = Box::new(connection);
    let lost = |error: io::Error| Failure::Connect(format!("during the TLS handshake: {error}"));
    loop {
        while connection.wants_write() {
            socket.write_with(|mut socket| connection.write_tls(&mut socket)).await.map_err(lost)?;
        }
        if !connection.is_handshaking() {
            return Ok(connection);
        }
        let count = socket.read_with(|mut socket| connection.read_tls(&mut socket)).await.map_err(lost)?;
        if count == 0 {
            return Err(lost(io::ErrorKind::UnexpectedEof.into()));
        }
        if let Err(error) = connection.process_new_packets() {
            // An alert tells the peer why. If it cannot be sent, the connection ends all the same.
            let mut raw: &TcpStream = socket.get_ref();
            let _ = connection.write_tls(&mut raw);
            return Err(tls_failure(&error));
        }
    }
}
