use std::time::Instant;

use super::player::Playing;
use super::{Action, Attachment, Conn, Publishing, Role};
use crate::command::Capabilities;
use crate::session::{ConnectRequest, Event, PlayRequest, PublishRequest, Rejection};
use crate::url::{self, DEFAULT_VHOST, StreamKey, UrlError};

impl Conn {
    /// Session events become hub calls.
    pub(super) fn react(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connect(request) => self.connect(request),
            Event::Publish(request) => self.publish(request),
            Event::Play(request) => self.play(request),
            Event::Media(message) => {
                let stream_id = message.stream_id;
                let taken_over = self
                    .publishing(stream_id)
                    .is_some_and(|publishing| publishing.publisher.push(now, message).is_err());
                if taken_over {
                    self.session.take_over(stream_id);
                }
            }
            Event::ClearMetadata { stream_id } => {
                if let Some(publishing) = self.publishing(stream_id) {
                    publishing.publisher.clear_metadata();
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

    fn connect(&mut self, request: ConnectRequest) {
        let info = request.info();
        match url::Connect::parse(info.tc_url.as_deref(), info.app.as_deref()) {
            Ok(urls) => {
                self.urls = Some(Box::new(urls));
                self.agent = info.flash_ver.clone();
                self.session.accept(request);
            }
            Err(error) => self.session.reject(request, &Rejection::invalid_app(error.to_string())),
        }
    }

    fn publish(&mut self, request: PublishRequest) {
        let key = match self.key(request.name()) {
            Ok(key) => key,
            Err(error) => {
                return self.session.reject(request, &Rejection::bad_publish_name(error.to_string()));
            }
        };
        let Ok(publisher) = self.server.hub.publish(&key) else {
            return self.session.reject(request, &Rejection::stream_in_use(key.stream()));
        };
        self.actions.push_back(Action::Attach(Attachment {
            role: Role::Publisher,
            stream: publisher.stream_id(),
            key,
            client: Some(request.client()),
            agent: self.agent.clone(),
            peer: self.peer(),
        }));
        self.publishing.push(Publishing { stream_id: request.stream_id(), publisher });
        self.session.accept(request);
    }

    fn play(&mut self, request: PlayRequest) {
        let key = match self.key(&request.arguments().name) {
            Ok(key) => key,
            Err(error) => return self.session.reject(request, &Rejection::bad_play_name(error.to_string())),
        };
        let player = self.server.hub.play(&key);
        self.actions.push_back(Action::Attach(Attachment {
            role: Role::Player,
            stream: player.stream_id(),
            key,
            client: None,
            agent: self.agent.clone(),
            peer: self.peer(),
        }));
        let understands =
            self.session.capabilities().is_some_and(|capabilities| capabilities.has(Capabilities::MULTITRACK));
        let multitrack = understands || self.server.config.multitrack_to_all;
        self.playing.push(Playing::new(&request, player, multitrack));
        self.session.accept(request);
    }

    /// The stream that a name means on this connection. Every host name means the same virtual host.
    fn key(&self, name: &str) -> Result<StreamKey, UrlError> {
        let urls = self.urls.as_deref().ok_or(UrlError::Missing)?;
        Ok(urls.target(name)?.key_in(DEFAULT_VHOST)?)
    }

    fn publishing(&mut self, stream_id: u32) -> Option<&mut Publishing> {
        self.publishing.iter_mut().find(|publishing| publishing.stream_id == stream_id)
    }

    fn playing(&mut self, stream_id: u32) -> Option<&mut Playing> {
        self.playing.iter_mut().find(|playing| playing.stream_id() == stream_id)
    }
}
