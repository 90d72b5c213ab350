use std::sync::Arc;

use super::application::Application;
use super::{Core, FallbackOf, VhostConfig};
use crate::hub::{Busy, Player, Publisher};
use crate::policy::{Refusal, Resolved};
use crate::url::{self, DEFAULT_VHOST, StreamKey, UrlError};

/// Why the program itself cannot publish or play a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The name is not a valid stream name.
    #[error("{0}")]
    Name(#[from] UrlError),
    /// There is no such virtual host, or the server is going down.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The stream is being published already.
    #[error("{0}")]
    Busy(#[from] Busy),
}

/// Streams without a connection: a program that embeds a server publishes and plays in it. Such a program is trusted;
/// rules, limits and questions apply only to clients.
impl Core {
    /// Publishes `path`, written as `app/stream`, in another virtual host with `?vhost=NAME`. What is pushed has the
    /// settings of that host, or of its application for the name. When the publisher says so, and after its end, poll
    /// the connections that are subscribed to the stream.
    ///
    /// # Errors
    /// The name is invalid, it is being published, or the server is going down.
    pub fn publish(&self, path: &str) -> Result<Publisher, LocalError> {
        let (application, key) = self.locate(path)?;
        Ok(application.hub.publish(&key)?)
    }

    /// Plays `path`, published or not yet. Poll the player when its stream is woken.
    ///
    /// # Errors
    /// The name is invalid, or the server is going down.
    pub fn play(&self, path: &str) -> Result<Player, LocalError> {
        let (application, key) = self.locate(path)?;
        Ok(application.hub.follow(&key))
    }

    /// The stream that `path` leads to, as in [`publish`](Self::publish), without the use of it. An alias of a virtual host
    /// becomes its name. Unlike a client, the program gets no other virtual host in place of an unknown one.
    ///
    /// # Errors
    /// The name is invalid, or there is no such virtual host.
    pub fn stream_key(&self, path: &str) -> Result<StreamKey, LocalError> {
        let target = url::discover(None, Some(""), path)?;
        let config = self.config();
        if config.vhosts.iter().len() == 0 {
            // All names of hosts mean the same one.
            return Ok(target.key_in(DEFAULT_VHOST).map_err(UrlError::from)?);
        }
        match config.vhosts.resolve(target.vhost()) {
            Resolved::Found(name, _) => Ok(target.key_in(name).map_err(UrlError::from)?),
            Resolved::Disabled => Err(Refusal::VhostDisabled.into()),
            Resolved::Default(..) | Resolved::Unknown => Err(Refusal::VhostUnknown.into()),
        }
    }

    /// The fallback of a stream, if it has one.
    pub fn fallback(&self, key: &StreamKey) -> Option<FallbackOf> {
        let vhost = self.vhost_named(key.vhost()).ok()?;
        vhost.application(key).config.fallback.as_ref()?.of(key)
    }

    /// True if the settings have a fallback for any stream.
    pub fn has_fallbacks(&self) -> bool {
        let config = self.config();
        let has = |vhost: &VhostConfig| {
            let applications = vhost.applications.iter().any(|one| one.settings.fallback.is_some());
            vhost.fallback.is_some() || applications
        };
        has(&config.defaults) || config.vhosts.iter().any(|vhost| has(&vhost.settings))
    }

    /// Begins to publish the fallback of a stream, see [`Hub::publish_fallback`](crate::hub::Hub::publish_fallback).
    ///
    /// # Errors
    /// The stream has a publisher, or its fallback plays already; or there is no such virtual host.
    pub fn publish_fallback(&self, key: &StreamKey) -> Result<Publisher, LocalError> {
        let vhost = self.vhost_named(key.vhost())?;
        Ok(vhost.application(key).hub.publish_fallback(key)?)
    }

    fn locate(&self, path: &str) -> Result<(Arc<Application>, StreamKey), LocalError> {
        if self.is_draining() {
            return Err(Refusal::Draining.into());
        }
        let target = url::discover(None, Some(""), path)?;
        let vhost = self.vhost(target.vhost())?;
        let key = target.key_in(&vhost.name).map_err(UrlError::from)?;
        Ok((vhost.application(&key).clone(), key))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::conn::Config;
    use crate::hub::PullEnd;
    use crate::message::Message;

    fn server() -> Core {
        Core::new(Config::default(), [7; 32])
    }

    #[test]
    fn without_virtual_hosts_a_stream_has_one_key_whatever_the_host() {
        let key = StreamKey::new(DEFAULT_VHOST, "live", "cam").unwrap();
        for path in ["live/cam", "/live/cam", "live/cam?vhost=other.example"] {
            assert_eq!(server().stream_key(path).unwrap(), key, "{path}");
        }
    }

    #[test]
    fn what_is_published_in_the_program_is_played_in_it() {
        let server = server();
        let mut player = server.play("live/cam").unwrap();
        let mut publisher = server.publish("/live/cam?token=1").unwrap();
        assert_eq!(publisher.key(), player.key());
        #[allow(clippy::disallowed_methods)] // any instant does
        let now = Instant::now();
        publisher.push(now, Message::video(40, [0x17, 1, 0, 0, 0, 9].as_slice())).unwrap();
        assert!(publisher.take_wake(now));
        let mut bodies = Vec::new();
        let pulled = player.pull(|frame| {
            bodies.push((frame.timestamp(), frame.payload().to_vec()));
            true
        });
        assert_eq!(pulled.end, PullEnd::Pending);
        assert_eq!(bodies, [(40, vec![0x17, 1, 0, 0, 0, 9])]);
        publisher.end(now);
        assert_eq!(player.pull(|_| true).end, PullEnd::Ended(Some(now)));
        drop(player);
        assert!(server.hub().streams().is_empty());
    }

    #[test]
    fn impossible_requests_of_the_program_are_refused_with_a_reason() {
        let server = server();
        let _publisher = server.publish("live/cam").unwrap();
        assert_eq!(server.publish("live/cam").unwrap_err(), LocalError::Busy(Busy));
        assert!(matches!(server.publish("live/.."), Err(LocalError::Name(_))));
        assert!(matches!(server.play(""), Err(LocalError::Name(_))));
        server.drain();
        assert_eq!(server.play("live/cam").unwrap_err(), LocalError::Refused(Refusal::Draining));
    }
}
