use std::fmt;

use super::{DEFAULT_QUESTIONS, Rate, Refusal};

/// How many there may be of what, for a server or one of its virtual hosts. `None`: any number. `Some(0)`: none.
/// All but the questions are counted when they are granted, never before.
///
/// The defaults are far above what a machine for which nothing was configured serves, and keep strangers from taking
/// memory without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections, whatever they do: those whose `connect` named the virtual host, and those that came to publish or
    /// play a stream of it from another one. Default 30 000.
    pub connections: Option<u32>,
    /// Publishers. Default 4000.
    pub publishers: Option<u32>,
    /// Players of all streams. Default 30 000.
    pub players: Option<u32>,
    /// Players of each stream. Default `None`.
    pub stream_players: Option<u32>,
    /// Streams that have a publisher or players who wait for one. Default 8000.
    pub streams: Option<u32>,
    /// What each publisher may send, with all that its connection sends beside media; see
    /// [`RateMeter`](super::RateMeter). Default `None`.
    pub publisher_rate: Option<Rate>,
    /// Questions to the outside that are open, shared out by [`Questions`](super::Questions). Default
    /// [`DEFAULT_QUESTIONS`](super::DEFAULT_QUESTIONS).
    pub questions: Option<u32>,
}

impl Limits {
    /// Any number of everything.
    pub const NONE: Limits = Limits {
        connections: None,
        publishers: None,
        players: None,
        stream_players: None,
        streams: None,
        publisher_rate: None,
        questions: None,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: Some(30_000),
            publishers: Some(4000),
            players: Some(30_000),
            streams: Some(8000),
            questions: Some(DEFAULT_QUESTIONS),
            ..Limits::NONE
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counted {
    /// Connections, whatever they do.
    Connections,
    /// Publishers.
    Publishers,
    /// Players of all streams.
    Players,
    /// Players of one stream.
    StreamPlayers,
    /// Streams.
    Streams,
    /// Requests about which the outside is asked.
    Questions,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Counted::Connections => "connections",
            Counted::Publishers => "publishers",
            Counted::Players => "players",
            Counted::StreamPlayers => "players of this stream",
            Counted::Streams => "streams",
            Counted::Questions => "requests that wait for an answer",
        })
    }
}

impl Limits {
    /// The most there may be.
    pub fn max(&self, kind: Counted) -> Option<u32> {
        match kind {
            Counted::Connections => self.connections,
            Counted::Publishers => self.publishers,
            Counted::Players => self.players,
            Counted::StreamPlayers => self.stream_players,
            Counted::Streams => self.streams,
            Counted::Questions => self.questions,
        }
    }

    /// Whether there may be one more than `present`.
    ///
    /// # Errors
    /// [`Refusal::Limit`].
    pub fn check(&self, kind: Counted, present: usize) -> Result<(), Refusal> {
        match self.max(kind) {
            Some(max) if usize::try_from(max).is_ok_and(|max| present >= max) => Err(Refusal::Limit(kind)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_limit() {
        let limits = Limits {
            connections: Some(0),
            publishers: Some(1),
            players: Some(2),
            stream_players: Some(3),
            streams: Some(4),
            questions: Some(5),
            publisher_rate: None,
        };
        let all = [
            Counted::Connections,
            Counted::Publishers,
            Counted::Players,
            Counted::StreamPlayers,
            Counted::Streams,
            Counted::Questions,
        ];
        for (most, kind) in all.into_iter().enumerate() {
            assert!((0..most).all(|present| limits.check(kind, present).is_ok()), "{kind}");
            assert_eq!(limits.check(kind, most), Err(Refusal::Limit(kind)));
            assert_eq!(limits.check(kind, usize::MAX), Err(Refusal::Limit(kind)), "more than there may be, too");
            assert_eq!(limits.max(kind), u32::try_from(most).ok());
        }
    }

    #[test]
    fn without_limits_there_is_no_end() {
        for kind in [Counted::Connections, Counted::Publishers, Counted::Players, Counted::Streams] {
            assert_eq!(Limits::NONE.check(kind, usize::MAX), Ok(()));
        }
        let limits = Limits::default();
        assert_eq!(limits.check(Counted::Questions, 1999), Ok(()));
        assert_eq!(limits.check(Counted::Questions, 2000), Err(Refusal::Limit(Counted::Questions)));
    }
}
