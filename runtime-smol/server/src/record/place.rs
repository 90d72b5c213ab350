use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use anabranch_core::url::StreamKey;
use anabranch_host::{Subscription, Update};
use smol::future::yield_now;

use super::status::{EndReason, Progress};
use super::stream_recording::StreamRecording;
use super::{Inner, Streams};

/// The number of updates that a recording handles before it lets other recordings run.
const TURN: usize = 64;

/// Where a recording gets its frames from.
pub(super) trait Updates: Send {
    fn try_recv(&mut self) -> Option<Update>;
    fn recv_async(&mut self) -> impl Future<Output = Option<Update>> + Send;
    fn is_live(&self) -> bool;
}

impl Updates for Subscription {
    fn try_recv(&mut self) -> Option<Update> {
        Subscription::try_recv(self)
    }

    fn recv_async(&mut self) -> impl Future<Output = Option<Update>> + Send {
        Subscription::recv_async(self)
    }

    fn is_live(&self) -> bool {
        Subscription::is_live(self)
    }
}

/// A stream's entry among those that are being recorded. Dropping it removes the entry, however the recording ends.
pub(super) struct Place {
    inner: Arc<Inner>,
    key: StreamKey,
    progress: Arc<Progress>,
    /// True after the entry is removed: from then on another recording may have added it again.
    left: bool,
}

impl Place {
    pub(super) fn new(inner: Arc<Inner>, key: StreamKey, progress: Arc<Progress>) -> Self {
        Place { inner, key, progress, left: false }
    }

    /// Records a publication, and those that begin before its end is seen.
    pub(super) async fn record(mut self, mut stream: impl Updates, mut recording: StreamRecording) {
        let mut turn = 0;
        let mut next = None;
        loop {
            turn += 1;
            if turn % TURN == 0 {
                yield_now().await;
            }
            let mut update = next.take().or_else(|| stream.try_recv());
            if update.is_none() {
                let publishers = self.progress.publishers();
                if publishers > 1 {
                    update = stream.try_recv();
                    if update.is_none() {
                        self.progress.catch_up(publishers);
                    }
                }
            }
            if update.is_none() {
                recording.flush();
                if stream.is_live() {
                    update = stream.recv_async().await;
                } else {
                    // The last frames may have come since there were none.
                    update = stream.try_recv();
                    if update.is_none() {
                        recording.end_of_stream(EndReason::Unpublished);
                        // A publisher that begins now waits for this lock, and then gets a new recording.
                        let inner = self.inner.clone();
                        let mut streams = inner.streams();
                        next = stream.try_recv();
                        if next.is_none() && !stream.is_live() {
                            self.leave(&mut streams);
                            return;
                        }
                        continue;
                    }
                }
            }
            match update {
                Some(Update::Frame(frame)) => recording.frame(&frame),
                Some(Update::Missed(gap)) => recording.missed(&gap),
                Some(Update::Ended) => {
                    recording.end_of_stream(EndReason::Unpublished);
                    self.progress.end_publication();
                }
                // The server has stopped.
                None => {
                    recording.end_of_stream(EndReason::Stopped);
                    return;
                }
            }
        }
    }

    fn leave(&mut self, streams: &mut Streams) {
        self.left = true;
        if let Some(progress) = streams.active.remove(&self.key) {
            progress.end();
        }
        let now = Instant::now();
        if streams.paces.get(&self.key).is_some_and(|pace| pace.is_past(now)) {
            streams.paces.remove(&self.key);
        }
        self.inner.ended.notify_all();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.left {
            let inner = self.inner.clone();
            self.leave(&mut inner.streams());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::VecDeque;

    use anabranch_core::message::Message;
    use anabranch_core::source::{Frame, WireFormat};

    use super::super::RecordSettings;
    use super::super::pace::Pace;
    use super::*;
    use crate::settings::values::Size;

    /// A stream whose last frames and end come after it was asked for frames and before it is asked whether it is live.
    struct EndsMeanwhile {
        first: VecDeque<Update>,
        last: VecDeque<Update>,
        is_over: Cell<bool>,
    }

    impl Updates for EndsMeanwhile {
        fn try_recv(&mut self) -> Option<Update> {
            self.first.pop_front().or_else(|| if self.is_over.get() { self.last.pop_front() } else { None })
        }

        async fn recv_async(&mut self) -> Option<Update> {
            panic!("the stream is over")
        }

        fn is_live(&self) -> bool {
            self.is_over.set(true);
            false
        }
    }

    #[test]
    fn frames_that_come_just_before_the_end_are_in_the_same_file() {
        let folder = std::env::temp_dir().join(format!("anabranch-recording-{}-end", std::process::id()));
        let settings = RecordSettings { folder: folder.clone(), min_free: Size(0), ..RecordSettings::default() };
        let inner = Arc::new(Inner::default());
        let key = StreamKey::new("v", "live", "cam").unwrap();
        let progress = inner.recordings.begin(key.clone());
        let now = Instant::now();
        let paces = (Arc::new(Pace::new(now)), Arc::new(Pace::of_all(now)));
        let recording = StreamRecording::new(key.clone(), Arc::new(settings), paces, progress.clone(), None);
        let video = |time, body: &[u8]| {
            Update::Frame(Frame::encode(Message::video(time, body.to_vec()), WireFormat { chunk_size: 60_000 }))
        };
        let header = video(0, &[0x17, 0, 0, 0, 0, 1, 66, 0, 30, 0xFF]);
        let stream = EndsMeanwhile {
            first: [header, video(0, &[0x17, 1, 0, 0, 0, 1])].into(),
            last: [video(40, &[0x27, 1, 0, 0, 0, 1]), video(80, &[0x17, 1, 0, 0, 0, 1]), Update::Ended].into(),
            is_over: Cell::new(false),
        };
        smol::block_on(Place::new(inner.clone(), key, progress).record(stream, recording));
        assert_eq!(inner.recordings.files(), 1);
        assert_eq!(inner.recordings.ended()[0].duration.as_millis(), 80);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
