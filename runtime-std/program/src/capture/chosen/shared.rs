use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Instant, SystemTime};

use anabranch_core::capture::{Tap, file_header, joined_file_header};
use anabranch_core::conn::Role;
use anabranch_core::session::Phase;
use anabranch_host::{CaptureError, Handle};
use tracing::{info, warn};

use super::super::disk::{MinFree, check_room};
use super::super::ended::FileEnded;
use super::super::file::{CaptureFile, CaptureTally, FileEnd, FileTap, Over};
use super::super::writer::Writer;
use super::super::{EXTENSION, prepare, unix_time};
use super::tap::{ChosenTap, Pending};
use super::{
    CaptureChoice, CaptureView, ChosenFolder, ChosenLimits, FileView, LeftOut, MOST_OPEN, MOST_RUNNING, NotBegun, lock,
};

/// Captures that are remembered after their end.
const MOST_ENDED: usize = 100;
/// Connections that could not be taken, of one capture.
const MOST_LEFT_OUT: usize = 100;

/// What captures, their taps and the thread that ends them in time share.
///
/// Lines of the log go through the writer: this is called while a connection is locked.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Mutex<ChosenFolder>,
    min_free: MinFree,
    pub(super) handle: Mutex<Option<Handle>>,
    pub(super) writer: Mutex<Option<Arc<Writer>>>,
    state: Mutex<State>,
    /// Notified when the times of captures have changed.
    timed: Condvar,
    /// Captures that wait for connections to come. Read for each new connection, without a lock.
    waiting: AtomicUsize,
    /// Connections of which it is not known yet whether they are captured.
    pending: Mutex<HashMap<u64, Weak<Pending>>>,
    /// Their bytes.
    undecided: AtomicUsize,
    pub(super) tally: Arc<CaptureTally>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) running: Vec<Running>,
    ended: VecDeque<Running>,
    pub(super) last: u64,
    /// Files in the folder, as far as is known.
    files: u64,
    /// Files that are written.
    open: usize,
    /// True while there is a thread that ends captures in time.
    is_watched: bool,
}

#[derive(Debug)]
pub(super) struct Running {
    number: u64,
    choice: CaptureChoice,
    limits: ChosenLimits,
    begun: SystemTime,
    pub(super) until: Instant,
    matches: usize,
    files: Vec<Arc<CaptureFile>>,
    left_out: Vec<LeftOut>,
    /// Why it begins no more files, though its limits allow more.
    full: Option<FileEnd>,
    ended: Option<&'static str>,
}

impl Running {
    fn has_room(&self) -> bool {
        self.full.is_none() && self.files.len() < self.limits.connections
    }

    /// True if no file is written and none will begin.
    fn is_done(&self) -> bool {
        !self.has_room() && self.files.iter().all(|file| file.end().is_some())
    }

    fn view(&self) -> CaptureView {
        let file = |file: &Arc<CaptureFile>| FileView {
            connection: file.connection,
            path: file.path.clone(),
            from_start: file.from_start,
            bytes: file.bytes(),
            end: file.end().cloned(),
        };
        CaptureView {
            number: self.number,
            choice: self.choice.clone(),
            limits: self.limits,
            begun: self.begun,
            ended: self.ended,
            matches: self.matches,
            files: self.files.iter().map(file).collect(),
            left_out: self.left_out.clone(),
        }
    }
}

impl State {
    fn running(&mut self, number: u64) -> Option<&mut Running> {
        self.running.iter_mut().find(|capture| capture.number == number)
    }

    fn remember(&mut self, capture: Running) {
        self.ended.push_back(capture);
        if self.ended.len() > MOST_ENDED {
            self.ended.pop_front();
        }
    }
}

impl Shared {
    pub(super) fn new(settings: ChosenFolder) -> Self {
        Shared {
            min_free: MinFree::new(settings.min_free),
            settings: Mutex::new(settings),
            handle: Mutex::default(),
            writer: Mutex::default(),
            state: Mutex::default(),
            timed: Condvar::new(),
            waiting: AtomicUsize::new(0),
            pending: Mutex::default(),
            undecided: AtomicUsize::new(0),
            tally: Arc::default(),
        }
    }

    pub(super) fn set(&self, settings: ChosenFolder) {
        self.min_free.set(settings.min_free);
        *lock(&self.settings) = settings;
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn list(&self) -> Vec<CaptureView> {
        let state = self.state();
        state.running.iter().rev().chain(state.ended.iter().rev()).map(Running::view).collect()
    }

    pub(super) fn find(&self, number: u64) -> Option<CaptureView> {
        let state = self.state();
        let mut all = state.running.iter().chain(&state.ended);
        all.find(|capture| capture.number == number).map(Running::view)
    }

    pub(super) fn running(&self) -> usize {
        self.state().running.len()
    }

    /// Makes the folder and the writer.
    pub(super) fn prepare(&self) -> Result<Arc<Writer>, NotBegun> {
        let ChosenFolder { folder, files, waiting, min_free, .. } = lock(&self.settings).clone();
        if folder.as_os_str().is_empty() {
            return Err(NotBegun::Off);
        }
        let failed = |error| NotBegun::Failed(format!("cannot capture into {}: {error}", folder.display()));
        let mut writer = lock(&self.writer);
        // Files that begin while the folder is listed may be counted twice, and are never missed.
        let (begun, to_create) = (self.tally.begun(), writer.as_ref().map_or(0, |writer| writer.to_create()));
        let found = prepare(&folder).map_err(failed)?;
        {
            let mut state = self.state();
            state.files = found + to_create + (self.tally.begun() - begun);
            if state.files >= files {
                return Err(NotBegun::Full(state.files));
            }
        }
        check_room(&folder, min_free).map_err(failed)?;
        if let Some(writer) = &*writer {
            return Ok(writer.clone());
        }
        let started = Writer::start(waiting, self.min_free.clone());
        let started =
            started.map_err(|error| NotBegun::Failed(format!("cannot start a thread for captures: {error}")))?;
        Ok(writer.insert(Arc::new(started)).clone())
    }

    /// Adds a capture; its number.
    pub(super) fn begin(self: &Arc<Self>, choice: CaptureChoice, limits: ChosenLimits) -> Result<u64, NotBegun> {
        let mut state = self.state();
        if state.running.len() >= MOST_RUNNING {
            return Err(NotBegun::TooMany(MOST_RUNNING));
        }
        self.watch(&mut state)?;
        state.last += 1;
        let (number, now, begun) = (state.last, Instant::now(), SystemTime::now());
        let until = now.checked_add(limits.time).unwrap_or(now);
        state.running.push(Running {
            number,
            choice,
            limits,
            begun,
            until,
            matches: 0,
            files: Vec::new(),
            left_out: Vec::new(),
            full: None,
            ended: None,
        });
        self.count_waiting(&state);
        drop(state);
        self.timed.notify_all();
        Ok(number)
    }

    /// Makes sure that a thread ends captures in time.
    fn watch(self: &Arc<Self>, state: &mut State) -> Result<(), NotBegun> {
        if !state.is_watched {
            let shared = self.clone();
            let started = thread::Builder::new().name("capture-time".to_owned()).spawn(move || shared.end_in_time());
            started.map_err(|error| NotBegun::Failed(format!("cannot start a thread for captures: {error}")))?;
            state.is_watched = true;
        }
        Ok(())
    }

    /// Ends captures when their time is over, until none runs.
    fn end_in_time(&self) {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let due = state.running.iter().filter(|capture| capture.until <= now).map(|capture| capture.number);
            let due: Vec<_> = due.collect();
            if !due.is_empty() {
                drop(state);
                due.into_iter().for_each(|number| self.end(number, &FileEnd::Time));
                state = self.state();
                continue;
            }
            let Some(next) = state.running.iter().map(|capture| capture.until).min() else {
                state.is_watched = false;
                return;
            };
            let waited = self.timed.wait_timeout(state, next.saturating_duration_since(now));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The time of a capture is over from now on.
    #[cfg(test)]
    pub(super) fn let_time_pass(&self, number: u64) {
        if let Some(capture) = self.state().running(number) {
            capture.until = Instant::now();
        }
        self.timed.notify_all();
    }

    fn count_waiting(&self, state: &State) {
        let waits = |capture: &&Running| !matches!(capture.choice, CaptureChoice::Connection(_)) && capture.has_room();
        self.waiting.store(state.running.iter().filter(waits).count(), Ordering::Release);
    }

    pub(super) fn count_matches(&self, number: u64, matches: usize) {
        if let Some(capture) = self.state().running(number) {
            capture.matches = matches;
        }
    }

    pub(super) fn end(&self, number: u64, why: &FileEnd) {
        let files = {
            let mut state = self.state();
            let Some(index) = state.running.iter().position(|capture| capture.number == number) else {
                return;
            };
            let mut capture = state.running.remove(index);
            capture.ended = Some(why.name());
            let files = capture.files.clone();
            state.remember(capture);
            self.count_waiting(&state);
            files
        };
        self.timed.notify_all();
        let (writer, handle) = (lock(&self.writer).clone(), lock(&self.handle).clone());
        for file in files {
            if let Some(writer) = &writer {
                file.stop(why, writer);
            }
            // The connection drops its tap, and gets its bytes in batches again.
            if let Some(handle) = &handle {
                handle.poll_soon(file.connection);
            }
        }
        self.log_ended(number, why.name(), why.words());
    }

    /// Removes a capture that could not begin.
    pub(super) fn forget(&self, number: u64) {
        let mut state = self.state();
        state.running.retain(|capture| capture.number != number);
        state.ended.retain(|capture| capture.number != number);
        self.count_waiting(&state);
        drop(state);
        self.timed.notify_all();
    }

    /// A file of this capture has ended: with the last one the capture ends.
    fn file_over(&self, number: u64, file: &CaptureFile, end: &FileEnd) {
        let line = FileEnded::of(file, end);
        self.log(move || line.log(Some(number)));
        let mut state = self.state();
        state.open = state.open.saturating_sub(1);
        self.finish(&mut state, number);
    }

    /// Ends a capture that is done.
    fn finish(&self, state: &mut State, number: u64) {
        let Some(index) = state.running.iter().position(|capture| capture.number == number && capture.is_done()) else {
            return;
        };
        let mut capture = state.running.remove(index);
        let last = capture.files.last().and_then(|file| file.end());
        let why = capture.full.as_ref().or(last).cloned();
        capture.ended = Some(why.as_ref().map_or("ended_by_api", FileEnd::name));
        let words = match &capture.full {
            Some(full) => full.words(),
            None => "all its files are complete".to_owned(),
        };
        self.log_ended(number, capture.ended.unwrap_or_default(), words);
        state.remember(capture);
        self.count_waiting(state);
        self.timed.notify_all();
    }

    /// Has a line of the log written.
    fn log(&self, line: impl FnOnce() + Send + 'static) {
        if let Some(writer) = &*lock(&self.writer) {
            writer.log(line);
        }
    }

    fn log_ended(&self, number: u64, reason: &'static str, words: String) {
        self.log(move || info!(event = "capture_ended", capture = number, reason, "capture {number} ends: {words}"));
    }

    /// A tap for a connection that this capture takes.
    pub(super) fn tap(self: &Arc<Self>, number: u64) -> Box<dyn Tap> {
        Box::new(ChosenTap::chosen(self.clone(), number))
    }

    /// A tap for a connection that may be captured. `is_addressed` if the address of its client is known.
    pub(super) fn undecided_tap(self: &Arc<Self>, is_addressed: bool) -> Box<dyn Tap> {
        Box::new(ChosenTap::undecided(self.clone(), is_addressed))
    }

    /// The open connections that a capture takes: publishers first, then the oldest.
    pub(super) fn open_connections(&self, handle: &Handle, choice: &CaptureChoice) -> Vec<u64> {
        let mut found = Vec::new();
        handle.inspect_each(|conn| {
            // During the handshake the address may be that of a proxy, and no capture begins in the middle.
            let in_handshake = conn.session().phase() == Phase::Handshake;
            if in_handshake
                && !self.pending(conn.id()).is_some_and(|pending| pending.is_addressed())
                && self.captured_by(conn.id()).is_none()
            {
                return;
            }
            let role = conn.streams().find(|(role, key)| choice.takes_stream(key, *role)).map(|(role, _)| role);
            if role.is_some() || conn.peer().is_some_and(|peer| choice.takes_address(peer)) {
                found.push((role != Some(Role::Publisher), conn.id()));
            }
        });
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// Captures an open connection: from its beginning if its first records wait, otherwise from now on.
    ///
    /// # Errors
    /// See [`Handle::capture`].
    pub(super) fn take(self: &Arc<Self>, handle: &Handle, number: u64, connection: u64) -> Result<(), CaptureError> {
        if self.pending(connection).is_some_and(|pending| pending.begin(self, number)) {
            return Ok(());
        }
        handle.capture(connection, self.tap(number))
    }

    pub(super) fn has_room(&self, number: u64) -> bool {
        self.state().running(number).is_some_and(|capture| capture.has_room())
    }

    /// Notes that a capture chose a connection and cannot take it.
    pub(super) fn leave_out(&self, number: u64, connection: u64, why: String) {
        self.note_left_out(&mut self.state(), number, connection, why);
    }

    fn note_left_out(&self, state: &mut State, number: u64, connection: u64, why: String) {
        let Some(capture) = state.running(number) else {
            return;
        };
        if capture.left_out.len() >= MOST_LEFT_OUT || capture.left_out.iter().any(|left| left.connection == connection)
        {
            return;
        }
        capture.left_out.push(LeftOut { connection, why: why.clone() });
        self.log(move || {
            warn!(
                event = "capture_left_out",
                conn = connection,
                capture = number,
                reason = why,
                "conn {connection} is left out of capture {number}: {why}"
            );
        });
    }

    /// The capture that writes a file of this connection.
    pub(super) fn captured_by(&self, connection: u64) -> Option<u64> {
        let writes = |file: &Arc<CaptureFile>| file.connection == connection && file.end().is_none();
        let state = self.state();
        state.running.iter().find(|capture| capture.files.iter().any(writes)).map(|capture| capture.number)
    }

    /// Begins the file of a connection; `None` if the capture has ended or takes no more.
    pub(super) fn file(self: &Arc<Self>, number: u64, connection: u64, from_start: bool) -> Option<FileTap> {
        let writer = lock(&self.writer).clone()?;
        let ChosenFolder { folder, files, header, .. } = lock(&self.settings).clone();
        let header = if from_start { file_header(&header) } else { joined_file_header(&header) };
        // The file begins under this lock, so that nothing ends it before.
        let mut state = self.state();
        let (found, open) = (state.files, state.open);
        let capture = state.running(number).filter(|capture| capture.has_room())?;
        if found >= files {
            capture.full = Some(FileEnd::Files(files));
            self.log(move || {
                warn!(
                    event = "capture_limit",
                    capture = number,
                    conn = connection,
                    files,
                    "capture {number} takes no more connections: the folder has {found} captures, and capture.files \
                     allows {files}; conn {connection} is the first that it left out"
                );
            });
            self.finish(&mut state, number);
            self.count_waiting(&state);
            return None;
        }
        if open >= MOST_OPEN {
            let why = format!("{MOST_OPEN} files of captures are written already");
            self.note_left_out(&mut state, number, connection, why);
            return None;
        }
        let name = format!("capture-{number}-conn-{connection}-{}.{EXTENSION}", unix_time());
        let shared = Arc::downgrade(self);
        let over = Over(Box::new(move |file, end| {
            if let Some(shared) = shared.upgrade() {
                shared.file_over(number, file, end);
            }
        }));
        let file = CaptureFile::new(connection, folder.join(name), from_start, self.tally.clone(), Some(over));
        capture.files.push(file.clone());
        let limit = capture.limits.bytes;
        state.files += 1;
        state.open += 1;
        let path = file.path.clone();
        writer.log(move || {
            let (path, since) = (path.display(), if from_start { "from its beginning" } else { "from now on" });
            info!(
                event = "capture_file",
                conn = connection,
                capture = number,
                file = %path,
                from_start,
                "conn {connection} is captured {since} into {path}"
            );
        });
        let tap = FileTap::begin(writer, file, limit, &header);
        self.count_waiting(&state);
        Some(tap)
    }

    /// The capture that takes a connection by what is known of it.
    pub(super) fn taking(&self, takes: impl Fn(&CaptureChoice) -> bool) -> Option<u64> {
        let state = self.state();
        let taking = state.running.iter().find(|capture| capture.has_room() && takes(&capture.choice));
        taking.map(|capture| capture.number)
    }

    pub(super) fn waits(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// The connection, if it is not known yet whether it is captured.
    pub(super) fn pending(&self, connection: u64) -> Option<Arc<Pending>> {
        lock(&self.pending).get(&connection).and_then(Weak::upgrade)
    }

    pub(super) fn waits_for(&self, connection: u64, pending: &Arc<Pending>) {
        lock(&self.pending).insert(connection, Arc::downgrade(pending));
    }

    /// It is known now whether a connection is captured, and its bytes do not wait any more.
    pub(super) fn decided(&self, connection: u64, bytes: usize) {
        self.undecided.fetch_sub(bytes, Ordering::Relaxed);
        lock(&self.pending).remove(&connection);
    }

    /// Bytes of all connections that are not decided.
    pub(super) fn undecided(&self) -> usize {
        self.undecided.load(Ordering::Relaxed)
    }

    pub(super) fn keeps(&self, bytes: usize) {
        self.undecided.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What a connection sent cannot be kept.
    pub(super) fn incomplete(&self, connection: u64, is_much: bool) {
        let why = if is_much {
            "it sends much before it names its stream"
        } else {
            "all connections together send much before they name their streams"
        };
        self.log(move || {
            warn!(
                event = "capture_incomplete",
                conn = connection,
                reason = if is_much { "connection" } else { "all_connections" },
                "conn {connection} is not captured from its beginning: {why}"
            );
        });
    }
}
