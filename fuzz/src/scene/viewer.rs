//! What the server puts into one connection's queue, read as it is put there.
//!
//! The invariants of the design that show here: a queue is filled up to the high-water mark and no further (2, every
//! buffer has its limit); what a player does not get is counted (4); media is relayed bit-exact (7). And what players
//! rely on: a key frame and the headers in force come first, nothing comes twice, time does not run backwards.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::IoSlice;
use std::time::Duration;

use anabranch_core::amf::Value;
use anabranch_core::command::Command;
use anabranch_core::conn::{Conn, Report};
use anabranch_core::message::{Control, Message, MessageType};
use anabranch_core::session::Phase;
use anabranch_core::source::{Frame, FrameKind, Timeline, WireFormat};
use bytes::Buf;

use super::archive::{Archive, Number, client_of};
use super::listener::Listener;

/// Bytes after which the server acknowledges, unless the client asks for another number.
const WINDOW: u32 = 5000;

/// What the server's configuration promises its players.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promise {
    pub(super) high_water: usize,
    /// Whether timestamps rise, but for frames that come out of order.
    pub(super) rising: bool,
    /// How long media come at least before video begins without a key frame.
    pub(super) start_wait: Duration,
}

#[derive(Debug)]
pub(super) struct Viewer {
    promise: Promise,
    listener: Listener,
    /// What was put into the queue and is not written yet.
    queue: VecDeque<u8>,
    /// Bytes ever put into it.
    queued: u64,
    written: u64,
    /// True while what is read never was in the queue.
    passes: bool,
    given_up: u64,
    /// Where the last coded frame ends, in bytes ever queued.
    last_frame_end: u64,
    /// By message stream.
    plays: HashMap<u32, Play>,
    /// Messages of publishers that were queued.
    frames: u64,
    /// Frames that were left out between two that were not.
    holes: u64,
    acknowledged: u32,
}

/// What came since the last `play` on a message stream.
#[derive(Debug, Default)]
struct Play {
    /// The last frame of each stretch.
    last: HashMap<u32, u32>,
    /// Stretches with a video frame.
    video: HashSet<u32>,
    /// Which client publishes, and the stretches of earlier publishers.
    publisher: Option<u32>,
    over: HashSet<u32>,
    /// The last sequence headers of video and audio.
    headers: [Option<Number>; 2],
    /// The furthest timestamps of video and audio.
    times: [Option<u32>; 2],
    /// The furthest timestamp of those that published before.
    floor: Option<u32>,
}

impl Viewer {
    pub(super) fn new(promise: Promise) -> Self {
        Viewer {
            promise,
            listener: Listener::default(),
            queue: VecDeque::new(),
            queued: 0,
            written: 0,
            passes: false,
            given_up: 0,
            last_frame_end: 0,
            plays: HashMap::new(),
            frames: 0,
            holes: 0,
            acknowledged: 0,
        }
    }

    /// Another configuration promises less, or the same.
    pub(super) fn promise(&mut self, promise: Promise) {
        self.promise = promise;
    }

    /// Reads what came into the queue since it was last looked at.
    pub(super) fn look(&mut self, conn: &mut Conn, archive: &Archive) {
        let outbound = conn.outbound();
        let total = self.written + outbound.len() as u64;
        // A connection that is over gives up what still waits.
        self.given_up = self.given_up.max(self.queued.saturating_sub(total));
        if total == self.queued || self.given_up > 0 {
            return;
        }
        let mut pieces = vec![IoSlice::new(&[]); 64 + outbound.len() / 16];
        let count = outbound.chunks_vectored(&mut pieces);
        let all: Vec<u8> = pieces[..count].iter().flat_map(|piece| piece.iter().copied()).collect();
        assert_eq!(all.len(), outbound.len(), "the queue shows all it has");
        self.read(&all[self.queue.len()..], archive);
    }

    /// So much was written past the queue, which was empty.
    pub(super) fn pass(&mut self, bytes: &[u8], archive: &Archive) {
        assert!(self.queue.is_empty(), "a batch is written before what waits");
        self.passes = true;
        self.read(bytes, archive);
        self.passes = false;
        self.take(bytes);
    }

    fn read(&mut self, fresh: &[u8], archive: &Archive) {
        self.queue.extend(fresh);
        self.queued += fresh.len() as u64;
        let total = self.queued;
        let mut messages = Vec::new();
        let read = self.listener.listen(fresh, |message, rest| messages.push((message.clone(), total - rest as u64)));
        read.expect("the server's chunks are legal");
        for (message, end) in messages {
            self.receive(&message, end, archive);
        }
    }

    /// The client takes as much as is asked for: it is what was queued, in that order.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        assert!(self.queue.drain(..bytes.len()).eq(bytes.iter().copied()), "other bytes are written than were queued");
        self.written += bytes.len() as u64;
    }

    fn receive(&mut self, message: &Message, end: u64, archive: &Archive) {
        match message.type_id {
            MessageType::VIDEO | MessageType::AUDIO => {
                assert!(archive.has(message), "a frame that was not published: {message:?}");
                self.frames += 1;
                self.hear_media(message, end, archive);
            }
            MessageType::DATA_AMF0 => {
                let ours = [&b"\x02\0\x08onStatus"[..], b"\x02\0\x0conPlayStatus", b"\x02\0\x11|RtmpSampleAccess"];
                let published = archive.has(message);
                let ours = ours.iter().any(|ours| message.payload.starts_with(ours));
                assert!(published || ours, "data that was not published: {message:?}");
                self.frames += u64::from(!ours);
            }
            MessageType::COMMAND_AMF0 => {
                let limits = crate::session::config(false).limits.amf;
                let command = Command::parse(message.type_id, &message.payload, &limits);
                // Each play begins again.
                if begins_play(&command.expect("the server's commands can be read")) {
                    self.plays.remove(&message.message_stream_id);
                }
            }
            type_id => {
                if let Ok(Some(Control::Acknowledgement(bytes))) = Control::parse(type_id, &message.payload) {
                    assert!(bytes > self.acknowledged, "{bytes} bytes are acknowledged after {}", self.acknowledged);
                    self.acknowledged = bytes;
                }
            }
        }
    }

    fn hear_media(&mut self, message: &Message, end: u64, archive: &Archive) {
        let frame = Frame::encode(message.clone(), WireFormat { chunk_size: 60_000 });
        let medium = usize::from(frame.kind() == FrameKind::Audio);
        let play = self.plays.entry(message.message_stream_id).or_default();
        let number = if archive.forged { None } else { Number::of(message.type_id, &message.payload) };
        if let Some((number, true)) = number {
            play.headers[medium] = Some(number);
        }
        if !frame.class().is_coded() {
            return;
        }

        // The call that queued the frame before found the mark reached, or there was room.
        let before = self.last_frame_end.saturating_sub(self.written);
        assert!(
            self.passes || self.last_frame_end == 0 || before < self.promise.high_water as u64,
            "a frame is queued behind {before} bytes, over the mark of {}",
            self.promise.high_water
        );
        self.last_frame_end = end;

        let time = message.timestamp;
        let back_from = |before: u32| before.wrapping_sub(time) as i32;
        let furthest = play.times[medium];
        let is_furthest = furthest.is_none_or(|furthest| back_from(furthest) <= 0);
        if let Some(furthest) = furthest
            && self.promise.rising
        {
            let most = Timeline::FURTHEST_BACK as i32;
            assert!(back_from(furthest) <= most, "time {time} after {furthest}: {message:?}");
        }
        if is_furthest {
            play.times[medium] = Some(time);
        }

        let Some((number, false)) = number else {
            return;
        };
        let facts = archive.frames.get(&number).expect("it was published");
        if play.publisher.replace(number.client()).is_some_and(|before| before != number.client()) {
            play.over.extend(play.last.keys().filter(|stretch| client_of(**stretch) != number.client()));
            play.floor = furthest;
        }
        if let Some(floor) = play.floor
            && self.promise.rising
        {
            assert!(back_from(floor) <= 0, "time {time} of a publisher whose predecessor ended at {floor}: {number:?}");
        }
        assert!(!play.over.contains(&number.stretch), "{number:?} of a publisher whose place another took");
        if let Some(before) = play.last.insert(number.stretch, number.index) {
            assert!(before < number.index, "{number:?} after {before}");
            self.holes += u64::from(number.index - before - 1);
        }
        if medium == 0 && play.video.insert(number.stretch) && facts.fresh {
            let waited = archive.age(number.stretch) >= self.promise.start_wait;
            assert!(frame.is_join_point() || waited, "a publisher's video begins with {number:?}, no key frame");
        }
        let expected = facts.headers[medium];
        assert!(
            expected.is_none() || expected == play.headers[medium],
            "{number:?} needs {expected:?} and comes after {:?}",
            play.headers[medium]
        );
    }

    /// What must hold at the end.
    pub(super) fn check_end(&self, report: &Report, frames_out: u64, forged: bool) {
        assert_eq!(report.sent, self.written);
        // What is given up in the turn in which it is queued is never seen.
        assert!(report.given_up >= self.given_up && frames_out >= self.frames, "{report:?} {self:?}");
        if report.given_up == self.given_up {
            assert_eq!(frames_out, self.frames, "messages of publishers were queued");
        }
        let left_out = report.left_out.unwanted + report.left_out.multitrack + report.left_out.undecodable;
        assert!(
            forged || self.holes <= report.missed.frames + left_out,
            "{} frames are missing, counted are {:?} and {:?}",
            self.holes,
            report.missed,
            report.left_out
        );
    }

    /// What was parsed is acknowledged, up to a window.
    pub(super) fn check_acknowledged(&self, report: &Report) {
        let (parsed, acknowledged) = (report.close.offset, u64::from(self.acknowledged));
        assert!(acknowledged <= parsed, "{acknowledged} bytes are acknowledged of {parsed}");
        // Where the last byte of a window ends the connection, nothing more is said; and what was given up unseen may
        // have said it.
        let due = report.given_up == self.given_up
            && report.close.phase != Phase::Handshake
            && parsed > acknowledged + u64::from(WINDOW);
        assert!(!due, "{acknowledged} bytes are acknowledged of {parsed}");
    }

    /// Messages of publishers that were queued.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }
}

fn begins_play(command: &Command) -> bool {
    let information = command.arguments.first().and_then(Value::as_object);
    let code = information.and_then(|information| information.get("code")).and_then(Value::as_str);
    command.name.as_bytes() == b"onStatus" && code == Some("NetStream.Play.Reset")
}
