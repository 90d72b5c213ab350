use anabranch_core::session::ClientKind;

use super::Playback;
use super::media::EncoderState;

/// One message stream of a client.
#[derive(Debug)]
pub(super) struct Channel {
    /// The name as the client sends it, with its query.
    pub(super) name: String,
    pub(super) message_stream_id: u32,
    pub(super) stage: Stage,
    pub(super) part: Part,
}

/// What a message stream is used for.
#[derive(Debug)]
pub(super) enum Part {
    Publisher(ClientKind, Box<EncoderState>),
    Player(Box<Playback>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stage {
    /// Requested after other streams.
    Waiting,
    Creating(f64),
    Asking,
    Running,
    Stopped,
}

impl Channel {
    pub(super) fn new(name: &str, part: Part) -> Self {
        Channel { name: name.into(), message_stream_id: 0, stage: Stage::Waiting, part }
    }

    pub(super) fn is_running(&self) -> bool {
        self.stage == Stage::Running
    }

    pub(super) fn is_publisher(&self) -> bool {
        matches!(self.part, Part::Publisher(..))
    }

    pub(super) fn playback(&self) -> Option<&Playback> {
        match &self.part {
            Part::Player(playback) => Some(playback),
            Part::Publisher(..) => None,
        }
    }
}
