use std::net::TcpListener;

use listenfd::ListenFd;

/// Sockets that the service manager has opened and handed over (systemd's socket activation).
///
/// # Errors
/// One of them is no listening TCP socket.
pub(crate) fn inherited_listeners() -> Result<Vec<TcpListener>, String> {
    let mut inherited = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..inherited.len() {
        let listener = inherited.take_tcp_listener(index);
        let listener = listener.map_err(|error| format!("inherited socket {index} cannot be listened on: {error}"))?;
        listeners.extend(listener);
    }
    Ok(listeners)
}
