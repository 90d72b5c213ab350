use std::fs::{self, File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anabranch_core::url::StreamKey;
use fnv::FnvHasher;
use percent_encoding::percent_encode_byte;
use rustix::fs::{FlockOperation, flock};
use time::UtcDateTime;

use super::settings::RecordSettings;

/// The most bytes of a file's name for a name that a client chose. File names have at most 255 bytes.
const LONGEST: usize = 60;
/// How often a free number is looked for when other programs take the numbers that were found.
const ATTEMPTS: u32 = 100;

/// The values that a file's name is made of.
#[derive(Debug)]
pub(super) struct FileName<'a> {
    pub(super) key: &'a StreamKey,
    pub(super) begin: SystemTime,
}

impl FileName<'_> {
    pub(super) fn vhost(&self) -> String {
        safe(self.key.vhost())
    }

    pub(super) fn app(&self) -> String {
        safe(self.key.app())
    }

    pub(super) fn stream(&self) -> String {
        safe(self.key.stream())
    }

    /// `20261126T104310Z`. A clock that is before 1970 or after 9999 is wrong, and shows the nearest time between.
    pub(super) fn time(&self) -> String {
        let since = self.begin.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let time = i64::try_from(since).ok().and_then(|since| UtcDateTime::from_unix_timestamp(since).ok());
        let time = time.unwrap_or(UtcDateTime::MAX);
        let ((year, month, day), (hour, minute, second)) = (time.to_calendar_date(), time.as_hms());
        format!("{year:04}{:02}{day:02}T{hour:02}{minute:02}{second:02}Z", u8::from(month))
    }
}

/// Makes a new file for a stream, and the folders that it needs.
///
/// # Errors
/// Errors of the system, with the name of the file.
pub(super) fn create(settings: &RecordSettings, name: &FileName<'_>) -> io::Result<(File, PathBuf)> {
    let path = settings.folder.join(settings.file.0.file(name, settings.format));
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(named)?;
    }
    let mut number = 0;
    for _ in 0..ATTEMPTS {
        let numbered_path = numbered(&path, number);
        // Never follow a link, never overwrite a file.
        match OpenOptions::new().read(true).write(true).create_new(true).open(&numbered_path) {
            Ok(file) => {
                // The lock keeps `repair` from changing the file now. Not every file system has locks.
                let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
                return Ok((file, numbered_path));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(named(error)),
        }
        number = free_number(|number| numbered(&path, number).symlink_metadata().is_ok());
    }
    Err(io::Error::new(
        ErrorKind::AlreadyExists,
        format!("{}: other programs make files with every number that was free", path.display()),
    ))
}

/// A free number after one that is taken. If all numbers up to some number are taken, it is the next one; finding it
/// takes at most twice as many steps as the number has binary digits.
fn free_number(is_taken: impl Fn(u64) -> bool) -> u64 {
    let (mut taken, mut free) = (0, 1);
    while is_taken(free) {
        (taken, free) = (free, free * 2);
    }
    while free - taken > 1 {
        let middle = taken + (free - taken) / 2;
        if is_taken(middle) { taken = middle } else { free = middle }
    }
    free
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{number}{extension}"))
}

/// A client's name as a part of a file name: letters, digits, `-`, `_` and inner dots stay, all other characters are
/// written as %XX. Different names stay different.
pub(crate) fn safe(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (at, c) in name.char_indices() {
        if c.is_alphanumeric() || matches!(c, '-' | '_') || (c == '.' && at > 0) {
            out.push(c);
        } else {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| out.push_str(percent_encode_byte(byte)));
        }
    }
    if out.len() <= LONGEST {
        return out;
    }
    // The beginning of the name, and a hash that distinguishes it from other names with this beginning.
    let mut end = LONGEST - 17;
    while !out.is_char_boundary(end) {
        end -= 1;
    }
    let mut hasher = FnvHasher::default();
    hasher.write(name.as_bytes());
    out.truncate(end);
    format!("{out}~{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_from_outside_lead_nowhere() {
        for (name, file) in [
            ("cam-1_x.2", "cam-1_x.2"),
            ("..", "%2E."),
            (".hidden", "%2Ehidden"),
            ("a/../../b", "a%2F..%2F..%2Fb"),
            ("a\0b", "a%00b"),
            ("a\\b:c*", "a%5Cb%3Ac%2A"),
            ("100%2F", "100%252F"),
            ("кам", "кам"),
            ("", ""),
        ] {
            assert_eq!(safe(name), file);
        }
        let (long, longer) = (safe(&"é".repeat(500)), safe(&"é".repeat(501)));
        assert!(long.len() <= LONGEST && long != longer, "{long} {longer}");
        // A restart, or another version, goes on with the same name.
        assert_eq!(safe(&"x".repeat(61)), format!("{}~1ae3f15d5cfaefb7", "x".repeat(43)));
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let key = StreamKey::new("v", "live", "cam").unwrap();
        let time = |seconds| FileName { key: &key, begin: UNIX_EPOCH + Duration::from_secs(seconds) }.time();
        assert_eq!(time(0), "19700101T000000Z");
        assert_eq!(time(951_782_399), "20000228T235959Z");
        assert_eq!(time(951_782_400), "20000229T000000Z");
        assert_eq!(time(1_795_689_790), "20261126T104310Z");
        assert_eq!(time(1_709_164_800), "20240229T000000Z", "a leap day");
        assert_eq!(time(1_735_689_599), "20241231T235959Z", "the 366th day");
        assert_eq!(time(4_107_542_399), "21000228T235959Z", "no leap year");
        assert_eq!(time(4_107_542_400), "21000301T000000Z");
        let before = FileName { key: &key, begin: UNIX_EPOCH - Duration::from_secs(1) };
        assert_eq!(before.time(), "19700101T000000Z", "the clock is wrong");
        assert_eq!([253_402_300_799, 253_402_300_800, 1 << 62].map(time), ["99991231T235959Z"; 3]);
    }

    #[test]
    fn a_free_number_is_found_in_few_steps() {
        for taken in [0, 1, 2, 3, 99, 1_000_000] {
            let looks = std::cell::Cell::new(0);
            let found = free_number(|number| {
                looks.set(looks.get() + 1);
                number <= taken
            });
            assert_eq!(found, taken + 1);
            assert!(looks.get() <= 42, "{taken}: {}", looks.get());
        }
        // Files were removed: any free number is right.
        assert!(![1, 2, 4, 5].contains(&free_number(|number| [1, 2, 4, 5].contains(&number))));
    }

    #[test]
    fn a_file_that_exists_is_not_touched() {
        let folder = std::env::temp_dir().join(format!("anabranch-names-{}", std::process::id()));
        let settings = RecordSettings { folder: folder.clone(), ..RecordSettings::default() };
        let key = StreamKey::new("v", "live/room", "cam").unwrap();
        let name = FileName { key: &key, begin: UNIX_EPOCH };
        let names: Vec<_> = (0..3).map(|_| create(&settings, &name).unwrap().1).collect();
        let expected =
            ["", "-1", "-2"].map(|number| folder.join(format!("live%2Froom/cam-19700101T000000Z{number}.flv")));
        assert_eq!(names, expected);
        fs::remove_dir_all(folder).unwrap();
    }
}
