/// The smallest acknowledgement window that a peer can set, in bytes; a smaller one is raised to it.
const MIN_WINDOW: u32 = 4096;

/// When acknowledgements are due (RTMP 1.0 §5.4.3). It counts parsed bytes, so that each is sent at the same place
/// however the input is cut.
#[derive(Debug)]
pub(crate) struct AckWindow {
    /// Bytes parsed, handshake included.
    parsed: u64,
    /// `parsed` when the last acknowledgement was sent.
    acknowledged: u64,
    /// The peer wants an acknowledgement after so many bytes.
    window: u32,
}

impl AckWindow {
    pub(crate) fn new(window: u32) -> Self {
        AckWindow { parsed: 0, acknowledged: 0, window: window.max(MIN_WINDOW) }
    }

    pub(crate) fn set(&mut self, window: u32) {
        self.window = window.max(MIN_WINDOW);
    }

    /// Bytes parsed so far.
    pub(crate) fn parsed(&self) -> u64 {
        self.parsed
    }

    /// The front of `input` up to the byte at which an acknowledgement is due.
    pub(crate) fn piece<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        let due = (self.acknowledged + u64::from(self.window)).saturating_sub(self.parsed);
        &input[..input.len().min(usize::try_from(due).unwrap_or(usize::MAX))]
    }

    pub(crate) fn advance(&mut self, count: usize) {
        self.parsed += count as u64;
    }

    /// The acknowledgement, if one is due: all bytes so far, modulo 2^32.
    pub(crate) fn take_due(&mut self) -> Option<u32> {
        if self.parsed - self.acknowledged < u64::from(self.window) {
            return None;
        }
        self.acknowledged = self.parsed;
        Some(self.parsed as u32)
    }
}
