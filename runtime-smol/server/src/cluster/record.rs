use serde::{Deserialize, Serialize};

use super::advertise::Advertise;

/// The longest record of a server in the directory, in bytes.
pub(crate) const LONGEST_RECORD: usize = 1000;
/// The longest name and version of a server.
pub(crate) const LONGEST_NODE: usize = 128;

/// What a server says about itself in the directory. Other versions of the program may write more, and less.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NodeRecord {
    /// The server's id.
    pub(crate) id: String,
    /// Different for each run of the program.
    pub(crate) boot: String,
    /// Where it is reached.
    pub(crate) advertise: Addresses,
    pub(crate) version: String,
    pub(crate) load: Load,
    /// True if it takes no new clients.
    pub(crate) draining: bool,
}

/// Where a server is reached: one address, `rtmp://...` or `rtmps://...`, and for requests of clients that it has the one
/// of HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Addresses {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rtmp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rtmps: Option<String>,
    /// `http://HOST:PORT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) web: Option<String>,
}

/// What a server does now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Load {
    /// Streams with a publisher.
    pub(crate) streams: u64,
    pub(crate) players: u64,
}

impl NodeRecord {
    /// Reads a record. `None` if it is none, or if it says something that no server says.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > LONGEST_RECORD {
            return None;
        }
        let record: NodeRecord = serde_json::from_slice(bytes).ok()?;
        let is_short = [&record.id, &record.boot, &record.version].iter().all(|text| is_name(text));
        let is_web = |address: &str| {
            let authority = address.strip_prefix("http://");
            authority.is_some_and(|authority| format!("rtmp://{authority}").parse::<Advertise>().is_ok())
        };
        let is_right = record.addresses().all(|address| address.parse::<Advertise>().is_ok())
            && record.advertise.web.as_deref().is_none_or(is_web);
        (is_short && is_right).then_some(record)
    }

    /// The record's text.
    pub(crate) fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What the record of one run of a server begins with.
    pub(crate) fn beginning(id: &str, boot: &str) -> String {
        let record = NodeRecord { id: id.to_owned(), boot: boot.to_owned(), ..NodeRecord::default() };
        let text = record.write();
        text.split_once(",\"advertise\"").map_or(String::new(), |(beginning, _)| beginning.to_owned())
    }

    /// The address that other servers use.
    pub(crate) fn address(&self) -> Option<&str> {
        self.addresses().next()
    }

    fn addresses(&self) -> impl Iterator<Item = &str> {
        [&self.advertise.rtmp, &self.advertise.rtmps].into_iter().flatten().map(String::as_str)
    }
}

/// True for a text that can be an id: it is short, and has neither blanks nor control characters.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= LONGEST_NODE && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = NodeRecord {
            id: "a:1935".to_owned(),
            boot: "x".to_owned(),
            advertise: Addresses {
                rtmp: Some("rtmp://a:1935".to_owned()),
                rtmps: None,
                web: Some("http://a:8080".to_owned()),
            },
            version: "1".to_owned(),
            load: Load { streams: 1, players: 2 },
            draining: true,
        };
        let beginning = NodeRecord::beginning("a:1935", "x");
        assert!(beginning.contains("\"boot\":\"x\"") && record.write().starts_with(&beginning), "{beginning}");
        assert_eq!(NodeRecord::read(record.write().as_bytes()), Some(record));
        assert!(NodeRecord::read(br#"{"id":"b","more":[1,2,3]}"#).is_some_and(|record| record.address().is_none()));
    }

    #[test]
    fn what_no_server_writes_is_no_record() {
        for text in [
            "",
            "7",
            "{",
            r#"{"id":"a b"}"#,
            r#"{"id":"a","advertise":{"rtmp":"http://h"}}"#,
            r#"{"id":"a","advertise":{"rtmp":"rtmp://h/app"}}"#,
            r#"{"id":"a","advertise":{"web":"https://h"}}"#,
            r#"{"id":"a","advertise":{"web":"http://h/path"}}"#,
            r#"{"id":"a","advertise":{"web":"http://h@other"}}"#,
            r#"{"id":"a","load":{"streams":-1}}"#,
        ] {
            assert_eq!(NodeRecord::read(text.as_bytes()), None, "{text}");
        }
        let long = format!("{{\"id\":\"{}\"}}", "a".repeat(LONGEST_NODE + 1));
        assert_eq!(NodeRecord::read(long.as_bytes()), None);
        assert_eq!(NodeRecord::read(&vec![b' '; LONGEST_RECORD + 1]), None);
    }
}
