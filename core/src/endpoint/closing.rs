use super::Phase;

/// How a connection ended. `R` is the reason, which differs by role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close<R> {
    /// Why.
    pub reason: R,
    /// At what stage.
    pub phase: Phase,
    /// Bytes received up to then, handshake included. For a protocol error: up to the end of the offending header or
    /// message, whatever the peer sent after it.
    pub offset: u64,
    /// The text about it that was sent to the peer, for a person to read. Empty if none was sent, and always for
    /// clients.
    pub told: String,
}

/// A connection whose end is settled.
#[derive(Debug)]
pub(crate) struct Closing<R> {
    close: Close<R>,
    /// The peer got a message: wait until it closes the connection.
    lingers: bool,
    /// Nothing more is written. That includes bytes that a writer has now and puts back later.
    discards: bool,
    /// Bytes received since then.
    ignored: usize,
}

impl<R> Closing<R> {
    pub(crate) fn new(reason: R, phase: Phase, offset: u64, told: Option<String>) -> Self {
        let lingers = told.is_some();
        let close = Close { reason, phase, offset, told: told.unwrap_or_default() };
        Closing { close, lingers, discards: false, ignored: 0 }
    }

    pub(crate) fn close(&self) -> &Close<R> {
        &self.close
    }

    pub(super) fn lingers(&self) -> bool {
        self.lingers
    }

    pub(super) fn discards(&self) -> bool {
        self.discards
    }

    pub(super) fn discard(&mut self) {
        self.lingers = false;
        self.discards = true;
    }

    /// Adds `count` received bytes and returns their total.
    pub(super) fn ignore(&mut self, count: usize) -> usize {
        self.ignored = self.ignored.saturating_add(count);
        self.ignored
    }
}
