use std::sync::Arc;
use std::time::Instant;

use super::ask::StreamFacts;
use super::enter::Wanted;
use super::grant::{Request, not_admitted};
use super::player::Playing;
use super::publisher::{Publishing, Stopped};
use super::slow_path::{Client, SlowPath};
use super::vhost::VirtualHost;
use super::{Remark, VhostConfig};
use crate::command::ConnectInfo;
use crate::hub::Conflict;
use crate::message::Message;
use crate::policy::{Action, Refusal};
use crate::session::{CloseReason, ConnectRequest, Event, Rejection};
use crate::url::{self, StreamKey, Target};

/// The virtual host, the name and the URL of a stream.
type Found = (Arc<VirtualHost>, StreamKey, Target);

/// What a request that no rule forbids will need.
struct May {
    vhost: Arc<VirtualHost>,
    credentials: Box<str>,
    facts: StreamFacts,
}

impl SlowPath {
    /// Session events become hub calls.
    pub(super) fn react(&mut self, now: Instant, event: Event) {
        match event {
            // Said before the session was closed and not looked at yet: nothing is granted any more.
            Event::Connect(_) | Event::Publish(_) | Event::Play(_) if self.session.is_closing() => {}
            Event::Connect(request) => self.connect(now, request),
            Event::Publish(request) => self.want(now, Wanted::Publish(request)),
            Event::Play(request) => self.want(now, Wanted::Play(request)),
            Event::Media(message) => self.media(now, message),
            Event::Measured { command, bytes } => self.measured(now, command.as_ref(), bytes),
            Event::ClearMetadata { stream_id } => {
                if let Some(publishing) = self.publishing(stream_id) {
                    publishing.clear_metadata();
                }
            }
            Event::Unpublish { stream_id } => self.stop_publishing(now, stream_id),
            Event::Stop { stream_id } => self.stop_playing(stream_id),
            Event::Pause { stream_id, paused } => {
                if let Some(playing) = self.playing(stream_id) {
                    playing.pause(paused);
                }
            }
            Event::Receive { stream_id, track, on } => {
                if let Some(playing) = self.playing(stream_id) {
                    playing.receive(track, on);
                }
            }
        }
    }

    fn connect(&mut self, now: Instant, request: ConnectRequest) {
        let granted = self.may_connect(request.info());
        match self.ruled(now, granted) {
            Ok((client, vhost)) => {
                self.client = Some(Box::new(client));
                self.vhost = vhost;
            }
            Err(rejection) => return self.session.reject(request, &rejection),
        }
        if self.vhost.config.bandwidth_check.is_some() {
            self.begin_check(now, request);
        } else {
            self.grant_or_ask(now, Request::Connect(request));
        }
    }

    /// The client wants a stream: of a virtual host that it has to be let in to first, or is in already.
    pub(super) fn want(&mut self, now: Instant, wanted: Wanted) {
        let target = self.target(wanted.name());
        if let Ok((vhost, ..)) = &target
            && !self.is_in(vhost)
        {
            let vhost = vhost.clone();
            return self.enter(now, vhost, wanted);
        }
        match wanted {
            Wanted::Publish(request) => {
                let target = target.map_err(Rejection::bad_publish_name);
                let granted = target.and_then(|target| self.may_publish(now, target));
                match self.ruled(now, granted) {
                    Ok(May { vhost, credentials, facts }) => {
                        self.grant_or_ask(now, Request::Publish { request, vhost, credentials, facts });
                    }
                    Err(rejection) => self.session.reject(request, &rejection),
                }
            }
            Wanted::Play(request) => {
                let target = target.map_err(Rejection::bad_play_name);
                let granted = target.and_then(|target| self.may_play(now, target));
                match self.ruled(now, granted) {
                    Ok(May { vhost, facts, .. }) => self.grant_or_ask(now, Request::Play { request, vhost, facts }),
                    Err(rejection) => self.session.reject(request, &rejection),
                }
            }
        }
    }

    /// Like the two below, takes nothing: who is refused anyway is not asked about, and all else is seen at the grant.
    fn may_connect(&self, info: &ConnectInfo) -> Result<(Client, Arc<VirtualHost>), Rejection> {
        let urls = url::Connect::parse(info.tc_url.as_deref(), info.app.as_deref())
            .map_err(|error| Rejection::invalid_app(error.to_string()))?;
        let client = Client::new(urls, info);
        let refused = |refusal: Refusal| Rejection::connect_rejected(refusal.to_string());
        let vhost = self.server.vhost(client.urls.vhost()).map_err(|refusal| match client.urls.tc_url_error() {
            Some(error) => Rejection::connect_rejected(format!("{refusal}; {error}")),
            None => refused(refusal),
        })?;
        vhost.check_connections().map_err(refused)?;
        Ok((client, vhost))
    }

    fn may_publish(&self, now: Instant, (vhost, key, target): Found) -> Result<May, Rejection> {
        let refused = |refusal: Refusal| Rejection::publish_denied(refusal.to_string());
        self.check(now, Action::Publish, &vhost, &key, target.params()).map_err(refused)?;
        let VhostConfig { conflict, limits, .. } = &vhost.config;
        let credentials = match conflict {
            Conflict::Reject => "",
            Conflict::TakeOver => target.params().raw("token").unwrap_or_default(),
        };
        let admitted = vhost.hub.may_publish(&key, credentials, *conflict, limits);
        admitted.map_err(|error| not_admitted(&error, &key))?;
        let (credentials, params) = (credentials.into(), target.params().to_query());
        Ok(May { vhost, credentials, facts: StreamFacts { key, params } })
    }

    fn may_play(&self, now: Instant, (vhost, key, target): Found) -> Result<May, Rejection> {
        let refused = |refusal: Refusal| Rejection::play_denied(refusal.to_string());
        self.check(now, Action::Play, &vhost, &key, target.params()).map_err(refused)?;
        vhost.hub.may_play(&key, &vhost.config.limits).map_err(refused)?;
        Ok(May { vhost, credentials: Box::default(), facts: StreamFacts { key, params: target.params().to_query() } })
    }

    fn media(&mut self, now: Instant, message: Message) {
        let stream_id = message.stream_id;
        let Some(publishing) = self.publishing(stream_id) else {
            return;
        };
        let pushed = publishing.push(now, message);
        match self.pushed(now, stream_id, pushed) {
            Ok(()) => {
                self.stats.received_frames(now, 1);
                self.remark_keyless(stream_id);
            }
            Err(Stopped::Superseded) => self.session.take_over(stream_id),
            Err(Stopped::Refused(refusal)) => {
                self.session.stop_publisher(stream_id, &Rejection::publish_denied(refusal.to_string()));
                self.session.close_with_words(CloseReason::Refused(refusal));
            }
        }
    }

    fn remark_keyless(&mut self, stream_id: u32) {
        let Some(publishing) = self.publishing(stream_id) else {
            return;
        };
        if publishing.takes_keyless() {
            let remark = Remark::Keyless(publishing.key().clone());
            self.actions.push_back(super::Action::Remark(remark));
        }
    }

    /// The stream that a name means on this connection, and its virtual host: the one of `connect`, unless the name
    /// asks for another.
    fn target(&self, name: &str) -> Result<Found, String> {
        let client = self.client.as_deref().ok_or("nothing is connected")?;
        let target = client.urls.target(name).map_err(|error| error.to_string())?;
        let vhost = self.server.vhost(target.vhost()).map_err(|refusal| refusal.to_string())?;
        let key = target.key_in(&vhost.name).map_err(|error| error.to_string())?;
        Ok((vhost, key, target))
    }

    fn publishing(&mut self, stream_id: u32) -> Option<&mut Publishing> {
        self.publishing.iter_mut().find(|publishing| publishing.stream_id() == stream_id)
    }

    fn playing(&mut self, stream_id: u32) -> Option<&mut Playing> {
        self.playing.iter_mut().find(|playing| playing.stream_id() == stream_id)
    }
}
