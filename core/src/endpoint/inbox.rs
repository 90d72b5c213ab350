/// Bytes received and not parsed yet.
#[derive(Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    /// The bytes before this offset are parsed.
    start: usize,
}

crate::shown::debug_with_bytes!(Inbox { start; bytes });

impl Inbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// The bytes that wait.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Appends `rest`; false if the inbox would hold more than `limit` bytes.
    pub(crate) fn keep(&mut self, rest: &[u8], limit: usize) -> bool {
        if rest.is_empty() {
            return true;
        }
        if self.len() + rest.len() > limit {
            return false;
        }
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(rest);
        true
    }

    /// Takes all bytes out; parse from [`Taken::rest`] on, then [`put_back`](Self::put_back) what is left.
    pub(crate) fn take(&mut self) -> Taken {
        Taken { bytes: std::mem::take(&mut self.bytes), start: std::mem::take(&mut self.start) }
    }

    /// Keeps the last `left` bytes of what was taken. Parsed bytes are not moved: a read full of requests is copied
    /// once.
    pub(crate) fn put_back(&mut self, taken: Taken, left: usize) {
        if left > 0 {
            self.start = taken.bytes.len() - left;
            self.bytes = taken.bytes;
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Inbox::default();
    }
}

/// The content of an [`Inbox`].
pub(crate) struct Taken {
    bytes: Vec<u8>,
    start: usize,
}

crate::shown::debug_with_bytes!(Taken { start; bytes });

impl Taken {
    /// The bytes that are not parsed yet.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_the_input_comes_before_later_input() {
        let mut inbox = Inbox::default();
        assert!(inbox.keep(b"abcd", 4));
        assert!(!inbox.keep(b"e", 4), "over the limit");
        let taken = inbox.take();
        assert_eq!(taken.rest(), b"abcd");
        inbox.put_back(taken, 2);
        assert!(inbox.keep(b"ef", 4), "parsed bytes do not count");
        assert_eq!(inbox.take().rest(), b"cdef");
        assert!(inbox.is_empty());
    }
}
