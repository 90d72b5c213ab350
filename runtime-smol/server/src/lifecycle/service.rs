use sd_notify::NotifyState;
use tracing::debug;

/// Clients can connect.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is about to be read anew. What follows it is [`reloaded`], whatever comes of it.
pub(crate) fn reloading() {
    // Newer systemd takes it with the time only, and waits for what follows.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => debug!("the service manager is not told of the reload: {error}"),
    }
}

/// The server goes on, with the new configuration or the old one.
pub(crate) fn reloaded(what: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(what)]);
}

/// The server is about to end.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    // Without a service manager it does nothing.
    if let Err(error) = sd_notify::notify(state) {
        debug!("the service manager is not told: {error}");
    }
}
