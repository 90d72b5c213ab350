//! The event queue of a thread.
//!
//! Written by hand on mio: async-io has one reactor for all threads, where an event costs about fifteen system calls and a
//! hand-over between threads; here it costs one call. ARCHITECTURE.md has the figures.

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
/// What the thread is woken with from outside; sockets have the numbers of their slots.
const THREAD_WAKER: Token = Token(usize::MAX);

#[cfg(any(target_os = "linux", target_os = "android"))]
const INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// The sockets and timers of one thread.
///
/// A socket is registered once, for both directions, and its readiness noted until a call finds that there is no more.
/// So what comes costs one call to learn of it and one to read it.
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
    /// True once a read may fall short of what there is: the peer has ended its side, or sent urgent data, which
    /// nobody here expects and at which a read stops.
    falls_short: bool,
    writable: bool,
    waker: Option<Waker>,
    /// When the task is to be woken.
    deadline: Option<Instant>,
    /// Its entry among the timers, at that time or earlier: a task that puts off its deadline again and again costs no
    /// change there.
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

    /// Watches a socket; the number of its slot. Closing the socket ends it, but for the slot.
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

    /// Gives a slot back. An event that is still under way to it tells the next owner of something that is not so, which
    /// costs a call in vain.
    pub(crate) fn release(&mut self, slot: usize) {
        if let Some(timer) = self.slots[slot].timer {
            self.timers.remove(&(timer, slot));
        }
        self.slots[slot] = Slot::default();
        self.free.push(slot);
    }

    /// The task to be woken at the next event, and at `deadline` at the latest.
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
    pub(crate) fn drained(&mut self, slot: usize) {
        self.slots[slot].readable = false;
    }

    /// Reading found less than it asked for: that was all, and more is an event of its own (epoll(7)). But the peer's end
    /// may have been there already, and its event with it.
    pub(crate) fn took_some(&mut self, slot: usize) {
        let slot = &mut self.slots[slot];
        slot.readable = slot.falls_short;
    }

    /// Reading left something, or will find the end, and there may be no event of that.
    pub(crate) fn left_some(&mut self, slot: usize) {
        self.slots[slot].readable = true;
    }

    /// Ignores what comes from the peer until [`watch_input`](Self::watch_input): each message would wake the thread. False
    /// if the system cannot do that.
    pub(crate) fn ignore_input(&mut self, slot: usize, socket: &TcpStream) -> bool {
        let ignored = self.set_interest(slot, socket, Interest::WRITABLE);
        self.slots[slot].readable &= !ignored;
        ignored
    }

    /// Tells again of what comes, and of what has come. False if the system refuses.
    pub(crate) fn watch_input(&mut self, slot: usize, socket: &TcpStream) -> bool {
        self.set_interest(slot, socket, INTEREST)
    }

    fn set_interest(&self, slot: usize, socket: &TcpStream, interest: Interest) -> bool {
        // By its number: mio's own way would take the socket for itself, which its connection's writers share.
        let number = socket.as_raw_fd();
        self.poll.registry().reregister(&mut SourceFd(&number), Token(slot), interest).is_ok()
    }

    /// True once after the socket had room again.
    pub(crate) fn take_writable(&mut self, slot: usize) -> bool {
        std::mem::take(&mut self.slots[slot].writable)
    }

    /// The first timer. Entries before it whose deadline was put off are set anew: the thread is not to wake for them.
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

    /// Waits until something happens, unless there is `more` to do at once. Returns the tasks to be woken.
    pub(crate) fn wait(&mut self, more: bool) -> io::Result<impl Iterator<Item = Waker> + use<>> {
        let next = self.next_timer().map(|timer| timer.saturating_duration_since(Instant::now()));
        let mut timeout = if more { Some(Duration::ZERO) } else { next };
        // One that is interrupted tells of no events: a process that was stopped and goes on would see its timers only.
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
