use std::fmt;

use super::{Rate, Refusal};

/// How many there may be of what, for a server or one of its virtual hosts. `None`: any number. `Some(0)`: none.
/// Default: all `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Connections, whatever they do.
    pub connections: Option<u32>,
    /// Publishers.
    pub publishers: Option<u32>,
    /// Players of all streams.
    pub players: Option<u32>,
    /// Players of each stream.
    pub stream_players: Option<u32>,
    /// Streams that have a publisher or players who wait for one.
    pub streams: Option<u32>,
    /// What each publisher may send; see [`RateMeter`](super::RateMeter).
    pub publisher_rate: Option<Rate>,
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
    /// Players of one stream: each stream has a [`Usage`] of its own for them.
    StreamPlayers,
    /// Streams.
    Streams,
}

impl Counted {
    /// How many there are of these.
    const COUNT: usize = 5;
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Counted::Connections => "connections",
            Counted::Publishers => "publishers",
            Counted::Players => "players",
            Counted::StreamPlayers => "players of this stream",
            Counted::Streams => "streams",
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
        }
    }

    /// Whether there may be one more than `present`, for those who count themselves.
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

/// How many there are, held against [`Limits`].
///
/// Plain numbers: who adds one removes it when it ends, and removes again what was added before a later refusal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    limits: Limits,
    present: [usize; Counted::COUNT],
}

impl Usage {
    /// Nothing yet.
    pub fn new(limits: Limits) -> Self {
        Usage { limits, present: [0; Counted::COUNT] }
    }

    /// Counts one more.
    ///
    /// # Errors
    /// [`Refusal::Limit`]; nothing is counted then.
    pub fn try_add(&mut self, kind: Counted) -> Result<(), Refusal> {
        self.limits.check(kind, self.present(kind))?;
        let present = self.slot(kind);
        *present = present.saturating_add(1);
        Ok(())
    }

    /// Counts one less. Of nothing there is no less.
    pub fn remove(&mut self, kind: Counted) {
        let present = self.slot(kind);
        *present = present.saturating_sub(1);
    }

    /// How many there are.
    pub fn present(&self, kind: Counted) -> usize {
        let [connections, publishers, players, stream_players, streams] = self.present;
        match kind {
            Counted::Connections => connections,
            Counted::Publishers => publishers,
            Counted::Players => players,
            Counted::StreamPlayers => stream_players,
            Counted::Streams => streams,
        }
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Puts other limits in force. Who is there stays, even if there are too many now; the next is refused.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    fn slot(&mut self, kind: Counted) -> &mut usize {
        let [connections, publishers, players, stream_players, streams] = &mut self.present;
        match kind {
            Counted::Connections => connections,
            Counted::Publishers => publishers,
            Counted::Players => players,
            Counted::StreamPlayers => stream_players,
            Counted::Streams => streams,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Counted; Counted::COUNT] =
        [Counted::Connections, Counted::Publishers, Counted::Players, Counted::StreamPlayers, Counted::Streams];

    #[test]
    fn each_kind_has_its_own_limit_and_count() {
        let limits = Limits {
            connections: Some(0),
            publishers: Some(1),
            players: Some(2),
            stream_players: Some(3),
            streams: Some(4),
            publisher_rate: None,
        };
        let mut usage = Usage::new(limits);
        for (most, kind) in ALL.into_iter().enumerate() {
            for _ in 0..most {
                assert_eq!(usage.try_add(kind), Ok(()), "{kind}");
            }
            assert_eq!(usage.try_add(kind), Err(Refusal::Limit(kind)));
        }
        assert_eq!(ALL.map(|kind| usage.present(kind)), [0, 1, 2, 3, 4]);
        usage.remove(Counted::Players);
        assert_eq!(usage.try_add(Counted::Players), Ok(()));
        assert_eq!(usage.try_add(Counted::Players), Err(Refusal::Limit(Counted::Players)));
    }

    #[test]
    fn without_limits_there_is_no_end() {
        let mut usage = Usage::default();
        for _ in 0..10_000 {
            assert_eq!(usage.try_add(Counted::Connections), Ok(()));
        }
        assert_eq!(Limits::default().check(Counted::Players, usize::MAX), Ok(()));
    }

    #[test]
    fn lower_limits_drive_nobody_out() {
        let mut usage = Usage::new(Limits { players: Some(3), ..Limits::default() });
        for _ in 0..3 {
            usage.try_add(Counted::Players).unwrap();
        }
        usage.set_limits(Limits { players: Some(2), ..Limits::default() });
        assert_eq!(usage.present(Counted::Players), 3);
        usage.remove(Counted::Players);
        assert_eq!(usage.try_add(Counted::Players), Err(Refusal::Limit(Counted::Players)));
        usage.remove(Counted::Players);
        assert_eq!(usage.try_add(Counted::Players), Ok(()));
    }

    proptest! {
        #[test]
        fn the_count_is_what_was_added_less_what_was_removed(
            max in prop::option::of(0u32..4),
            steps in prop::collection::vec((any::<bool>(), 0..Counted::COUNT), 0..60),
        ) {
            let mut usage =
                Usage::new(Limits { players: max, connections: max, streams: max, ..Limits::default() });
            let mut model = [0usize; Counted::COUNT];
            for (add, index) in steps {
                let kind = ALL[index];
                let limit = usage.limits().max(kind).map_or(usize::MAX, |max| usize::try_from(max).unwrap());
                if add {
                    prop_assert_eq!(usage.try_add(kind).is_ok(), model[index] < limit);
                    model[index] = (model[index] + 1).min(limit);
                } else {
                    usage.remove(kind);
                    model[index] = model[index].saturating_sub(1);
                }
                prop_assert_eq!(ALL.map(|kind| usage.present(kind)), model);
            }
        }
    }
}
