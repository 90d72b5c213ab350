use std::fmt;

use super::{DEFAULT_QUESTIONS, Rate, Refusal};

/// How many there may be of what, for a server or one of its virtual hosts. `None`: any number. `Some(0)`: none.
/// Default: all `None`, but for the questions. All but those are counted when they are granted, never before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections, whatever they do: those whose `connect` named the virtual host, and those that came to publish or
    /// play a stream of it from another one.
    pub connections: Option<u32>,
    /// Publishers.
    pub publishers: Option<u32>,
    /// Players of all streams.
    pub players: Option<u32>,
    /// Players of each stream.
    pub stream_players: Option<u32>,
    /// Streams that have a publisher or players who wait for one.
    pub streams: Option<u32>,
    /// What each publisher may send, with all that its connection sends beside media; see
    /// [`RateMeter`](super::RateMeter).
    pub publisher_rate: Option<Rate>,
    /// Questions to the outside that are open, shared out by [`Questions`](super::Questions). Default
    /// [`DEFAULT_QUESTIONS`](super::DEFAULT_QUESTIONS).
    pub questions: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: None,
            publishers: None,
            players: None,
            stream_players: None,
            streams: None,
            publisher_rate: None,
            questions: Some(DEFAULT_QUESTIONS),
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
    fn without_limits_there_is_no_end_but_of_questions() {
        let limits = Limits::default();
        for kind in [Counted::Connections, Counted::Publishers, Counted::Players, Counted::Streams] {
            assert_eq!(limits.check(kind, usize::MAX), Ok(()));
        }
        assert_eq!(limits.check(Counted::Questions, 1999), Ok(()));
        assert_eq!(limits.check(Counted::Questions, 2000), Err(Refusal::Limit(Counted::Questions)));
    }
}
