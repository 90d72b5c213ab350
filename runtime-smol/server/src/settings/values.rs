use std::fmt;
use std::num::NonZero;
use std::time::Duration;

use anabranch_program::MemoryLimit;
use schemars::{Schema, json_schema};

use super::written::{Written, written};

written! {
    [] Time;
    [] Size;
    [] Most;
    [] Threads;
    [] Memory;
    [] Secret;
}

/// A duration, written with its unit: `10s`, `350ms`, `5m`, `1h`. `never` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

impl Time {
    /// No limit.
    pub(crate) const NEVER: Time = Time(Duration::MAX);

    /// `None` for no limit.
    pub(crate) fn limit(self) -> Option<Duration> {
        (self != Time::NEVER).then_some(self.0)
    }
}

const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl Written for Time {
    const NAME: &'static str = "Time";
    const FORM: &'static str = "a time, such as \"10s\", \"350ms\", \"5m\", \"1h\" or \"never\"";

    fn read(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Time::NEVER);
        }
        let error = || format!("{text:?} is not {}", Time::FORM);
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let (_, length) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(error)?;
        let number: u64 = number.parse().map_err(|_| error())?;
        number.checked_mul(*length).map(|length| Time(Duration::from_millis(length))).ok_or_else(error)
    }

    fn write(&self) -> String {
        let length = self.0.as_millis();
        if *self == Time::NEVER {
            return "never".to_owned();
        }
        let fits = |(_, unit): &&(&str, u64)| length > 0 && length.is_multiple_of(u128::from(*unit));
        let (name, unit) = UNITS.iter().find(fits).unwrap_or(&("s", 1000));
        format!("{}{name}", length / u128::from(*unit))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9]+ ?(ms|s|m|h)|never)$" })
    }
}

/// A number of bytes, with or without unit: `32MiB`, `64KiB`, `1200`. `unlimited` is any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl Size {
    /// No limit.
    pub(crate) const UNLIMITED: Size = Size(u64::MAX);

    /// As a number of bytes in memory.
    pub(crate) fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];

impl Written for Size {
    const NAME: &'static str = "Size";
    const FORM: &'static str = "a number of bytes such as \"32MiB\", \"64KiB\", 1200 or \"unlimited\"";

    fn read(text: &str) -> Result<Self, String> {
        if text == "unlimited" {
            return Ok(Size::UNLIMITED);
        }
        let error = || format!("{text:?} is not {}", Size::FORM);
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(error)?;
        let number: u64 = number.parse().map_err(|_| error())?;
        number.checked_mul(*bytes).map(Size).ok_or_else(error)
    }

    fn write(&self) -> String {
        if *self == Size::UNLIMITED {
            return "unlimited".to_owned();
        }
        let fits = |(_, unit): &&(&str, u64)| self.0 > 0 && self.0.is_multiple_of(*unit);
        let (name, unit) = SIZES.iter().find(fits).unwrap_or(&("", 1));
        format!("{}{name}", self.0 / unit)
    }

    fn number(&self) -> Option<i64> {
        self.write().parse().ok()
    }

    fn schema() -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "minimum": 0,
            "pattern": "^([0-9]+ ?([KMG]iB)?|unlimited)$",
        })
    }
}

/// The largest number of something: a number, or `unlimited`. 0 is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Most(pub(crate) Option<u32>);

impl Written for Most {
    const NAME: &'static str = "Most";
    const FORM: &'static str = "a number or \"unlimited\"";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "unlimited" => Ok(Most(None)),
            _ => text.parse().map(|most| Most(Some(most))).map_err(|_| format!("{text:?} is not {}", Most::FORM)),
        }
    }

    fn write(&self) -> String {
        self.0.map_or("unlimited".to_owned(), |most| most.to_string())
    }

    fn number(&self) -> Option<i64> {
        self.0.map(i64::from)
    }

    fn schema() -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "minimum": 0,
            "maximum": u32::MAX,
            "pattern": "^([0-9]+|unlimited)$",
        })
    }
}

/// How many threads serve connections: a number, or `auto` for one for each core.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Threads(pub(crate) Option<NonZero<usize>>);

impl Written for Threads {
    const NAME: &'static str = "Threads";
    const FORM: &'static str = "1 to 1024 threads or \"auto\"";

    fn read(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Threads(None)),
            (_, Ok(threads @ 1..=1024)) => Ok(Threads(NonZero::new(threads))),
            _ => Err(format!("{text:?} is not {}", Threads::FORM)),
        }
    }

    fn write(&self) -> String {
        self.0.map_or("auto".to_owned(), |threads| threads.to_string())
    }

    fn number(&self) -> Option<i64> {
        self.write().parse().ok()
    }

    fn schema() -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "minimum": 1,
            "maximum": 1024,
            "pattern": "^([0-9]+|auto)$",
        })
    }
}

/// Memory: a number of bytes, with or without unit, or `auto` for half of what the process may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Memory(pub(crate) MemoryLimit);

impl Written for Memory {
    const NAME: &'static str = "Memory";
    const FORM: &'static str = "a number of bytes such as \"512MiB\", or \"auto\"";

    fn read(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Memory(MemoryLimit::Auto));
        }
        match Size::read(text) {
            Ok(Size(bytes)) if bytes >= LEAST_MEMORY => Ok(Memory(MemoryLimit::Bytes(bytes))),
            Ok(_) => Err(format!("{text:?} is out of bounds: at least 1MiB")),
            Err(_) => Err(format!("{text:?} is not {}", Memory::FORM)),
        }
    }

    fn write(&self) -> String {
        match self.0 {
            MemoryLimit::Auto => "auto".to_owned(),
            MemoryLimit::Bytes(bytes) => Size(bytes).write(),
        }
    }

    fn number(&self) -> Option<i64> {
        self.write().parse().ok()
    }

    fn schema() -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "minimum": LEAST_MEMORY,
            "pattern": "^([0-9]+ ?([KMG]iB)?|auto|unlimited)$",
        })
    }
}

/// Less than this cannot hold a picture.
const LEAST_MEMORY: u64 = 1 << 20;

/// A text that is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Written for Secret {
    const NAME: &'static str = "Secret";
    const FORM: &'static str = "a text";

    fn read(text: &str) -> Result<Self, String> {
        Ok(Secret(text.to_owned()))
    }

    fn write(&self) -> String {
        self.0.clone()
    }

    /// `writeOnly` keeps it from being shown.
    fn schema() -> Schema {
        json_schema!({ "type": "string", "writeOnly": true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same<T: Written>(text: &str) -> String {
        T::read(text).map_or_else(|error| error, |value| value.write())
    }

    #[test]
    fn times_have_units_and_come_back_in_the_largest() {
        for (text, again) in [
            ("10s", "10s"),
            ("350ms", "350ms"),
            ("90 s", "90s"),
            ("60s", "1m"),
            ("120m", "2h"),
            ("0ms", "0s"),
            ("never", "never"),
        ] {
            assert_eq!(same::<Time>(text), again);
        }
        for wrong in ["10", "", "s", "-1s", "1.5s", "18446744073709551615h", "10 years", "Never"] {
            assert!(same::<Time>(wrong).contains("is not a time, such as"), "{wrong}");
        }
    }

    #[test]
    fn sizes_may_have_units() {
        for (text, again) in
            [("32MiB", "32MiB"), ("1024", "1KiB"), ("1200", "1200"), ("0", "0"), ("unlimited", "unlimited")]
        {
            assert_eq!(same::<Size>(text), again);
        }
        for wrong in ["", "MiB", "1MB", "-1", "99999999999GiB"] {
            assert!(same::<Size>(wrong).contains("is not a number of bytes"), "{wrong}");
        }
    }

    #[test]
    fn numbers_may_be_unlimited() {
        assert_eq!(["7", "0", "unlimited"].map(same::<Most>), ["7", "0", "unlimited"]);
        assert!(same::<Most>("-1").contains("is not a number"));
        assert_eq!(["7", "auto"].map(same::<Threads>), ["7", "auto"]);
        assert_eq!(["auto", "512MiB", "1073741824"].map(same::<Memory>), ["auto", "512MiB", "1GiB"]);
        assert!(same::<Memory>("1000").contains("at least 1MiB") && same::<Memory>("much").contains("is not"));
        assert!(same::<Threads>("0").contains("1 to 1024") && same::<Threads>("1025").contains("1 to 1024"));
    }

    #[test]
    fn secrets_are_not_shown_by_accident() {
        assert_eq!(format!("{:?}", Secret("s3cret".to_owned())), "Secret(..)");
    }
}
