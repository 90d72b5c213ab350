use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// A time as it is written in settings: a number with `ms`, `s`, `m` or `h` behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct TimeSpan(pub(crate) Duration);

impl TryFrom<String> for TimeSpan {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let milliseconds = match unit {
            "ms" => Some(1),
            "s" => Some(1000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        let time = number.parse::<u32>().ok().zip(milliseconds);
        match time {
            Some((number, unit)) if number > 0 => Ok(TimeSpan(Duration::from_millis(u64::from(number) * unit))),
            _ => Err(format!("{text:?} is no time such as \"10s\" or \"350ms\"")),
        }
    }
}

impl JsonSchema for TimeSpan {
    fn schema_name() -> Cow<'static, str> {
        "TimeSpan".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h)$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_is_not_none() {
        let read = |text: &str| TimeSpan::try_from(text.to_owned()).map(|time| time.0.as_millis());
        assert_eq!(
            (read("350ms"), read("10s"), read("2m"), read("1h")),
            (Ok(350), Ok(10_000), Ok(120_000), Ok(3_600_000))
        );
        for wrong in ["", "10", "s", "0s", "-1s", "1.5s", "5 seconds", "99999999999s"] {
            assert!(read(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
