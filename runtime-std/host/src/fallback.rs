//! Plays the fallbacks of streams: a FLV file again and again, or another stream.
//!
//! One thread looks at the names that change, and gives each stream that wants its fallback a thread. That reads the file in
//! pieces, in step with its timestamps, and ends when the stream has a publisher or no player.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::{Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_core::conn::FallbackOf;
use anabranch_core::flv::{Repeat, TagReader};
use anabranch_core::message::{Message, MessageType};
use anabranch_core::source::{Frame, FrameKind, WireFormat};
use anabranch_core::url::{StreamKey, shortened};
use tracing::{error, info, warn};

use crate::handle::Handle;
use crate::local::{Over, Publication, Update};

/// Streams whose fallback plays at the same time.
const MOST: usize = 64;
/// As many of them at most have had no publisher: a client can wait for any number of such names.
const MOST_UNKNOWN: usize = MOST / 2;
/// The longest tag of a file.
const LONGEST_TAG: usize = 16 << 20;
/// What is read of a file at once.
const PIECE: usize = 64 << 10;
/// How often the thread of a fallback looks whether the server stops and whether there are players.
const LOOK: Duration = Duration::from_millis(100);
/// How long it waits after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// What the thread that looks at names gets.
enum News {
    /// Names have changed.
    Changed,
    /// The fallback of a stream has ended.
    Ended(StreamKey),
}

struct Wakes(Sender<News>);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(News::Changed);
    }
}

/// Begins to play fallbacks.
///
/// # Errors
/// A thread cannot be started.
pub(crate) fn start(handle: &Handle) -> io::Result<()> {
    let (sender, news) = mpsc::channel();
    let wakes = Waker::from(Arc::new(Wakes(sender.clone())));
    let looking = handle.clone();
    thread::Builder::new().name("fallbacks".to_owned()).spawn(move || look(&looking, &sender, &news))?;
    handle.core().hub().collect_wants(wakes);
    Ok(())
}

/// The streams whose fallback plays, and those that wait until fewer play.
#[derive(Debug, Default)]
struct Active {
    playing: HashSet<StreamKey>,
    waiting: BTreeSet<StreamKey>,
    /// Of the streams with players, those that have had a publisher.
    known: HashSet<StreamKey>,
}

/// Whether a fallback may play.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Free,
    Taken,
    /// As many play as may; true for the first one that waits.
    Full(bool),
}

impl Active {
    /// What is known of a name that has changed.
    fn note(&mut self, key: &StreamKey, is_published: bool, is_played: bool) {
        if is_published {
            self.known.insert(key.clone());
        } else if !is_played {
            self.known.remove(key);
        }
    }

    fn take(&mut self, key: &StreamKey) -> Place {
        if self.playing.contains(key) {
            return Place::Taken;
        }
        let unknown = || self.playing.iter().filter(|key| !self.known.contains(key)).count();
        if self.playing.len() >= MOST || !self.known.contains(key) && unknown() >= MOST_UNKNOWN {
            let is_first = self.waiting.is_empty();
            self.waiting.insert(key.clone());
            return Place::Full(is_first);
        }
        self.waiting.remove(key);
        self.playing.insert(key.clone());
        Place::Free
    }

    /// Its fallback plays no more. Returns the streams to look at.
    fn ended(&mut self, key: StreamKey) -> BTreeSet<StreamKey> {
        self.playing.remove(&key);
        let mut keys = std::mem::take(&mut self.waiting);
        keys.insert(key);
        keys
    }
}

fn look(handle: &Handle, sender: &Sender<News>, news: &Receiver<News>) {
    let mut active = Active::default();
    while !handle.is_stopping() {
        let mut keys = handle.core().hub().wants();
        match news.recv_timeout(LOOK * 10) {
            Ok(News::Ended(key)) => {
                keys.append(&mut active.ended(key));
            }
            Ok(News::Changed) | Err(_) => {}
        }
        let hub = handle.core().hub();
        keys.append(&mut hub.wants());
        for key in &keys {
            active.note(key, hub.holder(key).is_some(), hub.clients(key) > 0);
        }
        keys.retain(|key| hub.wants_fallback(key));
        for key in keys {
            let Some(fallback) = handle.core().fallback(&key) else {
                continue;
            };
            match active.take(&key) {
                Place::Free => {}
                Place::Full(true) => {
                    warn!(
                        event = "fallback_failed",
                        "{MOST} fallbacks play already, or {MOST_UNKNOWN} of streams that had no publisher; no more play at the \
                         same time"
                    );
                    continue;
                }
                Place::Full(false) | Place::Taken => continue,
            }
            let plays = Plays { handle: handle.clone(), key: key.clone() };
            let ended = sender.clone();
            let started = thread::Builder::new().name("fallback".to_owned()).spawn(move || {
                if catch_unwind(AssertUnwindSafe(|| plays.play(&fallback))).is_err() {
                    error!(event = "bug", "the code that plays a fallback panicked, which is a bug");
                    thread::sleep(AFTER_FAILURE);
                }
                let _ = ended.send(News::Ended(plays.key));
            });
            if let Err(error) = started {
                warn!(event = "fallback_failed", error = %error, "cannot start a thread for a fallback: {error}");
                let _ = sender.send(News::Ended(key));
                thread::sleep(LOOK);
            }
        }
    }
}

/// The fallback of one stream.
struct Plays {
    handle: Handle,
    key: StreamKey,
}

/// Why a fallback does not go on.
enum End {
    /// The stream has a publisher or no player, or the server stops.
    NotWanted,
    Failed(String),
}

impl From<Over> for End {
    fn from(_: Over) -> Self {
        End::NotWanted
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        End::Failed(error.to_string())
    }
}

impl Plays {
    fn play(&self, fallback: &FallbackOf) {
        let (vhost, app, stream) = (self.key.vhost(), self.key.app(), self.key.stream());
        let (vhost, app, stream) = (&*shortened(vhost), &*shortened(app), &*shortened(stream));
        let shown = self.key.shown();
        let end = match fallback {
            FallbackOf::File(path) => self.play_file(path),
            FallbackOf::Stream(other) => self.play_stream(other),
        };
        match end {
            Err(End::Failed(words)) => {
                warn!(
                    event = "fallback_failed",
                    vhost,
                    app,
                    stream,
                    error = words,
                    "the fallback of {shown} fails: {words}"
                );
                let again = Instant::now() + AFTER_FAILURE;
                while Instant::now() < again && !self.handle.is_stopping() {
                    thread::sleep(LOOK);
                }
            }
            Ok(()) | Err(End::NotWanted) => {
                info!(event = "fallback_ended", vhost, app, stream, "the fallback of {shown} does not play any more");
            }
        }
    }

    fn begin(&self) -> Result<Publication, End> {
        let publication = self.handle.publish_fallback(&self.key).map_err(|_| End::NotWanted)?;
        let (vhost, app, stream) = (self.key.vhost(), self.key.app(), self.key.stream());
        let (vhost, app, stream) = (&*shortened(vhost), &*shortened(app), &*shortened(stream));
        info!(event = "fallback_began", vhost, app, stream, "the fallback of {} plays", self.key.shown());
        Ok(publication)
    }

    /// Fails if nothing wants the fallback any more.
    fn is_wanted(&self) -> Result<(), End> {
        let wanted = !self.handle.is_stopping() && self.handle.core().hub().clients(&self.key) > 0;
        if wanted { Ok(()) } else { Err(End::NotWanted) }
    }

    fn wait_until(&self, due: Instant, publication: &Publication) -> Result<(), End> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(LOOK));
            self.is_wanted()?;
            if publication.is_over() {
                return Err(End::NotWanted);
            }
        }
    }

    fn play_file(&self, path: &str) -> Result<(), End> {
        let (mut times, mut piece) = (Repeat::default(), vec![0; PIECE]);
        let mut playing: Option<(Publication, Instant)> = None;
        loop {
            let mut file = File::open(path).map_err(|error| End::Failed(format!("{path}: {error}")))?;
            let (mut reader, mut tags) = (TagReader::with_limit(LONGEST_TAG), 0_u64);
            loop {
                let count = file.read(&mut piece)?;
                if count == 0 {
                    break;
                }
                let mut bytes = &piece[..count];
                while let Some(tag) =
                    reader.read(&mut bytes).map_err(|error| End::Failed(format!("{path}: {error}")))?
                {
                    let mut message = Message::from(tag);
                    let is_media = matches!(message.type_id, MessageType::AUDIO | MessageType::VIDEO);
                    if !is_media && message.type_id != MessageType::DATA_AMF0 {
                        continue;
                    }
                    let (publication, begun) = match &mut playing {
                        Some((publication, begun)) => (publication, *begun),
                        other => {
                            let (publication, begun) = other.insert((self.begin()?, Instant::now()));
                            (publication, *begun)
                        }
                    };
                    if is_media {
                        tags += 1;
                        let time = times.next(message.timestamp);
                        message.timestamp = time as u32;
                        self.wait_until(begun + Duration::from_millis(time), publication)?;
                    } else {
                        message.timestamp = 0;
                    }
                    publication.push(message)?;
                }
            }
            if tags == 0 {
                return Err(End::Failed(format!("{path} has no audio and no video")));
            }
            times.again();
            self.is_wanted()?;
        }
    }

    fn play_stream(&self, other: &StreamKey) -> Result<(), End> {
        // Also from another server that has it.
        let mut subscription = self.handle.subscribe_to(other).wanting();
        let mut publication: Option<Publication> = None;
        loop {
            self.is_wanted()?;
            match subscription.recv_timeout(LOOK) {
                Some(Update::Frame(frame)) => {
                    let publication = match &mut publication {
                        Some(publication) => publication,
                        other => other.insert(self.begin()?),
                    };
                    publication.push(message_of(&frame))?;
                }
                Some(Update::Ended) => publication = None,
                Some(Update::Missed(_)) | None => {}
            }
            if publication.is_none() && !self.handle.core().hub().wants_fallback(&self.key) {
                return Err(End::NotWanted);
            }
        }
    }
}

fn message_of(frame: &Frame) -> Message {
    let (time, body) = (frame.timestamp(), frame.payload().into_owned());
    match frame.kind() {
        FrameKind::Audio => Message::audio(time, body),
        FrameKind::Video => Message::video(time, body),
        FrameKind::Data => Message::data(time, body),
    }
}

/// Bytes of a file in which a picture that players can begin at must come.
const LONGEST_START: usize = 64 << 20;

/// Whether a file can be played as a fallback.
///
/// # Errors
/// It cannot be read, is no FLV, or has nothing that players can begin at.
pub fn check_fallback(path: &str) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{path}: {error}");
    let mut file = File::open(path).map_err(|error| failed(&error))?;
    let (mut reader, mut piece, mut total) = (TagReader::with_limit(LONGEST_TAG), vec![0; PIECE], 0);
    let (mut pictures, mut sounds) = (false, false);
    while total < LONGEST_START {
        let count = file.read(&mut piece).map_err(|error| failed(&error))?;
        if count == 0 {
            break;
        }
        total += count;
        let mut bytes = &piece[..count];
        while let Some(tag) = reader.read(&mut bytes).map_err(|error| failed(&error))? {
            let frame = Frame::encode(Message::from(tag), WireFormat { chunk_size: 60_000 });
            if frame.is_join_point() {
                return Ok(());
            }
            pictures |= frame.kind() == FrameKind::Video && frame.class().is_coded();
            sounds |= frame.kind() == FrameKind::Audio && frame.class().is_coded();
        }
    }
    match (pictures, sounds) {
        (true, _) => Err(format!("{path} has pictures and no key frame")),
        (false, true) => Ok(()),
        (false, false) => Err(format!("{path} has no audio and no video")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use anabranch_core::flv::tag;

    use super::*;

    fn file(name: &str, tags: &[(u8, &[u8])]) -> PathBuf {
        let mut bytes = Vec::new();
        tag::write_file_header(true, true, &mut bytes);
        for (type_id, body) in tags {
            tag::write_tag(*type_id, 0, body, &mut bytes).expect("it is short");
        }
        let path = std::env::temp_dir().join(format!("anabranch-fallback-{}-{name}.flv", std::process::id()));
        std::fs::write(&path, bytes).expect("it can be written");
        path
    }

    #[test]
    fn a_fallback_that_had_to_wait_plays_when_another_one_has_ended() {
        let key = |number: usize| StreamKey::new("v", "live", &number.to_string()).expect("a name");
        let mut active = Active::default();
        for number in 0..MOST + 2 {
            active.note(&key(number), true, true);
        }
        for number in 0..MOST {
            assert_eq!(active.take(&key(number)), Place::Free);
        }
        assert_eq!(active.take(&key(0)), Place::Taken);
        assert_eq!(active.take(&key(MOST)), Place::Full(true), "this is told");
        assert_eq!(active.take(&key(MOST + 1)), Place::Full(false));
        assert_eq!(active.ended(key(3)), BTreeSet::from([key(3), key(MOST), key(MOST + 1)]));
        assert_eq!(active.take(&key(MOST)), Place::Free);
        assert_eq!(active.take(&key(3)), Place::Full(true), "it is told again");
    }

    #[test]
    fn streams_that_had_a_publisher_find_a_place_whatever_else_is_waited_for() {
        let key = |name: String| StreamKey::new("v", "live", &name).expect("a name");
        let mut active = Active::default();
        for number in 0..MOST_UNKNOWN {
            assert_eq!(active.take(&key(format!("invented{number}"))), Place::Free);
        }
        assert_eq!(active.take(&key("another".to_owned())), Place::Full(true));
        for number in 0..MOST - MOST_UNKNOWN {
            let real = key(format!("cam{number}"));
            active.note(&real, true, true);
            active.note(&real, false, true);
            assert_eq!(active.take(&real), Place::Free);
        }
        // A name that nothing plays any more is forgotten.
        active.ended(key("cam0".to_owned()));
        active.note(&key("cam0".to_owned()), false, false);
        assert_eq!(active.take(&key("cam0".to_owned())), Place::Full(true));
        assert!(active.known.len() < MOST);
    }

    #[test]
    fn a_file_must_have_something_that_players_can_begin_at() {
        let header: (u8, &[u8]) = (9, &[0x17, 0, 0, 0, 0, 1]);
        let files = [
            ("key", file("key", &[header, (9, &[0x17, 1, 0, 0, 0, 9])]), true),
            ("sound", file("sound", &[(8, &[0xAF, 0, 0x12, 0x10]), (8, &[0xAF, 1, 7])]), true),
            ("keyless", file("keyless", &[header, (9, &[0x27, 1, 0, 0, 0, 9]), (8, &[0xAF, 1, 7])]), false),
            ("empty", file("empty", &[]), false),
        ];
        for (name, path, is_good) in files {
            let found = check_fallback(path.to_str().expect("UTF-8"));
            assert_eq!(found.is_ok(), is_good, "{name}: {found:?}");
            std::fs::remove_file(path).expect("it is there");
        }
        let none = check_fallback("/nowhere/loop.flv").expect_err("there is none");
        assert!(none.starts_with("/nowhere/loop.flv: "), "{none}");
        let no_flv = std::env::temp_dir().join(format!("anabranch-fallback-{}.txt", std::process::id()));
        std::fs::write(&no_flv, "not a film at all").expect("it can be written");
        assert!(check_fallback(no_flv.to_str().expect("UTF-8")).is_err());
        std::fs::remove_file(no_flv).expect("it is there");
    }
}
