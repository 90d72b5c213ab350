use std::sync::Arc;
use std::time::Instant;

use super::ask::StreamFacts;
use super::grant::Request;
use super::player::Playing;
use super::publisher::{Publishing, Stopped};
use super::site::{Counter, Site};
use super::{Client, Conn};
use crate::command::ConnectInfo;
use crate::hub::{Busy, Claim, Conflict};
use crate::message::Message;
use crate::policy::{Action, Counted, Refusal};
use crate::session::{CloseReason, ConnectRequest, Event, PlayRequest, PublishRequest, Rejection};
use crate::url::{self, StreamKey, Target};

/// All that a `publish` which no rule forbids will need; what it holds goes back if it comes to nothing.
struct MayPublish {
    claim: Claim,
    site: Arc<Site>,
    counter: Option<Counter>,
    facts: StreamFacts,
}

/// The same for a `play`.
struct MayPlay {
    key: StreamKey,
    site: Arc<Site>,
    counter: Counter,
    facts: StreamFacts,
}

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
        let granted = self.may_connect(request.info());
        match self.ruled(now, granted) {
            Ok((client, site)) => {
                self.client = Some(Box::new(client));
                self.site = site;
            }
            Err(rejection) => return self.session.reject(request, &rejection),
        }
        if self.site.config.bandwidth_check.is_some() {
            self.begin_check(now, request);
        } else {
            self.grant_or_ask(now, Request::Connect(request));
        }
    }

    fn publish(&mut self, now: Instant, request: PublishRequest) {
        let granted = self.may_publish(now, request.name());
        match self.ruled(now, granted) {
            Ok(MayPublish { claim, site, counter, facts }) => {
                self.grant_or_ask(now, Request::Publish { request, claim, site, counter, facts });
            }
            Err(rejection) => self.session.reject(request, &rejection),
        }
    }

    fn play(&mut self, now: Instant, request: PlayRequest) {
        let granted = self.may_play(now, &request.arguments().name);
        match self.ruled(now, granted) {
            Ok(MayPlay { key, site, counter, facts }) => {
                self.grant_or_ask(now, Request::Play { request, key, site, counter, facts });
            }
            Err(rejection) => self.session.reject(request, &rejection),
        }
    }

    fn may_connect(&self, info: &ConnectInfo) -> Result<(Client, Arc<Site>), Rejection> {
        let urls = url::Connect::parse(info.tc_url.as_deref(), info.app.as_deref())
            .map_err(|error| Rejection::invalid_app(error.to_string()))?;
        let mut client = Client::new(urls, info);
        let refused = |refusal: Refusal| Rejection::connect_rejected(refusal.to_string());
        let site = self.server.site(client.urls.vhost()).map_err(|refusal| match client.urls.tc_url_error() {
            Some(error) => Rejection::connect_rejected(format!("{refusal}; {error}")),
            None => refused(refusal),
        })?;
        client._counter = Some(site.count(Counted::Connections).map_err(refused)?);
        Ok((client, site))
    }

    fn may_publish(&self, now: Instant, name: &str) -> Result<MayPublish, Rejection> {
        let (site, key, target) = self.target(name).map_err(Rejection::bad_publish_name)?;
        let refused = |refusal: Refusal| Rejection::publish_denied(refusal.to_string());
        self.check(now, Action::Publish, &site, &target).map_err(refused)?;
        let conflict = site.config.conflict;
        let credentials = match conflict {
            Conflict::Reject => "",
            Conflict::TakeOver => target.params().raw("token").unwrap_or_default(),
        };
        // The name first, then the question: who is refused because the name is taken is not asked about.
        let claim = site.hub.claim(&key, credentials, conflict);
        let claim = claim.map_err(|Busy| Rejection::stream_in_use(key.stream()))?;
        site.check_streams(&key).map_err(refused)?;
        let counter = match claim.takes_over() {
            true => None,
            false => Some(site.count(Counted::Publishers).map_err(refused)?),
        };
        let facts = StreamFacts { key, params: target.params().to_query() };
        Ok(MayPublish { claim, site, counter, facts })
    }

    fn may_play(&self, now: Instant, name: &str) -> Result<MayPlay, Rejection> {
        let (site, key, target) = self.target(name).map_err(Rejection::bad_play_name)?;
        let refused = |refusal: Refusal| Rejection::play_denied(refusal.to_string());
        self.check(now, Action::Play, &site, &target).map_err(refused)?;
        let counter = site.count(Counted::Players).map_err(refused)?;
        let players = site.hub.player_count(&key);
        site.config.limits.check(Counted::StreamPlayers, players).map_err(refused)?;
        // Who waits for a publisher makes a stream, too.
        site.check_streams(&key).map_err(refused)?;
        let facts = StreamFacts { key: key.clone(), params: target.params().to_query() };
        Ok(MayPlay { key, site, counter, facts })
    }

    fn media(&mut self, now: Instant, message: Message) {
        let stream_id = message.stream_id;
        let Some(publishing) = self.publishing(stream_id) else {
            return;
        };
        let pushed = publishing.push(now, message);
        match self.pushed(now, stream_id, pushed) {
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
