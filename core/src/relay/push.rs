use std::sync::Arc;
use std::time::Instant;

use super::RelayEvent;
use super::rules::StreamRules;
use crate::client::{Client, NotSent, StreamHandle};
use crate::command::Capabilities;
use crate::endpoint::Due;
use crate::fast_path::Ready;
use crate::flv::{Codec, FrameClass, audio_header_slots, video_header_slots};
use crate::hub::{Player, PullEnd, Slowness, StreamId};
use crate::source::{Batch, Contents, Form, Frame, FrameKind, Place};
use crate::stats::ConnStats;
use crate::url::StreamKey;

/// The part of an uplink that sends a stream of this server to a target.
#[derive(Debug)]
pub(super) struct Push {
    player: Player,
    /// True from the target's answer on, until the end.
    live: bool,
    /// What the target has announced.
    capabilities: Capabilities,
    high_water: usize,
    slowness: Slowness,
    /// True while the queue is full.
    full: bool,
    /// Whether the codec of a stream without headers was looked at, for video and audio.
    looked: [bool; 2],
}

/// The result of one turn.
#[derive(Debug, Default)]
pub(super) struct Served {
    pub(super) due: Option<Due>,
    pub(super) event: Option<RelayEvent>,
    /// Why the target gets nothing more.
    pub(super) refused: Option<String>,
    /// True if the stream has nothing more at present.
    pub(super) has_all: bool,
}

impl Push {
    pub(super) fn new(rules: &Arc<StreamRules>, key: &StreamKey) -> Self {
        Push {
            player: rules.hub.play(key),
            live: false,
            capabilities: Capabilities::default(),
            high_water: rules.high_water,
            slowness: Slowness::default(),
            full: false,
            looked: [false; 2],
        }
    }

    /// How the stream's frames are cut.
    pub(super) fn chunk_size(&self) -> u32 {
        self.player.format().chunk_size
    }

    pub(super) fn is_live(&self) -> bool {
        self.live
    }

    /// True if the target takes less than the stream has.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// The target's capabilities are known. Returns why it cannot get the stream, if a codec of it is known already.
    pub(super) fn learn(&mut self, capabilities: &Capabilities) -> Option<String> {
        self.capabilities = capabilities.clone();
        let (video, audio) = self.player.codecs();
        let codecs = video.map(Codec::Video).into_iter().chain(audio.map(Codec::Audio));
        let refused = codecs.filter_map(|codec| not_taken(&self.capabilities, codec)).next();
        refused.map(|codec| words(&codec))
    }

    /// What the target does not take of the stream.
    pub(super) fn left_out(&self) -> String {
        if self.takes_multitrack() { String::new() } else { "multitrack".to_owned() }
    }

    fn takes_multitrack(&self) -> bool {
        self.capabilities.has(Capabilities::MULTITRACK)
    }

    /// Its place in the stream, if the target gets what comes next as players do: the frames are encoded for the first
    /// message stream, which nearly all servers give. Headers are looked at, and metadata is sent in another form.
    pub(super) fn ready(&self, client: &Client, stream: StreamHandle) -> Option<Ready> {
        let as_encoded = client.takes_frames_of(stream, self.chunk_size());
        if !self.live || self.full || !as_encoded {
            return None;
        }
        let [video, audio] = self.looked;
        let of = |is_known: bool, contents| if is_known { contents } else { Contents::default() };
        let takes =
            Contents::DATA.and(Contents::ANNOUNCED).and(of(video, Contents::VIDEO)).and(of(audio, Contents::AUDIO));
        let (stream, form, place) = (self.player.stream_number(), Form::Rtmp, self.player.place()?);
        Some(Ready { stream, form, place, takes })
    }

    /// What follows at that place.
    pub(super) fn batch(&self, form: Form, place: &Place, most: usize) -> Option<Batch> {
        self.player.batch_as(form, place, most)
    }

    /// The target has got all frames up to that place.
    pub(super) fn pass_to(&mut self, place: Place) {
        self.player.pass_to(place);
    }

    /// It has got all frames from `from` up to that place, and was called during the write.
    pub(super) fn pass_late(&mut self, from: &Place, place: Place) {
        self.player.pass_late(from, place);
    }

    /// The target has granted the stream: from now on it is subscribed.
    pub(super) fn begin(&mut self) -> StreamId {
        self.live = true;
        self.player.stream_id()
    }

    /// Returns the stream that it was subscribed to.
    pub(super) fn end(&mut self) -> Option<StreamId> {
        std::mem::take(&mut self.live).then(|| self.player.stream_id())
    }

    /// Moves what is new from the stream into the client's queue, up to the high-water mark.
    pub(super) fn serve(
        &mut self,
        now: Instant,
        client: &mut Client,
        stream: StreamHandle,
        stats: &mut ConnStats,
    ) -> Served {
        let mut served = Served::default();
        if !self.live {
            return served;
        }
        let high_water = self.high_water;
        if client.outbound().held() >= high_water {
            self.full = true;
            stats.set_lag(self.player.behind());
            self.find_stuck(now, client, &mut served);
            return served;
        }
        let (multitrack, capabilities, looked) = (self.takes_multitrack(), &self.capabilities, &mut self.looked);
        let (mut queued, mut refused, mut lost) = (0, None, false);
        let pulled = self.player.pull(|frame| {
            let Some(frame) = frame.for_player(multitrack) else {
                return true;
            };
            refused = codec_refused(frame, capabilities, looked);
            if refused.is_some() {
                return false;
            }
            match client.send_frame(stream, frame) {
                Ok(()) => queued += 1,
                // The target has ended the stream, which comes as an event.
                Err(NotSent::NotPublishing) => lost = true,
                Err(NotSent::Full { .. } | NotSent::TooLong { .. }) => {}
            }
            !lost && client.outbound().held() < high_water
        });
        if queued > 0 {
            stats.queued_frames(now, queued);
        }
        if pulled.missed.frames > 0 {
            stats.dropped(pulled.missed);
            if self.slowness.missed(now, pulled.missed) {
                served.event = Some(RelayEvent::Lagging { missed: pulled.missed, behind: 0 });
            }
        }
        self.full = pulled.end == PullEnd::Full;
        stats.set_lag(if self.full { self.player.behind() } else { 0 });
        if self.full {
            self.find_stuck(now, client, &mut served);
        } else {
            let (over, due) = self.slowness.has_all(now);
            served.due = due;
            served.has_all = true;
            if let Some((time, missed)) = over {
                served.event = Some(RelayEvent::KeepsUp { time, missed });
            }
        }
        served.refused = refused.map(|codec| words(&codec));
        served
    }

    fn find_stuck(&mut self, now: Instant, client: &mut Client, served: &mut Served) {
        let (begins, due) = self.slowness.is_full(now, client.outbound().written());
        if begins {
            served.event = Some(RelayEvent::Lagging { missed: Default::default(), behind: self.player.behind() });
        }
        served.due = due;
    }
}

fn words(codec: &str) -> String {
    format!("the target does not take {codec}")
}

/// The name of the codec, if the target has announced what it takes, and not this.
fn not_taken(capabilities: &Capabilities, codec: Codec) -> Option<String> {
    // What every peer has taken since Flash Player need not be announced.
    let (support, four_cc, name) = match codec {
        Codec::Video(video) => (&capabilities.video, video.fourcc().filter(|_| !is_old(codec)), video.name()),
        Codec::Audio(audio) => (&capabilities.audio, audio.fourcc().filter(|_| !is_old(codec)), audio.name()),
    };
    let refused = support.supports(four_cc?) == Some(false);
    refused.then(|| name.to_owned())
}

/// True for codecs that need no Enhanced RTMP.
fn is_old(codec: Codec) -> bool {
    use crate::flv::{AudioCodec, VideoCodec};
    match codec {
        Codec::Video(video) => video == VideoCodec::Avc,
        Codec::Audio(audio) => matches!(audio, AudioCodec::Aac | AudioCodec::Mp3),
    }
}

/// Looks at the codec of sequence headers, and at that of the first frame of streams that have none.
fn codec_refused(frame: &Frame, capabilities: &Capabilities, looked: &mut [bool; 2]) -> Option<String> {
    let at = match frame.kind() {
        FrameKind::Video => 0,
        FrameKind::Audio => 1,
        FrameKind::Data => return None,
    };
    let is_header = frame.class() == FrameClass::SequenceHeader;
    if !is_header && looked[at] {
        return None;
    }
    looked[at] = true;
    let payload = frame.payload();
    let codecs: Vec<Codec> = if at == 0 {
        video_header_slots(&payload).map(|slot| slot.codec).collect()
    } else {
        audio_header_slots(&payload).map(|slot| slot.codec).collect()
    };
    codecs.into_iter().find_map(|codec| not_taken(capabilities, codec))
}
