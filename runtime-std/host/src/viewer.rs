use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use anabranch_core::conn::{Action, Admission, AnyConn, AnyOutput};
use anabranch_core::hls;
use anabranch_core::http::Answer;
#[cfg(feature = "webrtc")]
use anabranch_core::hub::Hub;
use anabranch_core::hub::StreamId;
#[cfg(feature = "webrtc")]
use anabranch_core::message::Message;
use anabranch_core::session::CloseReason;
use anabranch_core::url::StreamKey;

use crate::AnyLines;
use crate::handle::Control;
use crate::host::{Link, give_up};

/// What has the sessions of viewers, and learns what becomes of their connections. None of these calls waits.
pub(crate) trait Keeper: Send + Sync {
    /// The connection is to be [looked at](Viewer::look) then.
    fn look_at(&self, session: u64, due: Instant);
    /// It is to be [served](Viewer::serve) when this stream has something new while it is not there.
    fn awaits(&self, session: u64, stream: StreamId);
    /// It is not any more.
    fn forgets(&self, session: u64, stream: StreamId);
    /// The client may play or publish this stream.
    fn granted(&self, session: u64, granted: Granted);
    /// It may not, or may no longer.
    fn refused(&self, session: u64, answer: &Answer);
    /// The connection has ended.
    fn left(&self, session: u64);
}

/// What a client may play or publish.
#[derive(Debug)]
pub(crate) struct Granted {
    /// The stream.
    pub(crate) key: StreamKey,
    /// How it is put into segments, if the client plays.
    pub(crate) segments: Option<hls::Settings>,
    /// True if a back end was asked.
    pub(crate) asked: bool,
}

/// Which of the keepers of a server has a session.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kept {
    /// What serves streams in segments.
    BySegments,
    /// What serves WebRTC.
    #[cfg(feature = "webrtc")]
    ByRtc,
}

/// A client without a socket: a connection of core. It made its request on another connection, and its media
/// goes another way.
pub(crate) struct Viewer {
    /// The number of its session.
    session: u64,
    kept: Kept,
    lines: AnyLines,
    state: Mutex<State>,
    control: Weak<dyn Control>,
    me: Weak<Viewer>,
}

#[derive(Debug)]
struct State {
    conn: AnyConn,
    /// True while a thread serves it: that thread does what others want done.
    busy: bool,
    is_over: bool,
    /// True if a back end was asked about it.
    asked: bool,
    /// When it is to be looked at.
    due: Option<Instant>,
}

impl fmt::Debug for Viewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Viewer").field("session", &self.session).field("conn", &self.lines.id()).finish_non_exhaustive()
    }
}

impl Viewer {
    /// A viewer, whom the rules have not been asked about yet.
    pub(crate) fn open(control: &Arc<dyn Control>, session: u64, kept: Kept, core: (AnyConn, AnyLines)) -> Arc<Self> {
        let (conn, lines) = core;
        let id = conn.id();
        let state = Mutex::new(State { conn, busy: false, is_over: false, asked: false, due: None });
        let viewer = Arc::new_cyclic(|me: &Weak<Viewer>| Viewer {
            session,
            kept,
            lines,
            state,
            control: Arc::downgrade(control),
            me: me.clone(),
        });
        control.enter_viewer(id, &viewer);
        viewer
    }

    /// Begins, or goes on if something is due by `now`.
    pub(crate) fn look(&self, now: Instant) {
        let is_due = self.state().due.take_if(|due| *due <= now).is_some();
        if is_due {
            self.change(&mut |any| any.handle_timeout(now));
        }
    }

    /// The client makes no more requests, or its connection has ended for another reason.
    pub(crate) fn leave(&self, reason: CloseReason) {
        let mut reason = Some(reason);
        self.change(&mut |any| {
            if let Some(reason) = reason.take() {
                any.handle_disconnect(Instant::now(), reason);
            }
        });
    }

    /// The client says that it leaves.
    #[cfg(feature = "webrtc")]
    pub(crate) fn say_goodbye(&self) {
        self.change_client(&mut |conn| conn.leave(Instant::now()));
    }

    /// The client has sent this, which it publishes.
    #[cfg(feature = "webrtc")]
    pub(crate) fn publish(&self, message: Message) {
        let mut message = Some(message);
        self.change_client(&mut |conn| {
            if let Some(message) = message.take() {
                conn.publish_media(Instant::now(), message);
            }
        });
    }

    /// The client was sent so much.
    #[cfg(feature = "webrtc")]
    pub(crate) fn note_sent(&self, frames: u64, bytes: u64) {
        if let Some(conn) = self.state().conn.as_client() {
            conn.note_sent(Instant::now(), frames as u32, bytes as usize);
        }
    }

    /// True if what it plays has a publisher.
    #[cfg(feature = "webrtc")]
    pub(crate) fn is_live(&self, hub: &Hub) -> bool {
        let mut key = None;
        self.inspect_client(&mut |conn| key = conn.streams().next().map(|(_, key)| key.clone()));
        key.is_some_and(|key| hub.holder(&key).is_some())
    }

    /// The number of its connection.
    #[cfg(feature = "webrtc")]
    pub(crate) fn id(&self) -> u64 {
        self.lines.id()
    }

    fn keeper<'a>(&self, control: &'a dyn Control) -> &'a dyn Keeper {
        match self.kept {
            Kept::BySegments => control.segments(),
            #[cfg(feature = "webrtc")]
            Kept::ByRtc => control.rtc(),
        }
    }

    /// Does what its core wants done. A panic ends it alone.
    pub(crate) fn serve(&self) {
        if catch_unwind(AssertUnwindSafe(|| self.serve_it())).is_err() {
            self.abandon();
        }
    }

    fn abandon(&self) {
        let streams = {
            let mut state = self.state();
            (state.is_over, state.busy) = (true, false);
            give_up(&mut state.conn)
        };
        let Some(control) = self.control.upgrade() else { return };
        control.abandon(self.lines.id());
        streams.into_iter().for_each(|stream| control.wake(stream));
        control.gave_up(self.lines.id());
        self.keeper(&*control).left(self.session);
    }

    fn serve_it(&self) {
        let (Some(me), Some(control)) = (self.me.upgrade(), self.control.upgrade()) else {
            return;
        };
        {
            let mut state = self.state();
            if state.busy || state.is_over {
                return;
            }
            state.busy = true;
        }
        let keeper = self.keeper(&*control);
        loop {
            let mut state = self.state();
            let now = Instant::now();
            let output = state.conn.poll(now);
            let admission = state.conn.as_client().and_then(|conn| conn.take_admission());
            if let Some(Admission::Refused(_)) = &admission {
                // There is no socket to wait for.
                state.conn.handle_disconnect(now, CloseReason::PeerClosed);
            }
            let asked = state.asked;
            let granted = match (&admission, state.conn.as_client()) {
                (Some(Admission::Granted), Some(conn)) => {
                    let segments = conn.viewing().map(|(_, settings)| settings);
                    conn.streams().next().map(|(_, key)| Granted { key: key.clone(), segments, asked })
                }
                _ => None,
            };
            match &output {
                AnyOutput::Action(Action::Ask(_)) => state.asked = true,
                AnyOutput::Wait(wait) if admission.is_none() => {
                    let due = wait.deadline();
                    let is_new = std::mem::replace(&mut state.due, due) != due;
                    state.busy = false;
                    drop(state);
                    if let Some(due) = due.filter(|_| is_new) {
                        keeper.look_at(self.session, due);
                    }
                    return;
                }
                AnyOutput::Closed(_) => (state.is_over, state.busy) = (true, false),
                AnyOutput::Action(_) | AnyOutput::Wait(_) => {}
            }
            drop(state);
            match output {
                AnyOutput::Action(Action::Finish) | AnyOutput::Wait(_) => {}
                AnyOutput::Action(Action::Subscribe(stream)) => keeper.awaits(self.session, stream),
                AnyOutput::Action(Action::Unsubscribe(stream)) => keeper.forgets(self.session, stream),
                AnyOutput::Action(Action::Wake(stream)) => control.wake(stream),
                AnyOutput::Action(action) => control.act(action, &self.lines, &me),
                AnyOutput::Closed(ended) => {
                    control.leave(self.lines.id(), &self.lines, &ended);
                    return keeper.left(self.session);
                }
            }
            match (admission, granted) {
                (Some(Admission::Granted), Some(granted)) => keeper.granted(self.session, granted),
                (Some(Admission::Refused(answer)), _) => keeper.refused(self.session, &answer),
                _ => {}
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link for Viewer {
    fn change(&self, change: &mut dyn FnMut(&mut AnyConn)) {
        {
            let mut state = self.state();
            if state.is_over {
                return;
            }
            change(&mut state.conn);
        }
        self.serve();
    }

    fn local_address(&self) -> Option<SocketAddr> {
        None
    }

    fn inspect(&self, look: &mut dyn FnMut(&AnyConn)) {
        look(&self.state().conn);
    }
}
