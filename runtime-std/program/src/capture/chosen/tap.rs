use std::mem;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anabranch_core::capture::{Joined, Opening, Tap};
use anabranch_core::conn::Role;
use anabranch_core::url::StreamKey;

use super::super::file::FileTap;
use super::lock;
use super::shared::Shared;

/// Bytes of one connection that wait until it is known whether it is captured: more than handshake, `connect` and the
/// first request of any client.
pub(super) const UNDECIDED: usize = 256 << 10;
/// The same of all connections.
pub(super) const ALL_UNDECIDED: usize = 16 << 20;

/// A connection of which it is not known yet whether it is captured. Its tap has it, and a capture that begins may choose
/// it from another thread.
#[derive(Debug)]
pub(super) struct Pending(Mutex<Waits>);

#[derive(Debug)]
enum Waits {
    Undecided {
        connection: u64,
        /// What came so far.
        records: Vec<u8>,
        /// True if the address of the client is known, and not only that of its proxy.
        is_addressed: bool,
    },
    /// Its file, or none if it is not captured.
    Decided(Option<FileTap>),
}

impl Pending {
    /// Captures it from its beginning. False if it is decided already.
    pub(super) fn begin(&self, shared: &Arc<Shared>, number: u64) -> bool {
        let mut waits = lock(&self.0);
        let Waits::Undecided { connection, records, .. } = &mut *waits else {
            return false;
        };
        let (connection, records) = (*connection, mem::take(records));
        shared.decided(connection, records.len());
        let mut file = shared.file(number, connection, true);
        if let Some(file) = &mut file
            && !records.is_empty()
        {
            file.record(&records);
        }
        *waits = Waits::Decided(file);
        true
    }

    /// True if it waits and the address of its client is known.
    pub(super) fn is_addressed(&self) -> bool {
        matches!(&*lock(&self.0), Waits::Undecided { is_addressed: true, .. })
    }

    /// It is not captured.
    fn leave_out(&self, shared: &Shared) {
        let mut waits = lock(&self.0);
        if let Waits::Undecided { connection, records, .. } = &*waits {
            shared.decided(*connection, records.len());
            *waits = Waits::Decided(None);
        }
    }

    /// Keeps a record. False if it was decided meanwhile, or there is no room.
    fn keep(&self, shared: &Shared, record: &[u8]) -> bool {
        let mut waits = lock(&self.0);
        let Waits::Undecided { connection, records, .. } = &mut *waits else {
            return false;
        };
        let is_much = records.len() + record.len() > UNDECIDED;
        if is_much || shared.undecided() + record.len() > ALL_UNDECIDED {
            shared.incomplete(*connection, is_much);
            return false;
        }
        records.extend_from_slice(record);
        shared.keeps(record.len());
        true
    }
}

/// The tap of a connection that is captured, or may be.
#[derive(Debug)]
pub(super) struct ChosenTap {
    shared: Arc<Shared>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Taken by this capture; the file begins with the first call.
    Chosen(u64),
    /// Not known yet. The records so far wait.
    Undecided(Arc<Pending>),
    Writing(FileTap),
    Over,
}

impl ChosenTap {
    pub(super) fn chosen(shared: Arc<Shared>, number: u64) -> Self {
        ChosenTap { shared, stage: Stage::Chosen(number) }
    }

    pub(super) fn undecided(shared: Arc<Shared>, is_addressed: bool) -> Self {
        let waits = Waits::Undecided { connection: 0, records: Vec::new(), is_addressed };
        ChosenTap { shared, stage: Stage::Undecided(Arc::new(Pending(Mutex::new(waits)))) }
    }

    /// The connection, if it is not known yet whether it is captured. It may have been decided by another thread.
    fn pending(&mut self) -> Option<Arc<Pending>> {
        let Stage::Undecided(pending) = &self.stage else {
            return None;
        };
        let pending = pending.clone();
        let mut waits = lock(&pending.0);
        if let Waits::Decided(file) = &mut *waits {
            self.stage = file.take().map_or(Stage::Over, Stage::Writing);
            return None;
        }
        drop(waits);
        Some(pending)
    }

    fn begin(&mut self, number: u64, connection: u64, from_start: bool) {
        self.stage = self.shared.file(number, connection, from_start).map_or(Stage::Over, Stage::Writing);
    }
}

impl Tap for ChosenTap {
    fn opened(&mut self, opening: &Opening) {
        match &self.stage {
            Stage::Chosen(number) => self.begin(*number, opening.connection, true),
            Stage::Undecided(pending) => {
                if let Waits::Undecided { connection, .. } = &mut *lock(&pending.0) {
                    *connection = opening.connection;
                }
                self.shared.waits_for(opening.connection, pending);
            }
            Stage::Writing(_) | Stage::Over => {}
        }
    }

    fn joined(&mut self, joined: &Joined) {
        if let Stage::Chosen(number) = self.stage {
            self.begin(number, joined.opening.connection, false);
        }
    }

    fn client_address(&mut self, address: SocketAddr) {
        let Some(pending) = self.pending() else {
            return;
        };
        if let Waits::Undecided { is_addressed, .. } = &mut *lock(&pending.0) {
            *is_addressed = true;
        }
        if let Some(number) = self.shared.taking(|choice| choice.takes_address(address)) {
            pending.begin(&self.shared, number);
            self.pending();
        }
    }

    fn names(&mut self, key: &StreamKey, publishes: bool) {
        let Some(pending) = self.pending() else {
            return;
        };
        let role = if publishes { Role::Publisher } else { Role::Player };
        match self.shared.taking(|choice| choice.takes_stream(key, role)) {
            Some(number) => _ = pending.begin(&self.shared, number),
            None => pending.leave_out(&self.shared),
        }
        self.pending();
    }

    fn record(&mut self, record: &[u8]) {
        if let Some(pending) = self.pending() {
            if pending.keep(&self.shared, record) {
                return;
            }
            pending.leave_out(&self.shared);
            self.pending();
        }
        if let Stage::Writing(file) = &mut self.stage {
            file.record(record);
        }
    }

    fn is_over(&self) -> bool {
        match &self.stage {
            Stage::Writing(file) => file.is_over(),
            Stage::Undecided(pending) => match &*lock(&pending.0) {
                Waits::Undecided { .. } => !self.shared.waits(),
                Waits::Decided(file) => file.as_ref().is_none_or(FileTap::is_over),
            },
            Stage::Chosen(_) => false,
            Stage::Over => true,
        }
    }
}

impl Drop for ChosenTap {
    fn drop(&mut self) {
        if let Stage::Undecided(pending) = &self.stage {
            pending.leave_out(&self.shared);
        }
    }
}
