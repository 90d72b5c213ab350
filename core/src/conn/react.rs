use std::time::Instant;

use super::Action;
use super::enter::Wanted;
use super::grant::Request;
use super::player::Playing;
use super::publisher::{Publishing, Stopped};
use super::rules::{self, Allowed, Connecting, Found, Requester};
use super::slow_path::{Client, Pulling, SlowPath};
use crate::capture::Step;
use crate::cluster::SignedPull;
use crate::command::{ConnectInfo, Signature};
use crate::hls;
use crate::message::Message;
use crate::policy::Refusal;
use crate::session::{CloseReason, ConnectRequest, Delivery, Rejection, SessionEvent};
use crate::url::UrlError;

impl SlowPath {
    /// Turns session events into hub calls.
    pub(super) fn react(&mut self, now: Instant, event: SessionEvent) {
        match event {
            // The client said this before the session was closed: grants nothing any more.
            SessionEvent::Connect(_) | SessionEvent::Publish(_) | SessionEvent::Play(_)
                if self.session.is_closing() => {}
            SessionEvent::Connect(request) => self.connect(now, request),
            SessionEvent::Publish(request) => self.want(now, Wanted::Publish(request)),
            SessionEvent::Play(request) => self.want(now, Wanted::Play(request)),
            SessionEvent::Request(request) => self.actions.push_back(Action::Request(request)),
            SessionEvent::Media(message) => self.media(now, message),
            SessionEvent::Measured { command, bytes } => self.measured(now, command.as_ref(), bytes),
            SessionEvent::ClearMetadata { message_stream_id } => {
                if let Some(publishing) = self.publishing(message_stream_id) {
                    publishing.clear_metadata();
                }
            }
            SessionEvent::Unpublish { message_stream_id } => self.stop_publishing(now, message_stream_id),
            SessionEvent::Stop { message_stream_id } => self.stop_playing(message_stream_id),
            SessionEvent::Pause { message_stream_id, paused } => {
                if let Some(playing) = self.playing(message_stream_id) {
                    playing.pause(paused);
                }
            }
            SessionEvent::Receive { message_stream_id, track, on } => {
                if let Some(playing) = self.playing(message_stream_id) {
                    playing.receive(track, on);
                }
            }
        }
    }

    fn connect(&mut self, now: Instant, request: ConnectRequest) {
        let pull = match self.signed_pull(now, request.info()) {
            Ok(pull) => pull,
            Err(rejection) => return self.refuse_connect(request, &rejection),
        };
        let signed = pull.as_ref().map(|pull| &pull.signed);
        let allowed = rules::may_connect(self.requester(now), request.info(), signed);
        match self.ruled(now, allowed) {
            Ok(Connecting { urls, vhost, by_pass }) => {
                self.client = Some(Box::new(Client::new(urls, request.info(), by_pass, pull)));
                self.vhost = vhost;
            }
            Err(rejection) => return self.refuse_connect(request, &rejection),
        }
        if self.vhost.config().bandwidth_check.is_some() && self.session.is_web() {
            self.refuse_connect(request, &rules::play_denied(Refusal::VhostMeasures));
        } else if self.vhost.config().bandwidth_check.is_some() {
            self.begin_check(now, request);
        } else {
            self.grant_or_ask(now, Request::Connect(request));
        }
    }

    /// What the client pulls, if it is a server of the same cluster.
    fn signed_pull(&mut self, now: Instant, info: &ConnectInfo) -> Result<Option<Pulling>, Rejection> {
        let Some(text) = info.pull.as_ref().map(Signature::as_str) else {
            return Ok(None);
        };
        let pull = match self.requester(now).replays {
            true => SignedPull::unverified(text).map(Pulling::replayed).ok_or(Refusal::PullNotSigned),
            false => self.server.relays().admit_pull(now, self.id, text).map(Pulling::new),
        };
        self.ruled_besides(now, Step::Signature, pull.map_err(rules::connect_rejected)).map(Some)
    }

    /// The client wants a stream: of a virtual host that it must enter first, or is in already.
    pub(super) fn want(&mut self, now: Instant, wanted: Wanted) {
        let found = self.find_stream(wanted.name());
        if let (Some(capturing), Ok(found)) = (&mut self.capturing, &found) {
            capturing.names(found.key(), matches!(wanted, Wanted::Publish(_)));
        }
        if let Ok(Found { vhost, .. }) = &found
            && !self.is_in(vhost)
        {
            let vhost = vhost.clone();
            return self.enter(now, vhost, wanted);
        }
        match wanted {
            Wanted::Publish(request) => {
                let found = found.map_err(|refusal| Rejection::bad_publish_name(refusal.to_string()).because(refusal));
                let allowed = match self.is_signed() {
                    // Its `connect` was granted for what it pulls.
                    true => Err(rules::publish_denied(Refusal::PassInvalid)),
                    false => found.and_then(|found| self.requester(now).may_publish(found)),
                };
                match self.ruled(now, allowed) {
                    Ok(Allowed { application, credentials, facts, by_pass, .. }) => {
                        let key = facts.key.clone();
                        let request = Request::Publish { request, application, key, credentials, facts, by_pass };
                        self.grant_or_ask(now, request);
                    }
                    Err(rejection) => self.refuse_stream(Wanted::Publish(request), &rejection),
                }
            }
            Wanted::Play(request) => {
                let found = found.map_err(|refusal| Rejection::bad_play_name(refusal.to_string()).because(refusal));
                let pull = self.client.as_ref().and_then(|client| client.pull.as_ref());
                let views = self.session.plays_elsewhere().is_some_and(Delivery::is_segmented);
                let allowed = found.and_then(|found| match pull {
                    _ if views && found.vhost.application(found.key()).config.hls.mode == hls::Mode::Off => {
                        Err(Rejection::bad_play_name("HLS and DASH are off for this stream"))
                    }
                    Some(pull) => self.requester(now).may_pull(found, &pull.signed, pull.seat.as_ref()),
                    None => self.requester(now).may_play(found),
                });
                match self.ruled(now, allowed) {
                    Ok(Allowed { application, facts, over, by_pass, .. }) => {
                        let key = facts.key.clone();
                        self.remarks.extend(over.then(|| super::Remark::BeyondChildren(key.clone())));
                        self.grant_or_ask(now, Request::Play { request, application, key, facts, by_pass });
                    }
                    Err(rejection) => self.refuse_stream(Wanted::Play(request), &rejection),
                }
            }
        }
    }

    /// The client, as rules need it.
    pub(super) fn requester(&self, now: Instant) -> Requester<'_> {
        let page_url = self.client.as_ref().and_then(|client| client.page_url.as_deref());
        let replays = self.capturing.as_ref().is_some_and(|capturing| capturing.is_replay());
        Requester { server: &self.server, now, address: self.peer().map(|peer| peer.ip()), page_url, replays }
    }

    fn media(&mut self, now: Instant, message: Message) {
        let message_stream_id = message.message_stream_id;
        let recorded = self.capturing.is_some();
        let Some(publishing) = self.publishing(message_stream_id) else {
            return;
        };
        let pushed = publishing.push(now, message, recorded);
        match self.pushed(now, message_stream_id, pushed) {
            Ok(()) => {
                self.stats.received_frames(now, 1);
                self.remark_keyless(message_stream_id);
            }
            Err(Stopped::Superseded) => self.session.take_over(message_stream_id),
            Err(Stopped::Refused(refusal)) => {
                self.report_ended(&refusal, true);
                self.session.stop_publisher(message_stream_id, &Rejection::publish_denied(refusal.to_string()));
                self.session.close_with_words(CloseReason::Refused(refusal));
            }
        }
    }

    fn remark_keyless(&mut self, message_stream_id: u32) {
        let Some(publishing) = self.publishing(message_stream_id) else {
            return;
        };
        if publishing.takes_keyless() {
            let remark = super::Remark::Keyless(publishing.key().clone());
            self.actions.push_back(super::Action::Remark(remark));
        }
    }

    fn find_stream(&self, name: &str) -> Result<Found, Refusal> {
        // A session that is not connected has no such requests.
        let client = self.client.as_deref().ok_or(Refusal::UrlInvalid(UrlError::Missing))?;
        rules::find_stream(&self.server, &client.urls, name)
    }

    fn publishing(&mut self, message_stream_id: u32) -> Option<&mut Publishing> {
        self.publishing.iter_mut().find(|publishing| publishing.message_stream_id() == message_stream_id)
    }

    fn playing(&mut self, message_stream_id: u32) -> Option<&mut Playing> {
        self.playing.iter_mut().find(|playing| playing.message_stream_id() == message_stream_id)
    }
}
