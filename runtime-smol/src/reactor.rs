//! The event queue of a thread.
//!
//! Written by hand on mio: async-io has one reactor for all threads, with which an event costs about fifteen system
//! calls and a switch between threads; here it costs one call. ARCHITECTURE.md has the figures.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsRawFd;
use std::task::Waker;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

/// Events taken from the system at once.
const EVENTS: usize = 1024;
/// The token of the waker for other threads; sockets have the numbers of their slots.
const THREAD_WAKER: Token = Token(usize::MAX);

#[cfg(any(target_os = "linux", target_os = "android"))]
const INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// The sockets and timers of one thread.
///
/// A socket is registered once, for both directions. Its readiness is kept until a call would block. So input costs one
/// call to wait for it and one to read it.
#[derive(Debug)]
pub(crate) struct Reactor {
    poll: Poll,
    events: Events,
    slots: Vec<Slot>,
    free: Vec<usize>,
    timers: BTreeSet<(Instant, usize)>,
    woken: Vec<Waker>,
}

/// One socket, and the task that waits for it.
#[derive(Debug, Default)]
struct Slot {
    readable: bool,
    /// True once a read may return less than there is: the peer has ended its side, or sent urgent data, which RTMP
    /// does not use and at which a read stops.
    falls_short: bool,
    writable: bool,
    waker: Option<Waker>,
    /// When the task is to be woken.
    deadline: Option<Instant>,
    /// Its entry in `timers`, at the deadline or earlier: a task that moves its deadline back again and again does not
    /// change `timers`.
    timer: Option<Instant>,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Reactor {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            slots: Vec::new(),
            free: Vec::new(),
            timers: BTreeSet::new(),
            woken: Vec::new(),
        })
    }

    /// Ends a [`wait`](Self::wait) from another thread.
    pub(crate) fn thread_waker(&self) -> io::Result<mio::Waker> {
        mio::Waker::new(self.poll.registry(), THREAD_WAKER)
    }

    /// Watches a socket and returns the number of its slot. Closing the socket ends the watch;
    /// [`release`](Self::release) frees the slot.
    pub(crate) fn register(&mut self, socket: &mut impl Source) -> io::Result<usize> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        let registered = self.poll.registry().register(socket, Token(slot), INTEREST);
        if registered.is_err() {
            self.free.push(slot);
        }
        registered.map(|()| slot)
    }

    /// Gives a slot back. An event that is still under way for it reaches the slot's next owner, which then makes one
    /// useless call.
    pub(crate) fn release(&mut self, slot: usize) {
        if let Some(timer) = self.slots[slot].timer {
            self.timers.remove(&(timer, slot));
        }
        self.slots[slot] = Slot::default();
        self.free.push(slot);
    }

    /// Sets the task to be woken at the next event, and at `deadline` at the latest.
    pub(crate) fn park(&mut self, slot: usize, waker: &Waker, deadline: Option<Instant>) {
        let this = &mut self.slots[slot];
        match &mut this.waker {
            Some(parked) => parked.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        this.deadline = deadline;
        let Some(deadline) = deadline else {
            return;
        };
        if this.timer.is_none_or(|timer| deadline < timer) {
            if let Some(timer) = this.timer.replace(deadline) {
                self.timers.remove(&(timer, slot));
            }
            self.timers.insert((deadline, slot));
        }
    }

    /// True if there may be something to read.
    pub(crate) fn is_readable(&self, slot: usize) -> bool {
        self.slots[slot].readable
    }

    /// Reading found nothing.
    pub(crate) fn would_block(&mut self, slot: usize) {
        self.slots[slot].readable = false;
    }

    /// A read returned less than it asked for: that was all, and more input brings another event (epoll(7)). But if the
    /// peer's end had already arrived, its event was reported with the input.
    pub(crate) fn all_read(&mut self, slot: usize) {
        let slot = &mut self.slots[slot];
        slot.readable = slot.falls_short;
    }

    /// A read left something, or the next one finds the end, and the socket may have no further event for it.
    pub(crate) fn more_to_read(&mut self, slot: usize) {
        self.slots[slot].readable = true;
    }

    /// Ignores input until [`watch_input`](Self::watch_input) is called, so that not each message wakes the thread.
    /// False if the system cannot do that.
    pub(crate) fn ignore_input(&mut self, slot: usize, socket: &TcpStream) -> bool {
        let ignored = self.set_interest(slot, socket, Interest::WRITABLE);
        self.slots[slot].readable &= !ignored;
        ignored
    }

    /// Reports input again, also input that has arrived already. False if the system refuses.
    pub(crate) fn watch_input(&mut self, slot: usize, socket: &TcpStream) -> bool {
        self.set_interest(slot, socket, INTEREST)
    }

    fn set_interest(&self, slot: usize, socket: &TcpStream, interest: Interest) -> bool {
        // By its number: mio's own method needs the socket exclusively, but the connection's writers share it.
        let number = socket.as_raw_fd();
        self.poll.registry().reregister(&mut SourceFd(&number), Token(slot), interest).is_ok()
    }

    /// True once after the socket had room again.
    pub(crate) fn take_writable(&mut self, slot: usize) -> bool {
        std::mem::take(&mut self.slots[slot].writable)
    }

    /// The first timer. Entries before it whose deadline was moved back are replaced, so that the thread does not wake
    /// for them.
    fn next_timer(&mut self) -> Option<Instant> {
        while let Some((timer, slot)) = self.timers.first().copied() {
            let this = &mut self.slots[slot];
            if this.deadline == Some(timer) {
                return Some(timer);
            }
            self.timers.pop_first();
            this.timer = this.deadline;
            self.timers.extend(this.deadline.map(|deadline| (deadline, slot)));
        }
        None
    }

    /// Waits for an event or a timer, or does not wait if there is `more` to do at once. Returns the tasks to be woken.
    pub(crate) fn wait(&mut self, more: bool) -> io::Result<impl Iterator<Item = Waker> + use<>> {
        let next = self.next_timer().map(|timer| timer.saturating_duration_since(Instant::now()));
        let mut timeout = if more { Some(Duration::ZERO) } else { next };
        // An interrupted call returns no events: after a stop and continue of the process, only timers would be seen.
        while let Err(error) = self.poll.poll(&mut self.events, timeout) {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
            timeout = Some(Duration::ZERO);
        }
        for event in &self.events {
            if let Some(slot) = self.slots.get_mut(event.token().0) {
                slot.readable |= event.is_readable() || event.is_error();
                slot.falls_short |= event.is_read_closed() || event.is_error() || event.is_priority();
                slot.writable |= event.is_writable() || event.is_error();
                self.woken.extend(slot.waker.take());
            }
        }
        if !self.timers.is_empty() {
            let now = Instant::now();
            while self.next_timer().is_some_and(|timer| timer <= now) {
                let Some((_, slot)) = self.timers.pop_first() else {
                    break;
                };
                let slot = &mut self.slots[slot];
                (slot.timer, slot.deadline) = (None, None);
                self.woken.extend(slot.waker.take());
            }
        }
        Ok(std::mem::take(&mut self.woken).into_iter())
    }
}
