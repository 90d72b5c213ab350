use std::sync::Arc;

use super::Conn;
use super::grant::Request;
use super::site::Site;
use crate::capture::Call;
use crate::policy::{Action, Refusal};
use crate::session::CloseReason;
use crate::url::StreamKey;

/// Other settings while the connection is open.
impl Conn {
    /// The server has other settings: closes the connection if its virtual host or that of one of its streams is gone,
    /// or if its address may no longer do what it does. Else nothing happens to it. What it asks for next goes by the new
    /// settings; what it does already, by the old. A replay of its capture knows only those of the beginning.
    pub fn reconfigured(&mut self) {
        if self.session.is_closing() {
            return;
        }
        match self.may_stay() {
            Ok(site) => {
                // Requests that wait for a verdict are not granted yet.
                if let Some(pending) = &mut self.pending
                    && let Request::Enter { site, .. } | Request::Publish { site, .. } | Request::Play { site, .. } =
                        pending.request_mut()
                    && let Ok(now) = self.server.site_named(&site.name)
                {
                    *site = now;
                }
                self.site = site;
            }
            Err(refusal) => {
                let reason = CloseReason::Refused(refusal);
                self.note(self.session.now(), Call::Close(&reason));
                self.session.close(reason);
            }
        }
    }

    /// The connection's own site as it is now.
    fn may_stay(&self) -> Result<Arc<Site>, Refusal> {
        if self.client.is_none() {
            return Ok(self.server.default_site());
        }
        let site = self.server.site_named(&self.site.name)?;
        for publishing in &self.publishing {
            self.may_go_on(Action::Publish, publishing.key())?;
        }
        for playing in &self.playing {
            self.may_go_on(Action::Play, playing.key())?;
        }
        match self.pending.as_deref().map(|pending| pending.request()) {
            Some(Request::Publish { facts, .. }) => self.may_go_on(Action::Publish, &facts.key)?,
            Some(Request::Play { facts, .. }) => self.may_go_on(Action::Play, &facts.key)?,
            // Of what it wants there nothing was looked at yet.
            Some(Request::Enter { site, .. }) => _ = self.server.site_named(&site.name)?,
            Some(Request::Connect(_)) | None => {}
        }
        Ok(site)
    }

    fn may_go_on(&self, action: Action, key: &StreamKey) -> Result<(), Refusal> {
        self.check_address(action, &*self.server.site_named(key.vhost())?)
    }
}
