use std::time::{Duration, Instant};

use str0m::media::Rid;

/// How long the layers are compared, and how long at the beginning.
const WINDOW: Duration = Duration::from_secs(2);
const FIRST_WINDOW: Duration = Duration::from_millis(500);
/// A layer that has sent nothing for so long is gone.
const GONE: Duration = Duration::from_secs(1);
/// Layers of one track; others are left out.
const MOST: usize = 8;

/// The layers of a publisher that sends its pictures several times (simulcast). One is taken: that with most bytes of late,
/// whatever the order and the names are that the publisher gives them.
#[derive(Debug, Default)]
pub(super) struct Layers {
    layers: Vec<Layer>,
    taken: Option<Option<Rid>>,
    /// The one that is to be taken from its next key frame on.
    wanted: Option<Option<Rid>>,
    since: Option<Instant>,
    has_compared: bool,
    /// True if that one has changed since it was asked.
    has_changed: bool,
}

#[derive(Debug)]
struct Layer {
    name: Option<Rid>,
    /// Bytes in this window.
    bytes: usize,
    /// When its last picture came.
    last: Instant,
}

impl Layers {
    /// A picture of a layer has come. True if it is taken.
    pub(super) fn takes(&mut self, now: Instant, name: Option<Rid>, bytes: usize, is_key: bool) -> bool {
        match self.layers.iter().position(|layer| layer.name == name) {
            Some(known) => {
                let layer = &mut self.layers[known];
                (layer.bytes, layer.last) = (layer.bytes + bytes, now);
            }
            None if self.layers.len() < MOST => self.layers.push(Layer { name, bytes, last: now }),
            None => return false,
        }
        let wanted = *self.wanted.get_or_insert(name);
        let since = *self.since.get_or_insert(now);
        let window = if self.has_compared { WINDOW } else { FIRST_WINDOW };
        let is_gone = |layer: &Layer| now.saturating_duration_since(layer.last) >= GONE;
        let has_lost = self.layers.iter().any(|layer| layer.name == wanted && is_gone(layer));
        if has_lost || now.saturating_duration_since(since) >= window {
            self.layers.retain(|layer| !is_gone(layer));
            self.compare();
            (self.since, self.has_compared) = (Some(now), true);
        }
        if is_key && (self.wanted == Some(name) || self.taken.is_none()) {
            self.taken = Some(name);
        }
        // Without any key frame, what follows says that one is needed.
        self.taken.or(self.wanted) == Some(name)
    }

    /// True once for each layer that is to be taken, and needs a key frame for that.
    pub(super) fn needs_key(&mut self) -> bool {
        std::mem::take(&mut self.has_changed) && self.wanted != self.taken
    }

    /// The layer that is to send a key frame.
    pub(super) fn wanted(&self) -> Option<Rid> {
        self.wanted.flatten()
    }

    fn compare(&mut self) {
        let present = self.layers.iter().find(|layer| Some(layer.name) == self.wanted).map_or(0, |layer| layer.bytes);
        // Not to and fro between layers that are alike.
        if let Some(best) = self.layers.iter().max_by_key(|layer| layer.bytes)
            && best.bytes > present + present / 5
        {
            (self.wanted, self.has_changed) = (Some(best.name), true);
        }
        self.layers.iter_mut().for_each(|layer| layer.bytes = 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layer_with_most_bytes_is_taken_from_a_key_frame_on() {
        #[allow(clippy::disallowed_methods)] // any instant will do
        let start = Instant::now();
        let (small, large) = (Some(Rid::from("a")), Some(Rid::from("b")));
        let mut layers = Layers::default();
        let (mut taken, mut asked) = (Vec::new(), Vec::new());
        for picture in 0..200_u32 {
            let now = start + Duration::from_millis(40) * picture;
            let is_key = picture.is_multiple_of(50);
            // The larger one goes away in the end.
            let sent = if picture < 120 { vec![(small, 100), (large, 1000)] } else { vec![(small, 100)] };
            for (layer, bytes) in sent {
                if layers.takes(now, layer, bytes, is_key) {
                    taken.push((picture, layer));
                }
                if layers.needs_key() {
                    asked.push((picture, layers.wanted()));
                }
            }
        }
        assert!(
            matches!(asked[..], [(..50, of_large), (120..150, of_small)] if of_large == large && of_small == small),
            "{asked:?}"
        );
        let of = |picture: u32| taken.iter().find(|(number, _)| *number == picture).map(|(_, layer)| *layer);
        assert_eq!((of(0), of(49)), (Some(small), Some(small)), "the first key frame");
        assert_eq!((of(51), of(119)), (Some(large), Some(large)));
        assert_eq!((of(140), of(199)), (None, Some(small)), "the large one ended at 120, and 150 is a key frame");
        let others = taken.windows(2).filter(|two| two[0].0 == two[1].0);
        assert!(others.count() <= 1, "one of each picture, but where another layer begins");
    }

    #[test]
    fn without_layers_all_is_taken() {
        #[allow(clippy::disallowed_methods)] // any instant will do
        let start = Instant::now();
        let mut layers = Layers::default();
        assert!((0..100).all(|picture| layers.takes(
            start + Duration::from_millis(40) * picture,
            None,
            100,
            picture == 7
        )));
    }
}
