use std::fmt;

use super::{DEFAULT_QUESTIONS, Rate, Refusal};

/// The most connections, publishers, players and so on that a server or one of its virtual hosts may have. `None`: any
/// number. `Some(0)`: none. Questions count while they are open; everything else counts once it is granted.
///
/// The defaults are far above what a server without configuration usually serves, and still bound the memory that
/// clients can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections: those whose `connect` named the virtual host, and those that named another one and publish or play
    /// a stream of this one. Default 30 000.
    pub connections: Option<u32>,
    /// Publishers. Default 4000.
    pub publishers: Option<u32>,
    /// Players of all streams. Default 30 000.
    pub players: Option<u32>,
    /// Players of each stream. Default `None`.
    pub stream_players: Option<u32>,
    /// Streams that have a publisher, or players that wait for one. Default 8000.
    pub streams: Option<u32>,
    /// What the connection of each publisher may send, media and everything else; see
    /// [`RateMeter`](super::RateMeter). Default `None`.
    pub publisher_rate: Option<Rate>,
    /// Open questions to a back end, shared among clients by [`Questions`](super::Questions). Default
    /// [`DEFAULT_QUESTIONS`](super::DEFAULT_QUESTIONS).
    pub questions: Option<u32>,
}

impl Limits {
    /// No limits.
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

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counted {
    /// Connections.
    Connections,
    /// Publishers.
    Publishers,
    /// Players of all streams.
    Players,
    /// Players of one stream.
    StreamPlayers,
    /// Streams.
    Streams,
    /// Requests that wait for the answer of a back end.
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
    /// The most there may be of this kind.
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
            assert_eq!(limits.check(kind, usize::MAX), Err(Refusal::Limit(kind)), "more than the limit, too");
            assert_eq!(limits.max(kind), u32::try_from(most).ok());
        }
    }

    #[test]
    fn without_a_limit_any_number_is_allowed() {
        for kind in [Counted::Connections, Counted::Publishers, Counted::Players, Counted::Streams] {
            assert_eq!(Limits::NONE.check(kind, usize::MAX), Ok(()));
        }
        let limits = Limits::default();
        assert_eq!(limits.check(Counted::Questions, 1999), Ok(()));
        assert_eq!(limits.check(Counted::Questions, 2000), Err(Refusal::Limit(Counted::Questions)));
    }
}
