use std::time::{Duration, Instant};

use super::web::{Failure, WebEvent};

/// Longest head of an answer.
const HEAD: usize = 16 << 10;
/// Longest playlist.
const PLAYLIST: usize = 1 << 20;

/// A viewer of HTTP Live Streaming on one connection that is kept: it gets the playlist, then each part that is new, and so
/// on. Of a low-latency playlist it asks for the next part, and the server answers when that is there; of others, and if it
/// is told so, it asks again after a while and gets whole segments.
#[derive(Debug)]
pub(super) struct HlsClient {
    authority: String,
    /// The path of the playlist, with parameters.
    playlist: String,
    uses_parts: bool,
    /// What is to be sent of the request.
    request: Vec<u8>,
    sent: usize,
    answer: Answer,
    waits_for: Want,
    /// Addresses of media that are to be got, the next one last.
    queue: Vec<String>,
    /// The media that was got last.
    newest: Option<String>,
    /// The address to ask for when all media is there, and not before this time.
    next: Option<(Instant, String)>,
}

#[derive(Debug)]
enum Answer {
    Head(Vec<u8>),
    Body { missing: usize, kept: Vec<u8> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Playlist,
    Media,
    Nothing,
}

impl HlsClient {
    pub(super) fn new(authority: &str, path: &str, uses_parts: bool) -> Self {
        let mut client = HlsClient {
            authority: authority.to_owned(),
            playlist: path.to_owned(),
            uses_parts,
            request: Vec::new(),
            sent: 0,
            answer: Answer::Head(Vec::new()),
            waits_for: Want::Nothing,
            queue: Vec::new(),
            newest: None,
            next: None,
        };
        client.ask(path, Want::Playlist);
        client
    }

    pub(super) fn outbound(&self) -> &[u8] {
        &self.request[self.sent..]
    }

    pub(super) fn advance(&mut self, count: usize) {
        self.sent += count;
    }

    /// When it asks again.
    pub(super) fn due(&self) -> Option<Instant> {
        let (at, _) = self.next.as_ref()?;
        (self.waits_for == Want::Nothing).then_some(*at)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.due().is_some_and(|at| at <= now) {
            self.go_on(now);
        }
    }

    /// Takes bytes of answers.
    pub(super) fn handle_input(
        &mut self,
        now: Instant,
        mut input: &[u8],
        event: &mut impl FnMut(WebEvent),
    ) -> Result<(), Failure> {
        while !input.is_empty() {
            match &mut self.answer {
                Answer::Head(head) => {
                    head.push(input[0]);
                    input = &input[1..];
                    if head.len() > HEAD {
                        return Err(Failure::Malformed);
                    }
                    if head.ends_with(b"\r\n\r\n") {
                        let head = String::from_utf8(std::mem::take(head)).map_err(|_| Failure::Malformed)?;
                        self.take_head(&head)?;
                    }
                }
                Answer::Body { missing, kept } => {
                    let (piece, rest) = input.split_at((*missing).min(input.len()));
                    input = rest;
                    *missing -= piece.len();
                    if self.waits_for == Want::Playlist {
                        kept.extend_from_slice(piece);
                    }
                }
            }
            if let Answer::Body { missing: 0, kept } = &mut self.answer {
                let body = std::mem::take(kept);
                self.answer = Answer::Head(Vec::new());
                self.take_answer(now, &body, event)?;
            }
        }
        Ok(())
    }

    fn take_head(&mut self, head: &str) -> Result<(), Failure> {
        let status = head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok()).ok_or(Failure::Malformed)?;
        let field = |name: &str| {
            let of_name = |line: &&str| line.split(':').next().is_some_and(|known| known.eq_ignore_ascii_case(name));
            head.lines().find(of_name).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
        };
        let length = field("Content-Length").and_then(|length| length.parse().ok()).ok_or(Failure::Malformed)?;
        match (status, field("Location")) {
            (200, _) => {}
            (302 | 307, Some(location)) if self.waits_for == Want::Playlist => {
                self.playlist = resolve(&self.playlist, location);
            }
            _ => return Err(Failure::Refused(status)),
        }
        if self.waits_for == Want::Playlist && length > PLAYLIST {
            return Err(Failure::Malformed);
        }
        self.answer = Answer::Body { missing: length, kept: Vec::new() };
        Ok(())
    }

    /// An answer is complete.
    fn take_answer(&mut self, now: Instant, body: &[u8], event: &mut impl FnMut(WebEvent)) -> Result<(), Failure> {
        match std::mem::replace(&mut self.waits_for, Want::Nothing) {
            Want::Media => event(WebEvent::Segment),
            // It was redirected.
            Want::Playlist if !body.starts_with(b"#EXTM3U") => {
                let path = self.playlist.clone();
                self.ask(&path, Want::Playlist);
            }
            Want::Playlist => {
                let text = std::str::from_utf8(body).map_err(|_| Failure::Malformed)?;
                self.read_playlist(now, text)?;
            }
            Want::Nothing => return Err(Failure::Malformed),
        }
        if self.waits_for == Want::Nothing {
            self.go_on(now);
        }
        Ok(())
    }

    fn read_playlist(&mut self, now: Instant, text: &str) -> Result<(), Failure> {
        if let Some(variant) = text.contains("#EXT-X-STREAM-INF").then(|| text.lines().find(|line| is_address(line))) {
            self.playlist = resolve(&self.playlist, variant.ok_or(Failure::Malformed)?);
            let path = self.playlist.clone();
            self.ask(&path, Want::Playlist);
            return Ok(());
        }
        if text.contains("#EXT-X-ENDLIST") {
            return Err(Failure::Over);
        }
        let number = |tag: &str| text.lines().find_map(|line| line.strip_prefix(tag)?.parse::<u64>().ok());
        let blocks = self.uses_parts && text.contains("CAN-BLOCK-RELOAD=YES");
        let (mut sequence, mut part) = (number("#EXT-X-MEDIA-SEQUENCE:").unwrap_or(0), 0);
        let mut media = Vec::new();
        for line in text.lines() {
            if is_address(line) {
                (sequence, part) = (sequence + 1, 0);
                if !blocks {
                    media.push(line);
                }
            } else if let Some(attributes) = line.strip_prefix("#EXT-X-PART:").filter(|_| blocks) {
                part += 1;
                media.extend(attributes.split("URI=\"").nth(1).and_then(|rest| rest.split('"').next()));
            }
        }
        // All after the newest that it has; in the beginning the newest.
        let known = self.newest.as_ref().and_then(|newest| media.iter().position(|name| name == newest));
        let begin = known.map_or(media.len().saturating_sub(1), |at| at + 1);
        let new: Vec<&str> = media.drain(begin..).collect();
        if let Some(newest) = new.last() {
            self.newest = Some((*newest).to_owned());
        }
        let is_new = !new.is_empty();
        self.queue = new.iter().rev().map(|name| resolve(&self.playlist, name)).collect();
        let path = &self.playlist;
        self.next = Some(if blocks {
            let mark = if path.contains('?') { '&' } else { '?' };
            (now, format!("{path}{mark}_HLS_msn={sequence}&_HLS_part={part}"))
        } else {
            // The draft: a target duration after one that was new, half of it after one that was not.
            let target = Duration::from_secs(number("#EXT-X-TARGETDURATION:").unwrap_or(2).clamp(1, 60));
            (now + if is_new { target } else { target / 2 }, path.clone())
        });
        Ok(())
    }

    /// Asks for what is next, if its time has come.
    fn go_on(&mut self, now: Instant) {
        if let Some(path) = self.queue.pop() {
            return self.ask(&path, Want::Media);
        }
        if let Some((_, path)) = self.next.take_if(|(at, _)| *at <= now) {
            self.ask(&path, Want::Playlist);
        }
    }

    fn ask(&mut self, path: &str, want: Want) {
        self.request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.authority).into_bytes();
        (self.sent, self.waits_for) = (0, want);
    }
}

fn is_address(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#')
}

/// An address in a playlist as a path.
fn resolve(playlist: &str, address: &str) -> String {
    if address.starts_with('/') {
        return address.to_owned();
    }
    if let Some(rest) = address.strip_prefix("http://") {
        return rest.find('/').map_or("/", |at| &rest[at..]).to_owned();
    }
    let folder = playlist.split('?').next().and_then(|path| path.rsplit_once('/')).map_or("", |(folder, _)| folder);
    format!("{folder}/{address}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client in its conversation with a server.
    struct Talk {
        client: HlsClient,
        now: Instant,
        segments: usize,
    }

    impl Talk {
        fn new(uses_parts: bool) -> Self {
            let client = HlsClient::new("h:80", "/live/cam.m3u8", uses_parts);
            Talk { client, now: Instant::now(), segments: 0 }
        }

        /// What it asks for.
        fn asked(&mut self) -> String {
            let request = String::from_utf8(self.client.outbound().to_vec()).expect("text");
            let count = request.len();
            self.client.advance(count);
            request.split(' ').nth(1).unwrap_or_default().to_owned()
        }

        /// Answers, byte by byte.
        fn answer(&mut self, head: &str, body: &str) -> Result<(), Failure> {
            let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            for byte in answer.bytes() {
                let segments = &mut self.segments;
                let mut count = |event| *segments += usize::from(matches!(event, WebEvent::Segment));
                self.client.handle_input(self.now, &[byte], &mut count)?;
            }
            Ok(())
        }
    }

    const LOW_LATENCY: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n\
        #EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:4,\ncam/7.m4s\n#EXT-X-PART:DURATION=0.5,URI=\"cam/8.0.m4s\"\n";

    #[test]
    fn parts_are_got_as_they_come_from_a_session_behind_a_redirect() {
        let mut talk = Talk::new(true);
        assert_eq!(talk.asked(), "/live/cam.m3u8");
        talk.answer("302 Found\r\nLocation: cam.m3u8?s=1", "").expect("fine");
        assert_eq!(talk.asked(), "/live/cam.m3u8?s=1");
        talk.answer("200 OK", LOW_LATENCY).expect("fine");
        assert_eq!(talk.asked(), "/live/cam/8.0.m4s");
        talk.answer("200 OK", "part").expect("fine");
        assert_eq!((talk.asked(), talk.segments), ("/live/cam.m3u8?s=1&_HLS_msn=8&_HLS_part=1".to_owned(), 1));
        let more = "#EXT-X-PART:DURATION=0.5,URI=\"cam/8.1.m4s\"\n#EXTINF:1,\ncam/8.m4s\n\
                    #EXT-X-PART:DURATION=0.5,URI=\"cam/9.0.m4s\"\n";
        talk.answer("200 OK", &format!("{LOW_LATENCY}{more}")).expect("fine");
        assert_eq!(talk.asked(), "/live/cam/8.1.m4s");
        talk.answer("200 OK", "part").expect("fine");
        assert_eq!(talk.asked(), "/live/cam/9.0.m4s");
        talk.answer("200 OK", "part").expect("fine");
        assert_eq!((talk.asked(), talk.segments), ("/live/cam.m3u8?s=1&_HLS_msn=9&_HLS_part=1".to_owned(), 3));
        assert_eq!(talk.answer("404 Not Found", ""), Err(Failure::Refused(404)));
    }

    #[test]
    fn segments_are_got_by_asking_again() {
        let mut talk = Talk::new(false);
        talk.answer("200 OK", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\ncam/media.m3u8\n").expect("fine");
        assert_eq!(talk.asked(), "/live/cam/media.m3u8");
        talk.answer("200 OK", LOW_LATENCY).expect("fine");
        assert_eq!(talk.asked(), "/live/cam/cam/7.m4s");
        talk.answer("200 OK", "segment").expect("fine");
        assert_eq!(talk.asked(), "", "it waits");
        let due = talk.client.due().expect("it asks again");
        assert_eq!(due, talk.now + Duration::from_secs(4));
        talk.client.handle_timeout(due - Duration::from_millis(1));
        assert_eq!(talk.asked(), "");
        talk.now = due;
        talk.client.handle_timeout(due);
        assert_eq!(talk.asked(), "/live/cam/media.m3u8");
        talk.answer("200 OK", LOW_LATENCY).expect("fine");
        assert_eq!(talk.client.due(), Some(due + Duration::from_secs(2)));
        let ended = format!("{LOW_LATENCY}#EXT-X-ENDLIST\n");
        talk.client.handle_timeout(due + Duration::from_secs(2));
        assert_eq!(talk.answer("200 OK", &ended), Err(Failure::Over));
    }
}
