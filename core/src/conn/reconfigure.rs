use std::sync::Arc;

use super::grant::Request;
use super::rules::Waiting;
use super::slow_path::SlowPath;
use super::vhost::VirtualHost;
use crate::capture::Call;
use crate::policy::{Action, Refusal};
use crate::session::CloseReason;

/// Other settings while the connection is open.
impl SlowPath {
    /// See [`Conn::reconfigured`](super::Conn::reconfigured).
    pub(super) fn reconfigured(&mut self) {
        if self.session.is_closing() {
            return;
        }
        match self.may_stay() {
            Ok(vhost) => {
                self.vhost = vhost;
                self.regroup();
            }
            Err(refusal) => {
                self.report_ended(&refusal, false);
                let reason = CloseReason::Refused(refusal);
                self.note(self.session.now(), Call::Close(&reason));
                self.session.close(reason);
            }
        }
    }

    /// Requests that wait for a verdict are not granted yet: they get the new settings. Streams count in the application
    /// that their name belongs to now.
    fn regroup(&mut self) {
        let server = self.server.clone();
        match self.pending.as_deref_mut().map(|pending| pending.request_mut()) {
            Some(Request::Enter { vhost, .. }) => {
                if let Ok(now) = server.vhost_named(&vhost.name) {
                    *vhost = now;
                }
            }
            Some(Request::Publish { application, key, .. } | Request::Play { application, key, .. }) => {
                if let Ok(now) = server.vhost_named(key.vhost()) {
                    *application = now.application(key).clone();
                }
            }
            Some(Request::Connect(_)) | None => {}
        }
        for (_, key) in self.streams() {
            if let Ok(vhost) = server.vhost_named(key.vhost()) {
                vhost.application(key).hub.regroup(key);
            }
        }
    }

    /// The connection's own virtual host with its new settings.
    fn may_stay(&self) -> Result<Arc<VirtualHost>, Refusal> {
        if self.client.is_none() {
            return Ok(self.server.default_vhost());
        }
        let published = self.publishing.iter().map(|one| (Action::Publish, one.key(), one.is_by_pass()));
        let played = self.playing.iter().map(|one| (Action::Play, one.key(), one.is_by_pass()));
        let waiting = match self.pending.as_deref().map(|pending| pending.request()) {
            Some(Request::Publish { key, by_pass: Some(_), .. } | Request::Play { key, by_pass: Some(_), .. }) => {
                Some(Waiting::ByPass(key))
            }
            Some(Request::Publish { facts, application, .. }) => {
                Some(Waiting::Stream { action: Action::Publish, facts, before: application })
            }
            Some(Request::Play { facts, application, .. }) => {
                Some(Waiting::Stream { action: Action::Play, facts, before: application })
            }
            Some(Request::Enter { vhost, .. }) => Some(Waiting::Enter(vhost)),
            Some(Request::Connect(_)) | None => None,
        };
        let requester = self.requester(self.session.now());
        requester.may_stay(&self.vhost.name, published.chain(played), waiting)
    }
}
