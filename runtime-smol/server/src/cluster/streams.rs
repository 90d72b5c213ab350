use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::Instant;

use anabranch_core::cluster::{ClaimNumber, DirectoryOrder, FindNumber};
use anabranch_core::location::{ClaimError, Event};
use anabranch_core::relay::Relays;
use smol::channel::Sender;
use tracing::{debug, info};

use super::directory::{Claim, Directory, Find, Watch};

/// Does in the directory what the streams of this server want, and tells them what it says.
pub(super) struct Streams {
    relays: Relays,
    claims: HashMap<ClaimNumber, Claim>,
    finds: HashMap<FindNumber, Find>,
    /// The questions that have their answer.
    answered: Arc<Mutex<Vec<FindNumber>>>,
    watches: HashMap<Arc<str>, Watch>,
    /// The secret that the relays know.
    secret: Option<Arc<str>>,
}

/// Wakes the driver of the directory.
struct Waking(Sender<()>);

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A full channel means that it will look anyway.
        let _ = self.0.try_send(());
    }
}

impl Streams {
    /// `wake` has the driver call [`follow`](Self::follow).
    pub(super) fn new(relays: Relays, wake: Sender<()>) -> Self {
        relays.set_directory_waker(Waker::from(Arc::new(Waking(wake))));
        Streams {
            relays,
            claims: HashMap::new(),
            finds: HashMap::new(),
            answered: Arc::default(),
            watches: HashMap::new(),
            secret: None,
        }
    }

    /// Does all that is wanted now.
    pub(super) fn follow(&mut self, directory: &Directory) {
        let secret = directory.secret();
        if secret != self.secret {
            if let Some(secret) = &secret {
                self.relays.set_cluster_secret(Instant::now(), secret);
            }
            self.secret = secret;
        }
        let answered = std::mem::take(&mut *self.answered.lock().unwrap_or_else(PoisonError::into_inner));
        for find in answered {
            self.finds.remove(&find);
        }
        loop {
            match self.relays.poll_directory() {
                DirectoryOrder::Claim { claim, name, conflict } => {
                    let (relays, stream) = (self.relays.clone(), name.clone());
                    let held = directory.claim(&name, conflict, move |outcome| {
                        log_claim(&stream, &outcome);
                        relays.claimed(claim, outcome);
                    });
                    self.claims.insert(claim, held);
                }
                DirectoryOrder::Release(claim) => _ = self.claims.remove(&claim),
                DirectoryOrder::Find { find, name } => {
                    let (relays, answered) = (self.relays.clone(), self.answered.clone());
                    let asked = directory.find(&name, move |located| {
                        relays.located(Instant::now(), find, located);
                        answered.lock().unwrap_or_else(PoisonError::into_inner).push(find);
                    });
                    self.finds.insert(find, asked);
                }
                DirectoryOrder::Watch(name) => {
                    let watch = directory.watch(&name);
                    self.watches.insert(name, watch);
                }
                DirectoryOrder::Unwatch(name) => _ = self.watches.remove(&name),
                DirectoryOrder::Deny { name, fencing } => directory.deny(&name, fencing),
                DirectoryOrder::Wait => return,
            }
        }
    }
}

/// The directory says this about a name.
pub(super) fn learn(relays: &Relays, event: &Event) {
    match event {
        Event::Registered { name, fencing } => relays.registered(name, *fencing),
        Event::Lost { name, .. } => relays.lost(name),
        Event::Changed { name } => relays.changed(Instant::now(), name),
        Event::Granted { .. } | Event::Refused { .. } | Event::Located { .. } => {}
    }
}

fn log_claim(name: &str, outcome: &Result<Option<u64>, ClaimError>) {
    let stream = name.escape_debug();
    match outcome {
        Ok(Some(fencing)) => {
            debug!(event = "name_claimed", stream = %stream, fencing, "this server has the name {stream} in the directory");
        }
        Ok(None) => info!(
            event = "name_unconfirmed",
            stream = %stream,
            "the directory gives no lease now: {stream} is published here all the same, and claimed later"
        ),
        Err(ClaimError::Held(node)) => info!(
            event = "name_held",
            stream = %stream,
            node = %node.escape_debug(),
            "the name {stream} is that of the server {}",
            node.escape_debug()
        ),
        Err(error) => info!(
            event = "name_not_claimed",
            stream = %stream,
            error = %error,
            "the name {stream} cannot be claimed: {error}"
        ),
    }
}
