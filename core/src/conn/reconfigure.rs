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
                // Requests that wait for a verdict are not granted yet.
                if let Some(pending) = &mut self.pending
                    && let Request::Enter { vhost, .. } | Request::Publish { vhost, .. } | Request::Play { vhost, .. } =
                        pending.request_mut()
                    && let Ok(now) = self.server.vhost_named(&vhost.name)
                {
                    *vhost = now;
                }
                self.vhost = vhost;
            }
            Err(refusal) => {
                self.report_ended(&refusal, false);
                let reason = CloseReason::Refused(refusal);
                self.note(self.session.now(), Call::Close(&reason));
                self.session.close(reason);
            }
        }
    }

    /// The connection's own virtual host with its new settings.
    fn may_stay(&self) -> Result<Arc<VirtualHost>, Refusal> {
        if self.client.is_none() {
            return Ok(self.server.default_vhost());
        }
        let published = self.publishing.iter().map(|publishing| (Action::Publish, publishing.key()));
        let played = self.playing.iter().map(|playing| (Action::Play, playing.key()));
        let waiting = match self.pending.as_deref().map(|pending| pending.request()) {
            Some(Request::Publish { facts, vhost, .. }) => {
                Some(Waiting::Stream { action: Action::Publish, facts, before: vhost })
            }
            Some(Request::Play { facts, vhost, .. }) => {
                Some(Waiting::Stream { action: Action::Play, facts, before: vhost })
            }
            Some(Request::Enter { vhost, .. }) => Some(Waiting::Enter(vhost)),
            Some(Request::Connect(_)) | None => None,
        };
        let requester = self.requester(self.session.now());
        requester.may_stay(&self.vhost.name, published.chain(played), waiting)
    }
}
