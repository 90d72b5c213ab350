use std::sync::Arc;
use std::time::Instant;

use super::application::Application;
use super::grant::Request;
use super::rules;
use super::slow_path::SlowPath;
use super::vhost::{ConnectionPermit, VirtualHost};
use super::{Closed, Subject};
use crate::capture::Step;
use crate::policy::Refusal;
use crate::session::{PlayRequest, PublishRequest, Rejection, Session, SessionConfig};

/// What a client wants of a stream, before any rule was checked.
#[derive(Debug)]
pub(super) enum Wanted {
    Publish(PublishRequest),
    Play(PlayRequest),
}

impl Wanted {
    pub(super) fn name(&self) -> &str {
        match self {
            Wanted::Publish(request) => request.name(),
            Wanted::Play(request) => &request.arguments().name,
        }
    }

    pub(super) fn refusal(&self, refusal: Refusal) -> Rejection {
        match self {
            Wanted::Publish(_) => rules::publish_denied(refusal),
            Wanted::Play(_) => rules::play_denied(refusal),
        }
    }

    pub(super) fn reject(self, session: &mut Session, rejection: &Rejection) {
        match self {
            Wanted::Publish(request) => session.reject(request, rejection),
            Wanted::Play(request) => session.reject(request, rejection),
        }
    }
}

/// Another virtual host that a connection has entered, until the connection ends.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) vhost: String,
    /// True if the back end was asked and has not refused: it gets a notice of the end.
    pub(super) asked: bool,
    pub(super) _permit: ConnectionPermit,
}

/// A name with `?vhost=` means a stream of another virtual host than that of `connect`. The rules of the stream's host
/// apply: before any rule for the stream, the connection must pass once what that host requires at `connect`, and
/// counts as a connection of both hosts from then on. While it has streams there, the settings of that host, or of its
/// application for the stream, apply to the session.
impl SlowPath {
    /// Whether it has passed what this host requires at `connect`.
    pub(super) fn is_in(&self, vhost: &VirtualHost) -> bool {
        self.vhost.name == vhost.name || self.entered.iter().any(|entered| entered.vhost == vhost.name)
    }

    /// The virtual hosts of which it counts as a connection.
    pub(super) fn vhosts(&self) -> impl Iterator<Item = &str> {
        let own = self.client.as_ref().and_then(|client| client.permit.as_ref()).map(|_| &*self.vhost.name);
        own.into_iter().chain(self.entered.iter().map(|entered| &*entered.vhost))
    }

    pub(super) fn enter(&mut self, now: Instant, vhost: Arc<VirtualHost>, wanted: Wanted) {
        let allowed = rules::may_enter(&self.server, &vhost).map_err(|refusal| wanted.refusal(refusal));
        match self.ruled_besides(now, Step::MayEnter, allowed) {
            Ok(()) => self.grant_or_ask(now, Request::Enter { wanted, vhost }),
            Err(rejection) => self.refuse_stream(wanted, &rejection),
        }
    }

    /// It leaves the hosts that it has entered, the last one first.
    pub(super) fn leave_hosts(&mut self, closed: &Closed) {
        while let Some(Entered { vhost, asked, _permit: permit }) = self.entered.pop() {
            drop(permit);
            self.notify(Some(&vhost), asked.then_some(Subject::Connect), Some(closed.clone()));
        }
    }

    /// A stream of this application is granted: of the settings of the applications of all its streams, the strictest
    /// apply to the session. Nothing changes for streams of applications whose settings apply already.
    pub(super) fn go_by(&mut self, application: &Arc<Application>) {
        let streams = self.publishing.iter().map(|publishing| publishing.application());
        let mut applications: Vec<&Arc<Application>> = vec![application];
        for other in streams.chain(self.playing.iter().map(|playing| playing.application())) {
            if applications.iter().all(|known| known.id != other.id) {
                applications.push(other);
            }
        }
        let mut ids: Vec<Arc<str>> = applications.iter().map(|application| application.id.clone()).collect();
        ids.sort_unstable();
        let before = if self.goes_by.is_empty() { &[self.vhost.own.id.clone()][..] } else { &self.goes_by };
        if before == ids {
            return;
        }
        let config = match &applications[..] {
            [application] => application.session.clone(),
            all => {
                let strictest = |config: SessionConfig, one: &&Arc<Application>| config.strictest(&one.session);
                Arc::new(all[1..].iter().fold(SessionConfig::clone(&application.session), strictest))
            }
        };
        self.goes_by = ids;
        self.session.change_config(config);
    }
}
