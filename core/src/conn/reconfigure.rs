use std::sync::Arc;

use super::Conn;
use super::ask::StreamFacts;
use super::grant::Request;
use super::site::Site;
use crate::capture::Call;
use crate::policy::{Action, Refusal};
use crate::session::CloseReason;
use crate::url::{Params, StreamKey};

/// Other settings while the connection is open.
impl Conn {
    /// The server has other settings: closes the connection if its virtual host or that of one of its streams is gone,
    /// if its address may no longer do what it does, or if a request that waits for a verdict would be refused now. Else
    /// nothing happens to it. What it asks for next goes by the new settings; what it does already, by the old. A replay of
    /// its capture knows only those of the beginning.
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
            Some(Request::Publish { facts, site, .. }) => self.may_be_granted(Action::Publish, facts, site)?,
            Some(Request::Play { facts, site, .. }) => self.may_be_granted(Action::Play, facts, site)?,
            // Of what it wants there nothing was looked at yet.
            Some(Request::Enter { site, .. }) => _ = self.server.site_named(&site.name)?,
            Some(Request::Connect(_)) | None => {}
        }
        Ok(site)
    }

    /// What was not granted yet needs all that is needed now. Rules that are as they were have been looked at, at their time.
    fn may_be_granted(&self, action: Action, facts: &StreamFacts, before: &Site) -> Result<(), Refusal> {
        self.may_go_on(action, &facts.key)?;
        let site = self.server.site_named(facts.key.vhost())?;
        if site.config.token == before.config.token && site.config.refer == before.config.refer {
            return Ok(());
        }
        let params = Params::parse(&facts.params).unwrap_or_default();
        self.check(self.session.now(), action, &site, &facts.key, &params)
    }

    fn may_go_on(&self, action: Action, key: &StreamKey) -> Result<(), Refusal> {
        self.check_address(action, &*self.server.site_named(key.vhost())?)
    }
}
