use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The key from which the names of segments are made. All servers that answer for one another have the same.
#[derive(Clone)]
pub struct NameKey([u8; 32]);

impl NameKey {
    /// A key of random bytes.
    pub fn new(key: [u8; 32]) -> Self {
        NameKey(key)
    }
}

impl std::fmt::Debug for NameKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NameKey(..)")
    }
}

/// The names of one stream's segments.
#[derive(Clone)]
pub(super) struct Names {
    key: NameKey,
    stream: Vec<u8>,
    /// What comes before names in playlists.
    folder: String,
}

crate::shown::debug_with_bytes!(Names { key, folder; stream });

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// An init segment, by number.
    Init(u64),
    Segment(u64),
    Part(u64, usize),
    /// The init segment of one track alone, by its number: of the pictures, or else of the sound.
    TrackInit(u64, bool),
    /// One track of a segment, by the name that a player of DASH makes from a [template](Names::template).
    Track(ByTime),
}

/// One track of a segment, by its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ByTime {
    /// True for the pictures, false for the sound.
    pub(super) is_video: bool,
    /// When it begins, in units of the track since 1970.
    pub(super) time: u64,
    /// Number of the newest segment of the manifest that the name is from.
    pub(super) newest: u64,
}

impl Names {
    pub(super) fn new(key: NameKey, stream: &[u8]) -> Self {
        Names { key, stream: stream.to_vec(), folder: String::new() }
    }

    pub(super) fn set_folder(&mut self, folder: &str) {
        folder.clone_into(&mut self.folder);
    }

    /// What comes before names in playlists.
    pub(super) fn folder(&self) -> &str {
        &self.folder
    }

    /// The name of something of a publication: numbers, and 128 bits as hexadecimal digits. Never a name that a client
    /// chose.
    pub(super) fn name(&self, publication: u64, named: Named, extension: &str) -> String {
        match named {
            Named::Init(number) => format!("i{number}-{:032x}.{extension}", self.bits(publication, 0, number, 0)),
            Named::Segment(number) => format!("{number}-{:032x}.{extension}", self.bits(publication, 1, number, 0)),
            Named::Part(number, part) => {
                format!("{number}.{part}-{:032x}.{extension}", self.bits(publication, 2, number, part as u64))
            }
            Named::TrackInit(number, is_video) => {
                let bits = self.bits(publication, 4, number, is_video.into());
                format!("i{}{number}-{bits:032x}.{extension}", letter(is_video))
            }
            Named::Track(ByTime { is_video, time, newest }) => {
                self.template(is_video, newest, extension).replace("$Time$", &time.to_string())
            }
        }
    }

    /// From this a player of DASH makes the names of one track of all segments up to that of the number `newest`. The
    /// bits depend on that number: a client that has a manifest has no names of later segments.
    pub(super) fn template(&self, is_video: bool, newest: u64, extension: &str) -> String {
        format!("{}$Time$.{newest}-{:032x}.{extension}", letter(is_video), self.bits(0, 3, newest, 0))
    }

    /// What a name says that it stands for; whether it is right shows when it is made again.
    pub(super) fn parse(name: &str) -> Option<Named> {
        let (numbers, rest) = name.split_once('-')?;
        if rest.len() < 32 {
            return None;
        }
        if let Some(number) = numbers.strip_prefix('i') {
            return Some(match of_track(number) {
                Some((is_video, number)) => Named::TrackInit(parse_number(number)?, is_video),
                None => Named::Init(parse_number(number)?),
            });
        }
        if let Some((is_video, numbers)) = of_track(numbers) {
            let (time, newest) = numbers.split_once('.')?;
            let (time, newest) = (parse_number(time)?, parse_number(newest)?);
            return Some(Named::Track(ByTime { is_video, time, newest }));
        }
        Some(match numbers.split_once('.') {
            Some((number, part)) => Named::Part(parse_number(number)?, parse_number(part)?.try_into().ok()?),
            None => Named::Segment(parse_number(numbers)?),
        })
    }

    fn bits(&self, publication: u64, kind: u8, number: u64, part: u64) -> u128 {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key.0).expect("an HMAC key may have any length");
        mac.update(&[kind]);
        for number in [publication, number, part] {
            mac.update(&number.to_be_bytes());
        }
        mac.update(&self.stream);
        let bytes = mac.finalize().into_bytes();
        bytes.iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte))
    }
}

/// What tells the names of tracks from each other.
fn letter(is_video: bool) -> char {
    if is_video { 'v' } else { 'a' }
}

/// Whether a name is of the pictures, and what comes behind its letter.
fn of_track(name: &str) -> Option<(bool, &str)> {
    [true, false].into_iter().find_map(|is_video| Some((is_video, name.strip_prefix(letter(is_video))?)))
}

/// Decimal digits only.
pub(super) fn parse_number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}
