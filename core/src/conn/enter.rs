use std::sync::Arc;
use std::time::Instant;

use super::grant::Request;
use super::rules;
use super::slow_path::SlowPath;
use super::vhost::{ConnectionPermit, VirtualHost};
use super::{Closed, Subject};
use crate::capture::Step;
use crate::session::{PlayRequest, PublishRequest, Rejection, Session, SessionConfig};

/// What a client wants of a stream, before any rule was looked at.
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

    pub(super) fn refusal(&self, words: String) -> Rejection {
        match self {
            Wanted::Publish(_) => Rejection::publish_denied(words),
            Wanted::Play(_) => Rejection::play_denied(words),
        }
    }

    pub(super) fn reject(self, session: &mut Session, rejection: &Rejection) {
        match self {
            Wanted::Publish(request) => session.reject(request, rejection),
            Wanted::Play(request) => session.reject(request, rejection),
        }
    }
}

/// A virtual host that a connection was let in to, beside the one of its `connect`, until its end.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) vhost: String,
    /// True if the outside was asked and has not refused: it is to hear of the end.
    pub(super) asked: bool,
    pub(super) _permit: ConnectionPermit,
}

/// A name with `?vhost=` leads to a stream of another virtual host than that of `connect`. Rules belong to the stream's:
/// before any of those for the stream, the connection passes what that host asks at `connect`, once, and counts as a
/// connection of both from then on. While it has streams there, the session keeps to that host's settings.
impl SlowPath {
    /// Whether it has passed what this host asks at `connect`.
    pub(super) fn is_in(&self, vhost: &VirtualHost) -> bool {
        self.vhost.name == vhost.name || self.entered.iter().any(|entered| entered.vhost == vhost.name)
    }

    /// The virtual hosts of which it counts as a connection.
    pub(super) fn vhosts(&self) -> impl Iterator<Item = &str> {
        let own = self.client.as_ref().and_then(|client| client.permit.as_ref()).map(|_| &*self.vhost.name);
        own.into_iter().chain(self.entered.iter().map(|entered| &*entered.vhost))
    }

    pub(super) fn enter(&mut self, now: Instant, vhost: Arc<VirtualHost>, wanted: Wanted) {
        let allowed = rules::may_enter(&self.server, &vhost).map_err(|refusal| wanted.refusal(refusal.to_string()));
        match self.ruled_besides(now, Step::MayEnter, allowed) {
            Ok(()) => self.grant_or_ask(now, Request::Enter { wanted, vhost }),
            Err(rejection) => wanted.reject(&mut self.session, &rejection),
        }
    }

    /// It leaves the hosts it had entered, the last first.
    pub(super) fn leave_hosts(&mut self, closed: &Closed) {
        while let Some(Entered { vhost, asked, _permit: permit }) = self.entered.pop() {
            drop(permit);
            self.tell(Some(&vhost), asked.then_some(Subject::Connect), Some(closed.clone()));
        }
    }

    /// A stream of this host is granted: the session goes by the settings of the hosts of all its streams, in each of them
    /// by the strictest. Nothing changes for streams of the hosts that it goes by already.
    pub(super) fn go_by(&mut self, vhost: &Arc<VirtualHost>) {
        let streams = self.publishing.iter().map(|publishing| publishing.vhost());
        let mut vhosts: Vec<&Arc<VirtualHost>> = vec![vhost];
        for other in streams.chain(self.playing.iter().map(|playing| playing.vhost())) {
            if vhosts.iter().all(|known| known.name != other.name) {
                vhosts.push(other);
            }
        }
        let mut names: Vec<&str> = vhosts.iter().map(|vhost| &*vhost.name).collect();
        names.sort_unstable();
        let before = if self.goes_by.is_empty() { &[self.vhost.name.clone()][..] } else { &self.goes_by };
        if before == names {
            return;
        }
        let config = match &vhosts[..] {
            [vhost] => vhost.session.clone(),
            all => {
                let strictest = |config: SessionConfig, vhost: &&Arc<VirtualHost>| config.strictest(&vhost.session);
                Arc::new(all[1..].iter().fold(SessionConfig::clone(&vhost.session), strictest))
            }
        };
        self.goes_by = names.into_iter().map(str::to_owned).collect();
        self.session.change_config(config);
    }
}
