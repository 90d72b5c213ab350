use std::net::TcpListener;

use listenfd::ListenFd;

/// The listening sockets that the service manager has opened for the server (systemd's socket activation).
///
/// # Errors
/// One of them is not a listening TCP socket.
pub(crate) fn inherited_listeners() -> Result<Vec<TcpListener>, String> {
    let mut inherited = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..inherited.len() {
        let listener = inherited.take_tcp_listener(index);
        let listener =
            listener.map_err(|error| format!("inherited socket {index} is not a listening TCP socket: {error}"))?;
        listeners.extend(listener);
    }
    Ok(listeners)
}
