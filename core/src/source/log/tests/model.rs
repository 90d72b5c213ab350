//! Compares the log with a simple and complete model: a list of all frames ever pushed, which is searched from end to
//! end for each answer.

use proptest::prelude::*;

use super::*;

/// What a publisher or a player does next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Push(Push),
    /// A player calls `next` as often as the second number says.
    Read(usize, usize),
    Restart(usize),
    Join,
    ClearMetadata,
    /// The publisher is gone.
    End,
    /// Another publisher begins; the one before may not have ended.
    Begin,
}

/// A frame to push: what it is, its number among frames of its kind, and how far its time is from the clock's.
#[derive(Debug, Clone, Copy)]
struct Push {
    kind: u8,
    number: u8,
    jitter: i32,
}

impl Push {
    fn frame(self, clock: u32) -> Frame {
        let time = clock.wrapping_add_signed(self.jitter);
        match self.kind {
            0 => metadata(time, self.number),
            1 => video_header(time, self.number),
            2 => audio_header(time, self.number),
            3 => frame(MessageType::VIDEO, time, &[0x17, 2, 0, 0, 0]),
            4..6 => key(time, self.number),
            6..10 => inter(time, self.number),
            _ => audio(time, self.number),
        }
    }
}

/// The rules of one source.
#[derive(Debug, Clone, Copy)]
struct Rules {
    limits: SourceLimits,
    start: StartRule,
    reduced: bool,
}

#[derive(Debug)]
struct Model {
    rules: Rules,
    frames: Vec<Frame>,
    /// The first frame of the present publisher.
    epoch_start: usize,
    /// The first frame that the bounds leave in the log.
    oldest: usize,
    /// Counts publishers.
    epoch: usize,
    live: bool,
    /// Where metadata was withdrawn.
    cleared: Vec<usize>,
    repeated: u64,
}

impl Model {
    fn new(rules: Rules) -> Self {
        Model {
            rules,
            frames: Vec::new(),
            epoch_start: 0,
            oldest: 0,
            epoch: 0,
            live: false,
            cleared: Vec::new(),
            repeated: 0,
        }
    }

    fn begin(&mut self) {
        self.epoch_start = self.frames.len();
        self.oldest = self.frames.len();
        self.epoch += 1;
        self.live = true;
    }

    fn push(&mut self, frame: Frame) {
        if self.rules.reduced && frame.class() == FrameClass::SequenceHeader {
            let in_force = self.header(frame.kind(), self.frames.len());
            if !self.has_ended(frame.kind()) && in_force.is_some_and(|header| header.payload() == frame.payload()) {
                self.repeated += 1;
                return;
            }
        }
        self.frames.push(frame);
        let limits = self.rules.limits;
        let newest = self.frames.len() - 1;
        let start = self.starts().last().copied();
        while self.oldest < newest {
            let kept = &self.frames[self.oldest..];
            let over = bytes(kept) > limits.bytes as u64 || kept.len() > limits.frames;
            let old = between(self.time(self.oldest), self.time(newest)) > limits.milliseconds;
            let in_last_gop = start.is_some_and(|start| start <= self.oldest && self.oldest_start().is_some());
            if !over && (!old || in_last_gop) {
                return;
            }
            self.oldest += 1;
        }
    }

    /// The stream's time at a frame; frames that are not coded have that of the coded frame before.
    fn time(&self, index: usize) -> u32 {
        let coded = self.frames[..=index].iter().rfind(|frame| frame.class().is_coded());
        coded.unwrap_or(&self.frames[index]).timestamp()
    }

    /// The frames of this publisher at which players can start, including those that the log has dropped.
    fn starts(&self) -> Vec<usize> {
        let epoch = &self.frames[self.epoch_start..];
        let first_video = epoch.iter().position(|frame| frame.kind() == FrameKind::Video && frame.class().is_coded());
        let first_video = first_video.unwrap_or(epoch.len());
        let is_start = |(index, frame): &(usize, &Frame)| match frame.kind() {
            FrameKind::Video => frame.is_join_point(),
            FrameKind::Audio => *index < first_video && frame.class().is_coded(),
            FrameKind::Data => false,
        };
        epoch.iter().enumerate().filter(is_start).map(|(index, _)| self.epoch_start + index).collect()
    }

    fn kept_starts(&self) -> Vec<usize> {
        self.starts().into_iter().filter(|start| *start >= self.oldest).collect()
    }

    fn oldest_start(&self) -> Option<usize> {
        self.kept_starts().first().copied()
    }

    /// Where a player begins: at the first start that came while it waited; otherwise at the newest, if the rule allows
    /// it and the stream is not over. A player that starts again begins at the newest in any case.
    fn start(&self, reader: &Reader) -> Option<usize> {
        let waits_from = if reader.epoch == self.epoch { reader.waits_from } else { 0 };
        let kept = self.kept_starts();
        if let Some(first) = kept.iter().find(|start| **start >= waits_from) {
            return Some(*first);
        }
        let newest = *kept.last()?;
        let to_here = &self.frames[newest..];
        let near = match self.rules.start {
            StartRule::NextKeyFrame => false,
            StartRule::NewestKeyFrame { bytes: most, milliseconds, frames } => {
                bytes(to_here) <= most
                    && between(self.time(newest), self.time(self.frames.len() - 1)) <= milliseconds
                    && to_here.len() as u64 <= frames
            }
        };
        ((near && self.live) || reader.resumes).then_some(newest)
    }

    /// True if the newest message about the sequence of a medium says that it ends.
    fn has_ended(&self, kind: FrameKind) -> bool {
        let tells = |frame: &&Frame| frame.kind() == kind && (frame.is_header() || frame.class().is_coded());
        let last = self.frames[self.epoch_start..].iter().rfind(tells);
        last.is_some_and(|frame| frame.class() == FrameClass::SequenceEnd)
    }

    /// The header of one kind in force right before `position`.
    fn header(&self, kind: FrameKind, position: usize) -> Option<&Frame> {
        let before = &self.frames[self.epoch_start..position];
        // The end of a sequence removes no header: frames that need it may follow.
        let sets = |frame: &Frame| frame.is_header() && frame.class() != FrameClass::SequenceEnd;
        let index = self.epoch_start + before.iter().rposition(|frame| frame.kind() == kind && sets(frame))?;
        let withdrawn = kind == FrameKind::Data && self.cleared.iter().any(|at| index < *at && *at <= position);
        (!withdrawn).then_some(&self.frames[index])
    }

    /// Metadata, video and audio header in force right before `position`, in this order.
    fn headers(&self, position: usize) -> Vec<String> {
        [FrameKind::Data, FrameKind::Video, FrameKind::Audio]
            .iter()
            .filter_map(|kind| self.header(*kind, position).map(word))
            .collect()
    }
}

/// A player of the model.
#[derive(Debug, Clone, Copy, Default)]
struct Reader {
    /// The next frame, if it has started.
    next: Option<usize>,
    key_seen: bool,
    reached: Option<Reached>,
    epoch: usize,
    /// Where the wait for a start began.
    waits_from: usize,
    /// It has started before, or was made to start again.
    resumes: bool,
    undecodable: u64,
}

/// One past the last frame that a player got or skipped, the time there, and its publisher.
#[derive(Debug, Clone, Copy)]
struct Reached {
    next: usize,
    time: u32,
    epoch: usize,
}

impl Reader {
    fn join(model: &Model) -> Self {
        Reader { epoch: model.epoch, waits_from: model.frames.len(), ..Reader::default() }
    }

    fn restart(&mut self) {
        self.next = None;
        self.waits_from = usize::MAX;
        self.resumes = true;
    }

    fn read(&mut self, model: &Model) -> String {
        let nothing = || if model.live { "pending" } else { "ended" }.to_owned();
        if self.next.is_some_and(|next| next < model.oldest || self.epoch != model.epoch) {
            self.restart();
        }
        let Some(mut next) = self.next else {
            let Some(start) = model.start(self) else {
                return nothing();
            };
            let time = model.frames[start].timestamp();
            let gap = gap(self.gap(model, start));
            let place = Reached { next: start, time, epoch: model.epoch };
            *self = Reader { next: Some(start), key_seen: false, reached: Some(place), epoch: model.epoch, ..*self };
            return format!("start@{time} [{}] {gap}", model.headers(start).join(" "));
        };
        while let Some(frame) = model.frames.get(next) {
            next += 1;
            self.next = Some(next);
            self.reached = Some(Reached { next, time: model.time(next - 1), epoch: model.epoch });
            self.key_seen |= frame.is_join_point();
            if self.key_seen || frame.kind() != FrameKind::Video || !frame.class().is_coded() {
                return word(frame);
            }
            self.undecodable += 1;
        }
        nothing()
    }

    /// What lies between the last frame read and `start`; of a new publisher, only what comes after its first start.
    fn gap(&self, model: &Model, start: usize) -> Gap {
        let Some(place) = self.reached else {
            return Gap::default();
        };
        if place.epoch == model.epoch {
            return sum(&model.frames[place.next.min(start)..start], between(place.time, model.time(start)));
        }
        let first = model.starts()[0];
        let (old, new) = (&model.frames[place.next..model.epoch_start], &model.frames[first..start]);
        // The time of the publisher before counts up to its last coded frame.
        let mut gap = sum(old, between(place.time, model.time(model.epoch_start - 1)));
        gap.add(sum(new, between(model.time(first), model.time(start))));
        gap
    }

    /// What lies between the last frame read and the newest frame.
    fn unsent(&self, model: &Model) -> Gap {
        self.reached.map_or_else(Gap::default, |place| {
            sum(&model.frames[place.next..], between(place.time, model.time(model.frames.len() - 1)))
        })
    }
}

fn sum(frames: &[Frame], milliseconds: u32) -> Gap {
    Gap { frames: frames.len() as u64, bytes: bytes(frames), milliseconds: milliseconds.into() }
}

fn bytes(frames: &[Frame]) -> u64 {
    frames.iter().map(|frame| frame.wire().len() as u64).sum()
}

/// Milliseconds from `earlier` to `later`, 0 if `later` lies before `earlier`.
fn between(earlier: u32, later: u32) -> u32 {
    (later.wrapping_sub(earlier) as i32).max(0).unsigned_abs()
}

fn read_one(source: &Source, cursor: &mut Cursor) -> String {
    match source.next(cursor) {
        Next::Start(start) => {
            let headers: Vec<String> = start.headers.iter().map(word).collect();
            format!("start@{} [{}] {}", start.timestamp, headers.join(" "), gap(start.gap))
        }
        Next::Frame(frame) => word(frame),
        Next::Pending => "pending".into(),
        Next::Ended => "ended".into(),
    }
}

/// Compares the results of all methods that change nothing.
fn compare(source: &Source, model: &Model, players: &[(Cursor, Reader)]) -> Result<(), TestCaseError> {
    prop_assert_eq!(source.is_live(), model.live);
    prop_assert_eq!(source.epoch(), model.epoch as u64);
    prop_assert_eq!(source.log_frames(), model.frames.len() - model.oldest);
    prop_assert_eq!(source.log_bytes() as u64, bytes(&model.frames[model.oldest..]));
    let limits = model.rules.limits;
    prop_assert!(source.log_bytes() <= limits.bytes || source.log_frames() == 1);
    prop_assert!(source.log_frames() <= limits.frames);
    let stats = source.stats();
    prop_assert_eq!(stats.frames, model.frames.len() as u64);
    prop_assert_eq!(stats.bytes, bytes(&model.frames));
    prop_assert_eq!(stats.repeated_headers, model.repeated);
    prop_assert_eq!(stats.key_frames, model.frames.iter().filter(|frame| frame.is_join_point()).count() as u64);
    let headers: Vec<String> = source.headers().iter().map(word).collect();
    prop_assert_eq!(headers, model.headers(model.frames.len()));
    for (cursor, reader) in players {
        prop_assert_eq!(source.unsent(cursor), reader.unsent(model));
        prop_assert_eq!(source.behind(cursor), reader.next.map_or(0, |next| (model.frames.len() - next) as u64));
        prop_assert_eq!(cursor.undecodable(), reader.undecodable);
        if let Some(next) = reader.next {
            let newer = reader.epoch != model.epoch || model.kept_starts().last().is_some_and(|start| *start > next);
            prop_assert_eq!(source.has_newer_start(cursor), newer);
        }
    }
    Ok(())
}

fn pushes() -> impl Strategy<Value = Push> {
    let jitter = prop_oneof![3 => Just(0), 1 => -30i32..30];
    (0u8..13, 0u8..4, jitter).prop_map(|(kind, number, jitter)| Push { kind, number, jitter })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        24 => pushes().prop_map(Step::Push),
        12 => (0usize..4, 1usize..8).prop_map(|(player, count)| Step::Read(player, count)),
        2 => (0usize..4).prop_map(Step::Restart),
        2 => Just(Step::Join),
        1 => Just(Step::ClearMetadata),
        1 => Just(Step::End),
        2 => Just(Step::Begin),
    ];
    prop::collection::vec(step, 1..200)
}

fn rules() -> impl Strategy<Value = Rules> {
    let limits = (60usize..600, 1usize..30, 0u32..400);
    let start = prop_oneof![
        2 => Just(StartRule::default()),
        1 => Just(StartRule::NextKeyFrame),
        2 => (20u64..300, 0u32..200, 1u64..15)
            .prop_map(|(bytes, milliseconds, frames)| StartRule::NewestKeyFrame { bytes, milliseconds, frames }),
    ];
    (limits, start, any::<bool>()).prop_map(|((bytes, frames, milliseconds), start, reduced)| Rules {
        limits: SourceLimits { bytes, frames, milliseconds, ..SourceLimits::default() },
        start,
        reduced,
    })
}

proptest! {
    #[test]
    fn any_run_is_as_the_model_says(
        steps in steps(),
        rules in rules(),
        // Time wraps in the middle of some runs.
        clock in prop_oneof![Just(1_000u32), Just(u32::MAX - 500)],
    ) {
        let now = any_instant();
        let mut source = Source::new(rules.limits)
            .with_start_rule(rules.start)
            .with_reduced_sequence_headers(rules.reduced);
        let mut model = Model::new(rules);
        let mut players = vec![(source.join(), Reader::join(&model))];
        for (index, step) in [Step::Begin].into_iter().chain(steps).enumerate() {
            let time = clock.wrapping_add(index as u32 * 10);
            match step {
                Step::Push(push) if model.live => {
                    model.push(push.frame(time));
                    source.push(now, push.frame(time));
                }
                Step::Push(_) => {}
                Step::Read(player, count) => {
                    let index = player % players.len();
                    let (cursor, reader) = &mut players[index];
                    for _ in 0..count {
                        prop_assert_eq!(read_one(&source, cursor), reader.read(&model));
                    }
                }
                Step::Restart(player) => {
                    let index = player % players.len();
                    source.restart(&mut players[index].0);
                    players[index].1.restart();
                }
                Step::Join if players.len() < 4 => players.push((source.join(), Reader::join(&model))),
                Step::Join => {}
                Step::ClearMetadata => {
                    source.clear_metadata();
                    model.cleared.push(model.frames.len());
                }
                Step::End => {
                    source.end(now);
                    model.live = false;
                }
                Step::Begin => {
                    source.begin();
                    model.begin();
                }
            }
            compare(&source, &model, &players)?;
        }
    }
}
