use sd_notify::NotifyState;
use tracing::debug;

/// Tells the service manager that clients can connect.
pub(crate) fn ready() {
    notify_manager(&[NotifyState::Ready]);
}

/// Tells the service manager that the configuration is about to be read again. [`reloaded`] must follow.
pub(crate) fn reloading() {
    // Newer versions of systemd require the time, and wait for the next message.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify_manager(&[NotifyState::Reloading, now]),
        Err(error) => debug!(
            event = "service_manager",
            error = %error,
            "cannot tell the service manager about the reload: {error}"
        ),
    }
}

/// Tells the service manager that the reload is over, with the new configuration or the old one.
pub(crate) fn reloaded(what: &str) {
    notify_manager(&[NotifyState::Ready, NotifyState::Status(what)]);
}

/// Tells the service manager that the server is about to stop.
pub(crate) fn stopping() {
    notify_manager(&[NotifyState::Stopping]);
}

fn notify_manager(state: &[NotifyState<'_>]) {
    // Without a service manager this does nothing.
    if let Err(error) = sd_notify::notify(state) {
        debug!(event = "service_manager", error = %error, "cannot notify the service manager: {error}");
    }
}
