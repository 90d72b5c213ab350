use std::sync::Arc;
use std::time::Instant;

use super::ask::StreamFacts;
use super::grant::Request;
use super::player::Playing;
use super::publisher::{Publishing, Stopped};
use super::site::Site;
use super::{Client, Conn};
use crate::hub::Conflict;
use crate::message::Message;
use crate::policy::{Action, Counted};
use crate::session::{CloseReason, ConnectRequest, Event, PlayRequest, PublishRequest, Rejection};
use crate::url::{self, StreamKey, Target};

impl Conn {
    /// Session events become hub calls.
    pub(super) fn react(&mut self, now: Instant, event: Event) {
        match event {
            // Said before the session was closed and not looked at yet: nothing is granted any more.
            Event::Connect(_) | Event::Publish(_) | Event::Play(_) if self.session.is_closing() => {}
            Event::Connect(request) => self.connect(now, request),
            Event::Publish(request) => self.publish(now, request),
            Event::Play(request) => self.play(now, request),
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
        let info = request.info();
        let urls = match url::Connect::parse(info.tc_url.as_deref(), info.app.as_deref()) {
            Ok(urls) => urls,
            Err(error) => return self.session.reject(request, &Rejection::invalid_app(error.to_string())),
        };
        let mut client = Client::new(urls, info);
        let site = self.server.site(client.urls.vhost());
        let counted = site.and_then(|site| Ok((site.count(Counted::Connections)?, site)));
        match counted {
            Ok((counter, site)) => {
                client._counter = Some(counter);
                self.site = site;
            }
            Err(refusal) => return self.session.reject(request, &Rejection::connect_rejected(refusal.to_string())),
        }
        self.client = Some(Box::new(client));
        if self.site.config.bandwidth_check.is_some() {
            self.begin_check(now, request);
        } else {
            self.grant_or_ask(now, Request::Connect(request));
        }
    }

    fn publish(&mut self, now: Instant, request: PublishRequest) {
        let (site, key, target) = match self.target(request.name()) {
            Ok(found) => found,
            Err(words) => return self.session.reject(request, &Rejection::bad_publish_name(words)),
        };
        if let Err(refusal) = self.check(now, Action::Publish, &site, &target) {
            return self.session.reject(request, &Rejection::publish_denied(refusal.to_string()));
        }
        let conflict = site.config.conflict;
        let credentials = match conflict {
            Conflict::Reject => "",
            Conflict::TakeOver => target.params().raw("token").unwrap_or_default(),
        };
        // The name first, then the question: who is refused because the name is taken is not asked about.
        let Ok(claim) = site.hub.claim(&key, credentials, conflict) else {
            return self.session.reject(request, &Rejection::stream_in_use(key.stream()));
        };
        if let Err(refusal) = site.check_streams(&key) {
            return self.session.reject(request, &Rejection::publish_denied(refusal.to_string()));
        }
        let counter = if claim.takes_over() { Ok(None) } else { site.count(Counted::Publishers).map(Some) };
        let counter = match counter {
            Ok(counter) => counter,
            Err(refusal) => return self.session.reject(request, &Rejection::publish_denied(refusal.to_string())),
        };
        let facts = StreamFacts { key, params: target.params().to_query() };
        self.grant_or_ask(now, Request::Publish { request, claim, site, counter, facts });
    }

    fn play(&mut self, now: Instant, request: PlayRequest) {
        let (site, key, target) = match self.target(&request.arguments().name) {
            Ok(found) => found,
            Err(words) => return self.session.reject(request, &Rejection::bad_play_name(words)),
        };
        let counter = self.check(now, Action::Play, &site, &target).and_then(|()| {
            let counter = site.count(Counted::Players)?;
            site.config.limits.check(Counted::StreamPlayers, site.hub.player_count(&key))?;
            // Who waits for a publisher makes a stream, too.
            site.check_streams(&key)?;
            Ok(counter)
        });
        let counter = match counter {
            Ok(counter) => counter,
            Err(refusal) => return self.session.reject(request, &Rejection::play_denied(refusal.to_string())),
        };
        let facts = StreamFacts { key: key.clone(), params: target.params().to_query() };
        self.grant_or_ask(now, Request::Play { request, key, site, counter, facts });
    }

    fn media(&mut self, now: Instant, message: Message) {
        let stream_id = message.stream_id;
        let Some(publishing) = self.publishing(stream_id) else {
            return;
        };
        match publishing.push(now, message) {
            Ok(()) => self.stats.received_frames(now, 1),
            Err(Stopped::Superseded) => self.session.take_over(stream_id),
            Err(Stopped::Refused(refusal)) => {
                self.session.stop_publisher(stream_id, &Rejection::publish_denied(refusal.to_string()));
                self.session.close_with_words(CloseReason::Refused(refusal));
            }
        }
    }

    /// The stream that a name means on this connection, and its virtual host: the one of `connect`, unless the name
    /// asks for another.
    fn target(&self, name: &str) -> Result<(Arc<Site>, StreamKey, Target), String> {
        let client = self.client.as_deref().ok_or("nothing is connected")?;
        let target = client.urls.target(name).map_err(|error| error.to_string())?;
        let site = self.server.site(target.vhost()).map_err(|refusal| refusal.to_string())?;
        let key = target.key_in(&site.name).map_err(|error| error.to_string())?;
        Ok((site, key, target))
    }

    fn publishing(&mut self, stream_id: u32) -> Option<&mut Publishing> {
        self.publishing.iter_mut().find(|publishing| publishing.stream_id() == stream_id)
    }

    fn playing(&mut self, stream_id: u32) -> Option<&mut Playing> {
        self.playing.iter_mut().find(|playing| playing.stream_id() == stream_id)
    }
}
