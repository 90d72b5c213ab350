use std::sync::Arc;

use super::ask::StreamFacts;
use super::grant::Request;
use super::slow_path::SlowPath;
use super::vhost::VirtualHost;
use crate::capture::Call;
use crate::policy::{Action, Refusal};
use crate::session::CloseReason;
use crate::url::{Params, StreamKey};

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
                let reason = CloseReason::Refused(refusal);
                self.note(self.session.now(), Call::Close(&reason));
                self.session.close(reason);
            }
        }
    }

    /// The connection's own vhost as it is now.
    fn may_stay(&self) -> Result<Arc<VirtualHost>, Refusal> {
        if self.client.is_none() {
            return Ok(self.server.default_vhost());
        }
        let vhost = self.server.vhost_named(&self.vhost.name)?;
        for publishing in &self.publishing {
            self.may_go_on(Action::Publish, publishing.key())?;
        }
        for playing in &self.playing {
            self.may_go_on(Action::Play, playing.key())?;
        }
        match self.pending.as_deref().map(|pending| pending.request()) {
            Some(Request::Publish { facts, vhost, .. }) => self.may_be_granted(Action::Publish, facts, vhost)?,
            Some(Request::Play { facts, vhost, .. }) => self.may_be_granted(Action::Play, facts, vhost)?,
            // Of what it wants there nothing was looked at yet.
            Some(Request::Enter { vhost, .. }) => _ = self.server.vhost_named(&vhost.name)?,
            Some(Request::Connect(_)) | None => {}
        }
        Ok(vhost)
    }

    /// What was not granted yet needs all that is needed now. Rules that are as they were have been looked at, at their time.
    fn may_be_granted(&self, action: Action, facts: &StreamFacts, before: &VirtualHost) -> Result<(), Refusal> {
        self.may_go_on(action, &facts.key)?;
        let vhost = self.server.vhost_named(facts.key.vhost())?;
        if vhost.config.token == before.config.token && vhost.config.refer == before.config.refer {
            return Ok(());
        }
        let params = Params::parse(&facts.params).unwrap_or_default();
        self.check(self.session.now(), action, &vhost, &facts.key, &params)
    }

    fn may_go_on(&self, action: Action, key: &StreamKey) -> Result<(), Refusal> {
        self.check_address(action, &*self.server.vhost_named(key.vhost())?)
    }
}
