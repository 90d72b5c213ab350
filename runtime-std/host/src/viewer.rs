use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use anabranch_core::conn::{Action, Admission, AnyConn, AnyOutput};
use anabranch_core::packager::View;
use anabranch_core::session::CloseReason;

use crate::AnyLines;
use crate::handle::Control;
use crate::host::Link;

/// A viewer of segments: a connection of core without a socket. Its requests come on other connections.
pub(crate) struct Viewer {
    /// The number of its session.
    session: u64,
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
    pub(crate) fn open(control: &Arc<dyn Control>, view: &View) -> Arc<Self> {
        let (conn, lines) = control.open_viewer(view);
        let id = conn.id();
        let state = Mutex::new(State { conn, busy: false, is_over: false, asked: false, due: None });
        let viewer = Arc::new_cyclic(|me: &Weak<Viewer>| Viewer {
            session: view.session,
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

    /// The client makes no more requests.
    pub(crate) fn leave(&self) {
        self.change(&mut |any| any.handle_disconnect(Instant::now(), CloseReason::PeerClosed));
    }

    /// Does what its core wants done.
    pub(crate) fn serve(&self) {
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
        loop {
            let mut state = self.state();
            let now = Instant::now();
            let output = state.conn.poll(now);
            let admission = state.conn.as_client().and_then(|conn| conn.take_admission());
            if let Some(Admission::Refused(_)) = &admission {
                // There is no socket to wait for.
                state.conn.handle_disconnect(now, CloseReason::PeerClosed);
            }
            let granted = match (&admission, state.conn.as_client()) {
                (Some(Admission::Granted), Some(conn)) => conn.viewing().map(|(key, settings)| (key.clone(), settings)),
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
                        control.segments().look_at(self.session, due);
                    }
                    return;
                }
                AnyOutput::Closed(_) => (state.is_over, state.busy) = (true, false),
                AnyOutput::Action(_) | AnyOutput::Wait(_) => {}
            }
            let asked = state.asked;
            drop(state);
            match output {
                AnyOutput::Action(Action::Finish) | AnyOutput::Wait(_) => {}
                AnyOutput::Action(Action::Subscribe(stream)) => control.segments().awaits(self.session, stream),
                AnyOutput::Action(Action::Unsubscribe(stream)) => control.segments().forgets(self.session, stream),
                AnyOutput::Action(Action::Wake(stream)) => control.wake(stream),
                AnyOutput::Action(action) => control.act(action, &self.lines, &me),
                AnyOutput::Closed(ended) => {
                    control.leave(self.lines.id(), &self.lines, &ended);
                    return control.segments().left(self.session);
                }
            }
            match (admission, granted) {
                (Some(Admission::Granted), Some((key, settings))) => {
                    control.segments().granted(self.session, &key, &settings, asked);
                }
                (Some(Admission::Refused(answer)), _) => control.segments().refused(self.session, &answer),
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
        change(&mut self.state().conn);
        self.serve();
    }

    fn local_address(&self) -> Option<SocketAddr> {
        None
    }

    fn inspect(&self, look: &mut dyn FnMut(&AnyConn)) {
        look(&self.state().conn);
    }
}
