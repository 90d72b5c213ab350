use anabranch_core::url::{DEFAULT_VHOST, StreamKey};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::record::safe_name;

/// What stays as it is in a relative URL.
const URL: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the files of one stream are: `live/cam.m3u8` and `live/cam/NAME`. Names that clients chose never lead elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    folder: String,
    playlist: String,
    url_folder: String,
}

impl Place {
    pub(super) fn new(key: &StreamKey) -> Self {
        // No name that is made safe has this letter, so that an application is never taken for a virtual host.
        let vhost = if key.vhost() == DEFAULT_VHOST { String::new() } else { format!("@{}/", safe_name(key.vhost())) };
        let stream = safe_name(key.stream());
        let folder = format!("{vhost}{}/{stream}", safe_name(key.app()));
        Place { playlist: format!("{folder}.m3u8"), url_folder: utf8_percent_encode(&stream, &URL).to_string(), folder }
    }

    /// The folder of the segments.
    pub(super) fn folder(&self) -> &str {
        &self.folder
    }

    /// The playlist.
    pub(super) fn playlist(&self) -> &str {
        &self.playlist
    }

    /// The folder of the segments as the playlist names it.
    pub(super) fn url_folder(&self) -> &str {
        &self.url_folder
    }

    /// A file of the folder.
    pub(super) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_a_place_below_the_folder_and_the_playlist_leads_there() {
        let place = |vhost: &str, app: &str, stream: &str| Place::new(&StreamKey::new(vhost, app, stream).unwrap());
        let cam = place(DEFAULT_VHOST, "live", "cam");
        assert_eq!((cam.playlist(), &*cam.file("s1.ts"), cam.url_folder()), ("live/cam.m3u8", "live/cam/s1.ts", "cam"));
        let other = place("x.example", "live/room", "a b%2F..");
        assert_eq!(other.playlist(), "@x.example/live%2Froom/a%20b%252F...m3u8");
        assert_eq!(other.url_folder(), "a%2520b%25252F..", "the name of the folder, encoded once more");
    }
}
