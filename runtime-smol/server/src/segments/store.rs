//! Where segments are stored.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anabranch_core::hls::PLAYLIST_TYPE;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use time::UtcDateTime;
use ureq::Agent;
use ureq::tls::RootCerts;

use super::settings::S3Settings;
use super::sign::{Credentials, Request, authorization, sha256};
use crate::tls;

/// How long one object may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer to a failure that is read.
const LONGEST_ANSWER: u64 = 16 << 10;
/// What stays as it is in the path of an object's URL.
const PATH: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// What a file is, which decides how it may be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A segment or an init segment of this media type: it never changes.
    Media(&'static str),
    /// A playlist: it changes with every segment.
    Playlist,
}

impl Kind {
    fn content_type(self) -> &'static str {
        match self {
            Kind::Media(kind) => kind,
            Kind::Playlist => PLAYLIST_TYPE,
        }
    }

    fn cache_control(self) -> &'static str {
        match self {
            Kind::Media(_) => "public, max-age=3600, immutable",
            Kind::Playlist => "no-cache",
        }
    }
}

/// A place for files. Its methods may block.
pub(super) trait Store: Send + Sync {
    /// Makes a file, or replaces one: readers see the old or the new one.
    ///
    /// # Errors
    /// What went wrong, in words without secrets.
    fn put(&self, path: &str, pieces: &[Bytes], kind: Kind) -> Result<(), String>;

    /// Removes a file.
    ///
    /// # Errors
    /// What went wrong, in words without secrets.
    fn remove(&self, path: &str) -> Result<(), String>;

    /// The files in a folder that an earlier run of the server has left.
    fn left(&self, folder: &str) -> Vec<String>;

    /// Its name in the log.
    fn name(&self) -> String;
}

/// A folder on a disk.
#[derive(Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    fn write(&self, path: &str, pieces: &[Bytes]) -> io::Result<()> {
        let path = self.0.join(path);
        let folder = path.parent().unwrap_or(&self.0);
        fs::create_dir_all(folder)?;
        // In the same folder, so that renaming is one step; a web server does not serve hidden files.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = folder.join(format!(".{name}.part"));
        let written = write_pieces(&unfinished, pieces).and_then(|()| fs::rename(&unfinished, &path));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written
    }
}

fn write_pieces(path: &Path, pieces: &[Bytes]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    pieces.iter().try_for_each(|piece| file.write_all(piece))
}

impl Store for Folder {
    fn put(&self, path: &str, pieces: &[Bytes], _: Kind) -> Result<(), String> {
        self.write(path, pieces).map_err(|error| format!("cannot write {path}: {error}"))
    }

    fn remove(&self, path: &str) -> Result<(), String> {
        match fs::remove_file(self.0.join(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("cannot remove {path}: {error}")),
            _ => Ok(()),
        }
    }

    fn left(&self, folder: &str) -> Vec<String> {
        let is_ours = |name: &String| name.ends_with(".m4s") || name.ends_with(".ts") || name.ends_with(".mp4");
        let entries = fs::read_dir(self.0.join(folder)).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(is_ours).collect()
    }

    fn name(&self) -> String {
        self.0.display().to_string()
    }
}

/// A store that speaks the protocol of S3.
pub(super) struct S3 {
    settings: S3Settings,
    agent: Agent,
    /// Scheme and authority of the endpoint, and its path without a slash at the end.
    base: String,
    authority: String,
    path: String,
}

impl S3 {
    /// # Errors
    /// The endpoint is no URL of HTTP.
    pub(super) fn new(settings: &S3Settings) -> Result<Self, String> {
        let (base, authority, path) = settings.endpoint()?;
        let config = Agent::config_builder()
            .tls_config(tls::of_calls(RootCerts::PlatformVerifier, true))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .user_agent(concat!("anabranch/", env!("CARGO_PKG_VERSION")));
        Ok(S3 { settings: settings.clone(), agent: config.build().into(), base, authority, path })
    }

    /// The path of an object's URL.
    fn object(&self, path: &str) -> String {
        let S3Settings { bucket, prefix, .. } = &self.settings;
        let parts = [bucket.as_str(), prefix.trim_matches('/'), path];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        format!("{}/{}", self.path, utf8_percent_encode(&parts.join("/"), &PATH))
    }

    fn call(&self, method: &str, path: &str, body: &[u8], kind: Option<Kind>) -> Result<(), String> {
        let S3Settings { access_key, secret_key, region, .. } = &self.settings;
        let object = self.object(path);
        let (hash, time) = (sha256(body), now());
        let fields = [("host", self.authority.as_str()), ("x-amz-content-sha256", &hash), ("x-amz-date", &time)];
        let credentials = Credentials { access_key: &access_key.0, secret_key: &secret_key.0, region };
        let signed =
            authorization(&credentials, &Request { method, path: &object, fields: &fields, hash: &hash, time: &time });
        let url = format!("{}{object}", self.base);
        let sent = match kind {
            Some(kind) => self
                .agent
                .put(url)
                .header("x-amz-content-sha256", &hash)
                .header("x-amz-date", &time)
                .header("authorization", signed)
                .header("content-type", kind.content_type())
                .header("cache-control", kind.cache_control())
                .send(body),
            None => self
                .agent
                .delete(url)
                .header("x-amz-content-sha256", &hash)
                .header("x-amz-date", &time)
                .header("authorization", signed)
                .call(),
        };
        let mut answer = sent.map_err(|error| format!("cannot reach {}: {error}", self.name()))?;
        let status = answer.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(());
        }
        // Of the answer only the code: the rest may repeat what was signed.
        let text = answer.body_mut().with_config().limit(LONGEST_ANSWER).read_to_string().unwrap_or_default();
        let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code);
        let code = code.filter(|code| code.len() < 64 && code.chars().all(|c| c.is_ascii_alphanumeric()));
        let code = code.map(|code| format!(" {code}")).unwrap_or_default();
        Err(format!("{} answered {status}{code} to {method} of {path}", self.name()))
    }
}

impl Store for S3 {
    fn put(&self, path: &str, pieces: &[Bytes], kind: Kind) -> Result<(), String> {
        self.call("PUT", path, &pieces.concat(), Some(kind))
    }

    fn remove(&self, path: &str) -> Result<(), String> {
        if self.settings.delete { self.call("DELETE", path, &[], None) } else { Ok(()) }
    }

    fn left(&self, _: &str) -> Vec<String> {
        Vec::new()
    }

    fn name(&self) -> String {
        format!("{}/{}", self.base, self.settings.bucket)
    }
}

/// The present time as `20261126T104310Z`.
fn now() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let time = i64::try_from(since).ok().and_then(|since| UtcDateTime::from_unix_timestamp(since).ok());
    let time = time.unwrap_or(UtcDateTime::MAX);
    let ((year, month, day), (hour, minute, second)) = (time.to_calendar_date(), time.as_hms());
    format!("{year:04}{:02}{day:02}T{hour:02}{minute:02}{second:02}Z", u8::from(month))
}
