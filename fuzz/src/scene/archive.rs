//! What all publishers sent, and where in their streams: players' frames are compared with it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use anabranch_core::conn::Config;
use anabranch_core::flv::{aggregate, rebuild};
use anabranch_core::message::data::{self, DataLimits, PublisherData};
use anabranch_core::message::{Message, MessageType};

/// Names a coded frame or a header of ours, in its body: the stretch of a client's media that it is of, and the how
/// manieth of its sort it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Number {
    /// A client's media between two of its commands: all of it is of one publication, or from some point on of none.
    pub(super) stretch: u32,
    pub(super) index: u32,
}

impl Number {
    pub(super) fn new(client: u32, stretch: u32, index: u32) -> Self {
        Number { stretch: client << 16 | stretch, index }
    }

    pub(super) fn client(self) -> u32 {
        client_of(self.stretch)
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        [self.stretch.to_be_bytes(), self.index.to_be_bytes()].concat()
    }

    /// That of a body in one of our forms, and whether it is of a header.
    pub(super) fn of(type_id: u8, body: &[u8]) -> Option<(Number, bool)> {
        let (at, header) = match (type_id, body) {
            (MessageType::VIDEO, [0x17 | 0x27, 1, ..]) => (5, false),
            (MessageType::VIDEO, [0x17, 0, ..]) => (5, true),
            (MessageType::AUDIO, [0xaf, 1, ..]) => (2, false),
            (MessageType::AUDIO, [0xaf, 0, ..]) => (2, true),
            _ => return None,
        };
        let word = |at: usize| body.get(at..)?.first_chunk().copied().map(u32::from_be_bytes);
        Some((Number { stretch: word(at)?, index: word(at + 4)? }, header))
    }
}

pub(super) fn client_of(stretch: u32) -> u32 {
    stretch >> 16
}

/// What is known of a coded frame.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    /// The sequence headers that must be in force there, of video and audio, as far as it is certain.
    pub(super) headers: [Option<Number>; 2],
    /// True if nothing of its publication came before its stretch.
    pub(super) fresh: bool,
}

/// What all publishers sent.
#[derive(Debug, Default)]
pub(super) struct Archive {
    /// The bodies that a player may get.
    bodies: HashSet<(u8, Vec<u8>)>,
    pub(super) frames: HashMap<Number, Facts>,
    /// When the media of each stretch began.
    began: HashMap<u32, Instant>,
    /// The time that it is.
    now: Option<Instant>,
    /// The longest body.
    pub(super) longest: usize,
    /// True once a client sent something that may only look like ours.
    pub(super) forged: bool,
    /// How long metadata may be in the virtual hosts that there are or were: longer one loses its largest properties.
    metadata: BTreeSet<usize>,
}

impl Archive {
    /// Clients may be in the virtual hosts of this configuration.
    pub(super) fn expect(&mut self, config: &Config) {
        for host in config.vhosts.iter().map(|vhost| &vhost.settings).chain([&config.defaults]) {
            let kept = host.source.header_bytes / 16 * 15;
            self.metadata.insert(kept.min(host.session.limits.metadata as usize));
        }
    }

    /// From now on it is this late.
    pub(super) fn pass(&mut self, now: Instant) {
        self.now = Some(now);
    }

    /// Media of this stretch are about to be sent.
    pub(super) fn begin(&mut self, stretch: u32) {
        if let Some(now) = self.now {
            self.began.entry(stretch).or_insert(now);
        }
    }

    /// For how long media of this stretch may have come.
    pub(super) fn age(&self, stretch: u32) -> Duration {
        let began = self.began.get(&stretch).copied();
        began.zip(self.now).map_or(Duration::ZERO, |(began, now)| now.saturating_duration_since(began))
    }

    pub(super) fn has(&self, message: &Message) -> bool {
        self.bodies.contains(&(message.type_id, message.payload.to_vec()))
    }

    pub(super) fn note(&mut self, message: &Message) {
        let Message { type_id, ref payload, timestamp, .. } = *message;
        match type_id {
            MessageType::VIDEO | MessageType::AUDIO => self.note_media(type_id, payload),
            MessageType::DATA_AMF0 | MessageType::DATA_AMF3 => self.note_data(type_id, payload),
            MessageType::AGGREGATE => {
                for message in aggregate::parse(payload, timestamp).flatten() {
                    match message.type_id {
                        MessageType::VIDEO | MessageType::AUDIO => self.note_media(message.type_id, message.payload),
                        _ => self.note_data(message.type_id, message.payload),
                    }
                }
            }
            _ => {}
        }
    }

    fn note_media(&mut self, type_id: u8, body: &[u8]) {
        let plain = if type_id == MessageType::VIDEO { rebuild::plain_video(body) } else { rebuild::plain_audio(body) };
        if let Some(plain) = plain {
            self.keep(type_id, &plain);
        }
        self.keep(type_id, body);
    }

    fn note_data(&mut self, type_id: u8, body: &[u8]) {
        let limits = crate::session::config(true).limits;
        for metadata in self.metadata.clone() {
            let longest = DataLimits { metadata, other: limits.command as usize, amf: limits.amf };
            match data::from_publisher(type_id, body, &longest) {
                PublisherData::Metadata { body, .. } | PublisherData::Other(body) => {
                    self.keep(MessageType::DATA_AMF0, &body);
                }
                PublisherData::ClearMetadata | PublisherData::Unreadable => {}
            }
        }
    }

    fn keep(&mut self, type_id: u8, body: &[u8]) {
        self.longest = self.longest.max(body.len());
        self.bodies.insert((type_id, body.to_vec()));
    }
}
