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

/// Units of a second for times in manifests. JavaScript counts exactly to 104 days of them.
pub(super) const TEMPLATE_SCALE: u64 = 1_000_000_000;
/// Such units of a microsecond.
pub(super) const NANOSECONDS: u64 = 1000;
/// How much of a time is by the key at most: no player sees a millisecond.
const MOST_KEYED: u64 = 1_000_000;

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
    /// A segment by the name that DASH makes from a template: by its time there ([`Names::template_time`]).
    Template(u64),
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
            Named::Template(time) => format!("d{time}-{}.{extension}", self.template(publication)),
        }
    }

    /// The part of names by template that is the same for all segments of a publication.
    pub(super) fn template(&self, publication: u64) -> String {
        format!("{:032x}", self.bits(publication, 3, 0, 0))
    }

    /// The time of a segment in a manifest: its start, in units of [`TEMPLATE_SCALE`], and less than a millisecond by the
    /// key. A template is all that a manifest can say to all players, so that only the time tells one name from another:
    /// a client that has a manifest cannot go on with the times of later segments.
    pub(super) fn template_time(&self, publication: u64, number: u64, start: u64, duration: u64) -> u64 {
        let range = (duration * NANOSECONDS / 2).clamp(1, MOST_KEYED);
        start * NANOSECONDS + (self.bits(publication, 4, number, 0) % u128::from(range)) as u64
    }

    /// What a name says that it stands for; whether it is right shows when it is made again.
    pub(super) fn parse(name: &str) -> Option<Named> {
        let (numbers, rest) = name.split_once('-')?;
        if rest.len() < 32 {
            return None;
        }
        if let Some(number) = numbers.strip_prefix('i') {
            return Some(Named::Init(parse_number(number)?));
        }
        if let Some(number) = numbers.strip_prefix('d') {
            return Some(Named::Template(parse_number(number)?));
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

/// Decimal digits only.
pub(super) fn parse_number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}
