use std::collections::VecDeque;

/// Events to be polled, with the bytes of the messages that they came from.
#[derive(Debug)]
pub(super) struct EventQueue<E> {
    events: VecDeque<(usize, E)>,
    /// All those bytes.
    bytes: usize,
    /// Bytes of the message being handled that no event accounts for yet.
    message: usize,
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        EventQueue { events: VecDeque::new(), bytes: 0, message: 0 }
    }
}

impl<E> EventQueue<E> {
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The events that follow come from one message of `bytes` bytes. An aggregate becomes several events: the first
    /// one accounts for all of its bytes.
    pub(super) fn begin_message(&mut self, bytes: usize) {
        self.message = bytes;
    }

    pub(super) fn end_message(&mut self) {
        self.message = 0;
    }

    pub(super) fn push(&mut self, event: E) {
        let bytes = std::mem::take(&mut self.message);
        self.bytes += bytes;
        self.events.push_back((bytes, event));
    }

    pub(super) fn pop(&mut self) -> Option<E> {
        let (bytes, event) = self.events.pop_front()?;
        self.bytes -= bytes;
        Some(event)
    }

    /// Frees memory for more than `room` events.
    pub(super) fn shrink(&mut self, room: usize) {
        if self.events.capacity() > room {
            self.events = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_accounts_for_the_message() {
        let mut queue = EventQueue::default();
        queue.begin_message(100);
        queue.push('a');
        queue.push('b');
        queue.end_message();
        queue.push('c');
        queue.begin_message(7);
        queue.end_message();
        queue.push('d');
        assert_eq!((queue.len(), queue.bytes()), (4, 100));
        assert_eq!((queue.pop(), queue.bytes()), (Some('a'), 0));
        assert_eq!([queue.pop(), queue.pop(), queue.pop(), queue.pop()], [Some('b'), Some('c'), Some('d'), None]);
    }
}
