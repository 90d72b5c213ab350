use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::Origin;
use crate::client::Destination;
use crate::url::StreamKey;

/// For how long a server that could not be reached is tried after the others.
const DOWN: Duration = Duration::from_secs(10);
/// For how long a target may still have what was published there, and refuse the next publication of it because of that.
pub(super) const AFTERMATH: Duration = Duration::from_secs(60);
/// The most servers and publications that are remembered.
const MOST: usize = 4096;

/// What the relays of a server remember for a moment, so that a new one does not begin without any knowledge.
#[derive(Debug, Default)]
pub(super) struct Recent {
    down: HashMap<Origin, Instant>,
    ended: HashMap<StreamKey, Vec<(Destination, Instant)>>,
    /// The names of `ended` in the order in which they are to be forgotten.
    forget: VecDeque<(Instant, StreamKey)>,
}

impl Recent {
    /// The server does not answer.
    pub(super) fn note_down(&mut self, now: Instant, server: &Destination) {
        if self.down.len() >= MOST {
            self.down.retain(|_, until| *until > now);
        }
        if self.down.len() < MOST {
            self.down.insert(Origin::of(server), now + DOWN);
        }
    }

    /// The server answers.
    pub(super) fn note_up(&mut self, server: &Destination) {
        if !self.down.is_empty() {
            self.down.remove(&Origin::of(server));
        }
    }

    pub(super) fn is_down(&self, now: Instant, server: &Destination) -> bool {
        !self.down.is_empty() && self.down.get(&Origin::of(server)).is_some_and(|until| *until > now)
    }

    /// A publication of the stream at this target is over.
    pub(super) fn note_ended(&mut self, now: Instant, key: &StreamKey, target: &Destination) {
        while let Some((until, _)) = self.forget.front()
            && (*until <= now || self.forget.len() >= MOST)
        {
            let Some((until, key)) = self.forget.pop_front() else {
                break;
            };
            if let Some(list) = self.ended.get_mut(&key) {
                list.retain(|(_, its)| *its > until);
                if list.is_empty() {
                    self.ended.remove(&key);
                }
            }
        }
        let until = now + AFTERMATH;
        let list = self.ended.entry(key.clone()).or_default();
        list.retain(|(known, _)| known != target);
        list.push((target.clone(), until));
        self.forget.push_back((until, key.clone()));
    }

    /// Until when the target may have that publication.
    pub(super) fn aftermath(&self, key: &StreamKey, target: &Destination) -> Option<Instant> {
        let ended = self.ended.get(key)?;
        ended.iter().find(|(known, _)| known == target).map(|(_, until)| *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_has_a_bound_and_an_end() {
        #[allow(clippy::disallowed_methods)] // any instant does; the test's clock starts there
        let now = Instant::now();
        let mut recent = Recent::default();
        let target = |number: usize| Destination::parse(&format!("rtmp://h{number}/live/cam")).expect("a URL");
        let key = |number: usize| format!("live/cam{number}").parse::<StreamKey>().expect("a name");
        for number in 0..3 * MOST {
            recent.note_down(now, &target(number));
            recent.note_ended(now, &key(number), &target(0));
        }
        assert!(recent.down.len() <= MOST && recent.ended.len() <= MOST && recent.forget.len() <= MOST);
        assert!(recent.is_down(now, &target(0)) && !recent.is_down(now + DOWN, &target(0)));
        assert!(recent.aftermath(&key(3 * MOST - 1), &target(0)).is_some());
        assert_eq!(recent.aftermath(&key(3 * MOST - 1), &target(1)), None);
        recent.note_ended(now + AFTERMATH, &key(1), &target(0));
        assert_eq!((recent.ended.len(), recent.forget.len()), (1, 1));
        recent.note_up(&target(0));
        assert!(!recent.is_down(now, &target(0)));
    }
}
