use std::collections::{BTreeSet, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use anabranch_core::http::{self, Answer, Request};
use anabranch_core::hub::StreamId;
use anabranch_core::url::StreamKey;
use anabranch_rtc::desk::SessionId;
use anabranch_rtc::signal::Target;
use anabranch_rtc::sound::Done;
use mio::Waker;

use crate::web::Reply;

/// Requests that may wait for the thread. It takes thousands a second.
const MOST_REQUESTS: usize = 4096;

/// A request for WebRTC.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) target: Target,
    pub(super) request: Request,
    pub(super) client: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
    pub(super) settings: Arc<http::Settings>,
    pub(super) reply: Reply,
}

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Input {
    Request(Box<Asked>),
    Granted(SessionId, StreamKey, Arc<[Box<str>]>),
    Refused(SessionId, Answer),
    Left(SessionId),
    Sound(Done),
}

/// What other threads have for the thread of WebRTC. Nothing here waits for that thread.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    inputs: Mutex<Inputs>,
    /// Streams that have something new: however many frames that is, each is here once.
    news: Mutex<BTreeSet<StreamId>>,
    followed: RwLock<HashSet<StreamId>>,
    waker: OnceLock<Waker>,
    /// True once the thread was woken and has not looked yet.
    is_woken: AtomicBool,
}

#[derive(Debug, Default)]
struct Inputs {
    all: VecDeque<Input>,
    requests: usize,
    /// True once the thread is gone, or about to go.
    is_closed: bool,
}

impl Inbox {
    /// From now on this wakes the thread.
    pub(super) fn wake_by(&self, waker: Waker) {
        let _ = self.waker.set(waker);
        self.wake();
    }

    /// Has the thread look.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.get()
            && !self.is_woken.swap(true, Ordering::AcqRel)
        {
            // If that fails, the thread looks at its next deadline.
            let _ = waker.wake();
        }
    }

    /// The thread looks: what comes from now on wakes it again.
    pub(super) fn looks(&self) {
        self.is_woken.store(false, Ordering::Release);
    }

    /// Gives the request back if there are too many, or the server stops.
    pub(super) fn request(&self, asked: Box<Asked>) -> Result<(), Box<Asked>> {
        {
            let mut inputs = self.inputs();
            if inputs.is_closed || inputs.requests >= MOST_REQUESTS {
                return Err(asked);
            }
            inputs.requests += 1;
            inputs.all.push_back(Input::Request(asked));
        }
        self.wake();
        Ok(())
    }

    pub(super) fn put(&self, input: Input) {
        {
            let mut inputs = self.inputs();
            if !inputs.is_closed {
                inputs.all.push_back(input);
            }
        }
        self.wake();
    }

    /// Takes the next input.
    pub(super) fn take(&self) -> Option<Input> {
        let mut inputs = self.inputs();
        let input = inputs.all.pop_front();
        inputs.requests -= usize::from(matches!(input, Some(Input::Request(_))));
        input
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inputs().all.is_empty()
    }

    /// Takes no more. Requests that wait get no answer from the thread: they are given back. What else waits is still done,
    /// such as goodbyes.
    pub(super) fn close(&self) -> Vec<Reply> {
        let mut inputs = self.inputs();
        inputs.is_closed = true;
        inputs.requests = 0;
        let mut replies = Vec::new();
        for input in std::mem::take(&mut inputs.all) {
            match input {
                Input::Request(asked) => replies.push(asked.reply),
                other => inputs.all.push_back(other),
            }
        }
        replies
    }

    /// A stream has something new.
    pub(super) fn news(&self, stream: StreamId) {
        if self.followed.read().unwrap_or_else(PoisonError::into_inner).contains(&stream) {
            self.note_news(stream);
        }
    }

    fn note_news(&self, stream: StreamId) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).insert(stream);
        self.wake();
    }

    pub(super) fn take_news(&self) -> BTreeSet<StreamId> {
        std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// News of this stream are for the thread, and it looks at it at once.
    pub(super) fn follow(&self, stream: StreamId) {
        self.followed.write().unwrap_or_else(PoisonError::into_inner).insert(stream);
        self.note_news(stream);
    }

    pub(super) fn unfollow(&self, stream: StreamId) {
        self.followed.write().unwrap_or_else(PoisonError::into_inner).remove(&stream);
    }

    /// No stream is followed any more.
    pub(super) fn unfollow_all(&self) {
        self.followed.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn inputs(&self) -> MutexGuard<'_, Inputs> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
