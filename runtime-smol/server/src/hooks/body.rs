use std::sync::Arc;
use std::time::Duration;

use anabranch_core::conn::{Ask, ClientFacts, Closed, Delivery, Notice, StreamFacts, Subject};
use anabranch_core::hub::HeldBy;
use anabranch_core::url::{DEFAULT_VHOST, StreamKey};
use anabranch_host::SwitchNotice;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::fields;
use super::settings::Form;
use crate::identity::Identity;
use crate::record::{Publisher, RecordedFile};
use crate::segments::StoredSegment;

/// The kind of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Event {
    Connect,
    Close,
    Publish,
    Unpublish,
    Play,
    Stop,
    Dvr,
    Hls,
    Forward,
    Switch,
}

impl Event {
    pub(super) const ALL: [Event; 10] = [
        Event::Connect,
        Event::Close,
        Event::Publish,
        Event::Unpublish,
        Event::Play,
        Event::Stop,
        Event::Dvr,
        Event::Hls,
        Event::Forward,
        Event::Switch,
    ];

    /// The name in settings and in `action`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Event::Connect => "on_connect",
            Event::Close => "on_close",
            Event::Publish => "on_publish",
            Event::Unpublish => "on_unpublish",
            Event::Play => "on_play",
            Event::Stop => "on_stop",
            Event::Dvr => "on_dvr",
            Event::Hls => "on_hls",
            Event::Forward => "on_forward",
            Event::Switch => "on_switch",
        }
    }

    /// The question about a subject; `None` for subjects without a hook.
    pub(super) fn asking(subject: &Subject) -> Option<Event> {
        match subject {
            Subject::Connect => Some(Event::Connect),
            Subject::Publish(_) => Some(Event::Publish),
            Subject::Play(_) => Some(Event::Play),
            Subject::Traverse(_) => None,
        }
    }

    /// The notice at the end of a subject.
    pub(super) fn telling(subject: &Subject) -> Option<Event> {
        match subject {
            Subject::Connect => Some(Event::Close),
            Subject::Publish(_) => Some(Event::Unpublish),
            Subject::Play(_) => Some(Event::Stop),
            Subject::Traverse(_) => None,
        }
    }
}

/// The virtual host whose hooks are called: the stream's, which may differ from that of `connect`.
pub(super) fn vhost<'a>(subject: &'a Subject, client: &'a ClientFacts) -> &'a str {
    match subject {
        Subject::Publish(stream) | Subject::Play(stream) | Subject::Traverse(stream) => stream.key.vhost(),
        Subject::Connect => &client.vhost,
    }
}

/// The bodies of the calls for one event, one for each form that a URL needs.
#[derive(Debug, Clone)]
pub(super) struct Bodies([Option<Arc<str>>; 2]);

impl Bodies {
    /// The bodies of a question.
    pub(super) fn of_question(event: Event, ask: &Ask, identity: &Identity, needs: impl Fn(Form) -> bool) -> Self {
        Bodies::new(needs, |form| match form {
            Form::Srs => {
                let role = if ask.backup { "backup" } else { "publisher" };
                of(event, &ask.subject, &ask.client, identity, None, Some(role))
            }
            Form::NginxRtmp => fields::of(event, &ask.subject, &ask.client),
        })
    }

    /// The bodies of a notice.
    pub(super) fn of_notice(event: Event, notice: &Notice, identity: &Identity, needs: impl Fn(Form) -> bool) -> Self {
        Bodies::new(needs, |form| match form {
            Form::Srs => of(event, &notice.subject, &notice.client, identity, notice.closed.as_ref(), None),
            Form::NginxRtmp => fields::of(event, &notice.subject, &notice.client),
        })
    }

    /// The bodies of the question where a stream is to be pushed.
    pub(super) fn of_forward(
        stream: &StreamFacts,
        client: &ClientFacts,
        identity: &Identity,
        needs: impl Fn(Form) -> bool,
    ) -> Self {
        let subject = Subject::Publish(stream.clone());
        Bodies::new(needs, |form| match form {
            Form::Srs => of(Event::Forward, &subject, client, identity, None, None),
            Form::NginxRtmp => fields::of(Event::Forward, &subject, client),
        })
    }

    /// The bodies of the notice that a publisher that stood by is on air.
    pub(super) fn of_switch(switch: &SwitchNotice, identity: &Identity, needs: impl Fn(Form) -> bool) -> Self {
        Bodies::new(needs, |form| match form {
            Form::Srs => of_switch(switch, identity),
            Form::NginxRtmp => fields::of_switch(switch),
        })
    }

    /// The bodies of the notice that a file of a recording is complete.
    pub(super) fn of_recording(file: &RecordedFile, identity: &Identity, needs: impl Fn(Form) -> bool) -> Self {
        Bodies::new(needs, |form| match form {
            Form::Srs => of_recording(file, identity),
            Form::NginxRtmp => fields::of_recording(file),
        })
    }

    /// The bodies of the notice that a segment is complete.
    pub(super) fn of_segment(segment: &StoredSegment, identity: &Identity, needs: impl Fn(Form) -> bool) -> Self {
        Bodies::new(needs, |form| match form {
            Form::Srs => of_segment(segment, identity),
            Form::NginxRtmp => fields::of_segment(segment),
        })
    }

    /// The same text in all forms.
    #[cfg(test)]
    pub(super) fn all(text: &str) -> Self {
        Bodies::new(|_| true, |_| text.to_owned())
    }

    fn new(needs: impl Fn(Form) -> bool, write: impl Fn(Form) -> String) -> Self {
        Bodies(Form::ALL.map(|form| needs(form).then(|| write(form).into())))
    }

    /// The body in a form. It is empty in a form that no URL needs.
    pub(super) fn of(&self, form: Form) -> Arc<str> {
        let [srs, nginx] = &self.0;
        match form {
            Form::Srs => srs,
            Form::NginxRtmp => nginx,
        }
        .clone()
        .unwrap_or_default()
    }
}

/// The body of the notice that a file of a recording is complete. Fields and their order are SRS's; those that SRS does
/// not have come last.
fn of_recording(file: &RecordedFile, identity: &Identity) -> String {
    let RecordedFile { key, publisher, path, bytes, duration, reason, .. } = file;
    let mut body = of_file(Event::Dvr, publisher, key, identity);
    body.text("cwd", cwd())
        .text("file", path.to_string_lossy())
        .stream(key, identity)
        .seconds("duration", *duration)
        .number("bytes", *bytes)
        .text("reason", reason.name());
    body.written()
}

/// The body of the notice that a segment is complete. Fields and their order are SRS's.
fn of_segment(segment: &StoredSegment, identity: &Identity) -> String {
    let StoredSegment { key, publisher, number, duration, file, playlist, url, playlist_url } = segment;
    let mut body = of_file(Event::Hls, publisher, key, identity);
    body.seconds("duration", *duration)
        .text("cwd", cwd())
        .text("file", file.to_string_lossy())
        .text("url", url.as_str())
        .text("m3u8", playlist.to_string_lossy())
        .text("m3u8_url", playlist_url.as_str())
        .number("seq_no", *number)
        .stream(key, identity);
    body.written()
}

/// What the notices of files have in common: whose stream it was.
fn of_file(event: Event, publisher: &Publisher, key: &StreamKey, identity: &Identity) -> Object {
    let client_id = publisher.connection.map(|connection| identity.client_id(connection)).unwrap_or_default();
    let ip = publisher.address.map(|address| address.ip().to_canonical().to_string()).unwrap_or_default();
    let mut body = Object::begun(event, identity, client_id, ip, key.vhost());
    body.text("app", key.app()).text("stream", key.stream()).text("param", publisher.params.as_str());
    body
}

fn cwd() -> String {
    std::env::current_dir().unwrap_or_default().to_string_lossy().into_owned()
}

/// The body of the notice that a publisher that stood by is on air. SRS has no such call.
fn of_switch(switch: &SwitchNotice, identity: &Identity) -> String {
    let SwitchNotice { key, because, before, client, .. } = switch;
    let before = match before {
        Some(HeldBy::Client { connection, .. } | HeldBy::Relay { connection, .. }) => identity.client_id(*connection),
        Some(HeldBy::Program) | None => String::new(),
    };
    let mut body = of_client(Event::Switch, client, key.vhost(), identity);
    body.text("app", key.app())
        .text("tcUrl", client.tc_url.as_deref().unwrap_or_default())
        .text("stream", key.stream())
        .stream(key, identity)
        .text("reason", because.name())
        .text("before", before);
    body.written()
}

/// What the calls about clients have in common.
fn of_client(event: Event, client: &ClientFacts, vhost: &str, identity: &Identity) -> Object {
    let ip = client.address.map(|address| address.ip().to_string()).unwrap_or_default();
    Object::begun(event, identity, identity.client_id(client.connection), ip, vhost)
}

/// Fields, their types and their order are SRS's; `reason`, `code`, `role`, `form` and `user_agent` are ours.
fn of(
    event: Event,
    subject: &Subject,
    client: &ClientFacts,
    identity: &Identity,
    closed: Option<&Closed>,
    role: Option<&str>,
) -> String {
    let tc_url = client.tc_url.as_deref().unwrap_or_default();
    let page_url = client.page_url.as_deref().unwrap_or_default();
    let mut body = of_client(event, client, vhost(subject, client), identity);
    match (event, subject) {
        (Event::Close, _) => {
            body.text("app", client.app.as_str())
                .number("send_bytes", closed.map_or(0, |closed| closed.sent))
                .number("recv_bytes", closed.map_or(0, |closed| closed.received))
                .text("reason", closed.map_or("", |closed| closed.reason.name()))
                .text("code", closed.and_then(|closed| closed.refused).unwrap_or_default());
        }
        (Event::Play, Subject::Play(stream)) => {
            body.text("app", stream.key.app())
                .text("stream", stream.key.stream())
                .text("tcUrl", tc_url)
                .text("param", stream.params.as_str())
                .text("pageUrl", page_url)
                .stream(&stream.key, identity)
                .player(client);
        }
        (_, Subject::Publish(stream) | Subject::Play(stream)) => {
            body.text("app", stream.key.app())
                .text("tcUrl", tc_url)
                .text("stream", stream.key.stream())
                .text("param", stream.params.as_str())
                .stream(&stream.key, identity);
            match (event, role) {
                (Event::Publish, Some(role)) => _ = body.text("role", role),
                (Event::Stop, _) => body.player(client),
                _ => {}
            }
        }
        _ => {
            // At `connect` the stream is not known yet.
            body.text("app", client.app.as_str())
                .text("stream", "")
                .text("param", client.params.as_str())
                .text("tcUrl", tc_url)
                .text("pageUrl", page_url);
        }
    }
    body.written()
}

/// A stream's name as SRS writes it in hooks: `vhost/app/stream`, and `/app/stream` in the default virtual host.
fn stream_url(key: &StreamKey) -> String {
    let vhost = if key.vhost() == DEFAULT_VHOST { "" } else { key.vhost() };
    format!("{vhost}/{}/{}", key.app(), key.stream())
}

/// A JSON object whose fields keep their order.
#[derive(Debug, Default)]
struct Object(Vec<(&'static str, Value)>);

impl Object {
    fn begun(event: Event, identity: &Identity, client_id: String, ip: String, vhost: &str) -> Self {
        let mut body = Object::default();
        body.text("server_id", identity.server_id())
            .text("service_id", identity.service_id())
            .text("action", event.name())
            .text("client_id", client_id)
            .text("ip", ip)
            .text("vhost", vhost);
        body
    }

    fn text(&mut self, name: &'static str, text: impl Into<String>) -> &mut Self {
        self.0.push((name, Value::String(text.into())));
        self
    }

    fn number(&mut self, name: &'static str, number: u64) -> &mut Self {
        self.0.push((name, number.into()));
        self
    }

    fn seconds(&mut self, name: &'static str, time: Duration) -> &mut Self {
        self.0.push((name, time.as_secs_f64().into()));
        self
    }

    fn stream(&mut self, key: &StreamKey, identity: &Identity) -> &mut Self {
        self.text("stream_url", stream_url(key)).text("stream_id", identity.stream_id(key))
    }

    /// How a player gets the stream, and with which program if that is by HTTP.
    fn player(&mut self, client: &ClientFacts) {
        let agent = client.agent.as_deref().filter(|_| client.delivery != Delivery::Rtmp);
        self.text("form", client.delivery.name()).text("user_agent", agent.unwrap_or_default());
    }

    fn written(&self) -> String {
        // Texts and numbers can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
