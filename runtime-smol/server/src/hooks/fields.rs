//! The body of a call in nginx-rtmp's form: the fields that `ngx_rtmp_notify_module.c` and `ngx_rtmp_netcall_module.c`
//! send, in their order.

use anabranch_core::conn::{ClientFacts, Subject};
use anabranch_core::url::Params;
use anabranch_host::SwitchNotice;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::body::Event;
use crate::record::RecordedFile;
use crate::segments::StoredSegment;

/// Bytes that need no escape in a value.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The fields that nginx-rtmp sends. A client cannot set them by its own parameters, which follow them: PHP, for
/// instance, takes the last of two fields with the same name.
const FIELDS: [&str; 18] = [
    "app",
    "flashver",
    "swfurl",
    "tcurl",
    "pageurl",
    "addr",
    "clientid",
    "epoch",
    "call",
    "name",
    "type",
    "start",
    "duration",
    "reset",
    "time",
    "timestamp",
    "recorder",
    "path",
];

/// The body of a call.
pub(super) fn of(event: Event, subject: &Subject, client: &ClientFacts) -> String {
    let mut body = Fields::default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let stream = match subject {
        Subject::Publish(stream) | Subject::Play(stream) | Subject::Traverse(stream) => Some(stream),
        Subject::Connect => None,
    };
    body.add("app", stream.map_or(&*client.app, |stream| stream.key.app()));
    body.add("flashver", &text(&client.agent));
    body.add("swfurl", &text(&client.swf_url));
    body.add("tcurl", &text(&client.tc_url));
    body.add("pageurl", &text(&client.page_url));
    body.add("addr", &client.address.map(|address| address.ip().to_string()).unwrap_or_default());
    body.add("clientid", &client.connection.to_string());
    body.add("call", call(event));
    if let Some(stream) = stream {
        body.add("name", stream.key.stream());
        if event == Event::Publish {
            body.add("type", "live");
        }
    }
    body.parameters(stream.map_or(&*client.params, |stream| &*stream.params));
    body.0
}

/// The body of the notice that a file of a recording is complete: what is known of its publisher.
pub(super) fn of_recording(file: &RecordedFile) -> String {
    let RecordedFile { key, publisher, path, .. } = file;
    let mut body = Fields::default();
    body.add("app", key.app());
    body.add("addr", &publisher.address.map(|address| address.ip().to_string()).unwrap_or_default());
    body.add("clientid", &publisher.connection.map(|connection| connection.to_string()).unwrap_or_default());
    body.add("call", call(Event::Dvr));
    // nginx-rtmp may have several recorders, which have names.
    body.add("recorder", "");
    body.add("name", key.stream());
    body.add("path", &path.to_string_lossy());
    body.parameters(&publisher.params);
    body.0
}

/// The body of the notice that a segment is complete.
pub(super) fn of_segment(segment: &StoredSegment) -> String {
    let StoredSegment { key, publisher, file, .. } = segment;
    let mut body = Fields::default();
    body.add("app", key.app());
    body.add("addr", &publisher.address.map(|address| address.ip().to_string()).unwrap_or_default());
    body.add("clientid", &publisher.connection.map(|connection| connection.to_string()).unwrap_or_default());
    body.add("call", call(Event::Hls));
    body.add("name", key.stream());
    body.add("path", &file.to_string_lossy());
    body.parameters(&publisher.params);
    body.0
}

/// The body of the notice that a publisher that stood by is on air.
pub(super) fn of_switch(switch: &SwitchNotice) -> String {
    let SwitchNotice { key, because, client, .. } = switch;
    let mut body = Fields::default();
    body.add("app", key.app());
    body.add("tcurl", client.tc_url.as_deref().unwrap_or_default());
    body.add("addr", &client.address.map(|address| address.ip().to_string()).unwrap_or_default());
    body.add("clientid", &client.connection.to_string());
    body.add("call", call(Event::Switch));
    body.add("name", key.stream());
    body.add("reason", because.name());
    body.0
}

/// nginx-rtmp's name of a call.
fn call(event: Event) -> &'static str {
    match event {
        Event::Connect => "connect",
        Event::Close => "disconnect",
        Event::Publish => "publish",
        Event::Unpublish => "publish_done",
        Event::Play => "play",
        Event::Stop => "play_done",
        Event::Dvr => "record_done",
        // nginx-rtmp has no such calls.
        Event::Hls => "hls",
        Event::Forward => "forward",
        Event::Switch => "switch",
    }
}

#[derive(Debug, Default)]
struct Fields(String);

impl Fields {
    fn add(&mut self, name: &str, value: &str) {
        let value = utf8_percent_encode(value, ESCAPED);
        self.0.push_str(&format!("{}{name}={value}", if self.0.is_empty() { "" } else { "&" }));
    }

    /// Adds the parameters of the client as it sent them, except for those that have the name of a field.
    fn parameters(&mut self, query: &str) {
        for (name, value) in Params::parse(query).unwrap_or_default().iter().filter(|(name, _)| !is_field(name)) {
            self.0.push_str(&format!("&{}={}", sent(name), sent(value)));
        }
    }
}

/// What a form field may have is passed on unchanged, with its escapes. A `;` is escaped: Rack before 3 and Perl's CGI, for
/// instance, end a field there, too, so that a client could set fields.
fn sent(text: &str) -> String {
    const SENT: &AsciiSet =
        &percent_encoding::CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'&').add(b';').add(b'#');
    utf8_percent_encode(text, SENT).to_string()
}

/// Whether a back end may take a parameter of this name for a field: PHP drops blanks in front of a name, and what
/// follows a bracket is a key within the field.
fn is_field(name: &str) -> bool {
    let name = percent_decode_str(name).decode_utf8_lossy().replace('+', " ");
    let name = name.trim_start().split(['[', '\0']).next().unwrap_or_default().trim_end();
    FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use anabranch_core::conn::StreamFacts;
    use anabranch_core::url::{DEFAULT_VHOST, StreamKey};

    use super::*;

    fn client() -> ClientFacts {
        ClientFacts {
            connection: 7,
            address: Some("192.0.2.1:1".parse().unwrap()),
            app: "live".to_owned(),
            params: "?key=a%20b".to_owned(),
            tc_url: Some("rtmp://h/live?key=a%20b".to_owned()),
            page_url: Some("http://h/watch?a=1&b=é".to_owned()),
            agent: Some("FMLE/3.0 (compatible; x)".to_owned()),
            ..ClientFacts::default()
        }
    }

    fn stream(params: &str) -> StreamFacts {
        let key = StreamKey::new(DEFAULT_VHOST, "live", "my cam").unwrap();
        StreamFacts { key, params: params.to_owned() }
    }

    #[test]
    fn the_fields_are_those_of_nginx_in_its_order() {
        let head = "app=live&flashver=FMLE%2F3.0%20%28compatible%3B%20x%29&swfurl=&tcurl=rtmp%3A%2F%2Fh%2Flive%3Fkey%3Da%2520b\
                    &pageurl=http%3A%2F%2Fh%2Fwatch%3Fa%3D1%26b%3D%C3%A9&addr=192.0.2.1&clientid=7";
        let facts = stream("?token=x%3D&user=me");
        let (publish, play) = (Subject::Publish(facts.clone()), Subject::Play(facts));
        for (event, subject, tail) in [
            (Event::Connect, &Subject::Connect, "call=connect&key=a%20b"),
            (Event::Close, &Subject::Connect, "call=disconnect&key=a%20b"),
            (Event::Publish, &publish, "call=publish&name=my%20cam&type=live&token=x%3D&user=me"),
            (Event::Unpublish, &publish, "call=publish_done&name=my%20cam&token=x%3D&user=me"),
            (Event::Play, &play, "call=play&name=my%20cam&token=x%3D&user=me"),
            (Event::Stop, &play, "call=play_done&name=my%20cam&token=x%3D&user=me"),
        ] {
            assert_eq!(of(event, subject, &client()), format!("{head}&{tail}"));
        }
    }

    #[test]
    fn a_client_cannot_set_the_fields() {
        let query = "?addr=10.0.0.1&NAME=x&n%61me=x&%20name=x&+name=x&name[0]=x&name%5B]=x&call%00=x&names=1&user=me";
        let body = of(Event::Publish, &Subject::Publish(stream(query)), &client());
        assert!(body.ends_with("call=publish&name=my%20cam&type=live&names=1&user=me"), "{body}");
        // Some back ends separate fields by `;`, too.
        for query in ["?x=1;addr=10.0.0.1;name=x", "?x;call=connect=1", "?;app=x=1"] {
            let body = of(Event::Publish, &Subject::Publish(stream(query)), &client());
            let fields: Vec<_> = body.split(['&', ';']).filter_map(|field| field.split('=').next()).collect();
            let set = |name: &str| fields.iter().filter(|field| **field == name).count();
            assert_eq!(["addr", "name", "call", "app"].map(set), [1; 4], "{body}");
        }
    }
}
