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
    /// What the peer was told about it, for a person to read; empty if nothing, and always for clients.
    pub told: String,
}

/// A connection whose end is settled.
#[derive(Debug)]
pub(crate) struct Closing<R> {
    close: Close<R>,
    /// The peer is told something: wait for it to hang up.
    lingers: bool,
    /// Nothing more is written, nor what was being written when that was decided and is put back later.
    discards: bool,
    /// Bytes that came since.
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

    /// So many bytes more came; how many there are of them now.
    pub(super) fn ignore(&mut self, count: usize) -> usize {
        self.ignored = self.ignored.saturating_add(count);
        self.ignored
    }
}
