use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use anabranch_core::conn::{Ask, AskId, Notice, Verdict};

use crate::host::Link;

/// Who decides about clients, outside of the server: asked before a client may connect, publish or play, and told when
/// what was asked about is over. Which questions are asked, and what silence means, is
/// [`VhostConfig::asks`](anabranch_core::conn::VhostConfig::asks).
///
/// Both calls come from the thread that serves the connection and must not block: other connections may wait behind
/// this one. Who needs time takes the [`Answer`] along, to another thread or task. A call that panics costs the client
/// its connection, and nobody else anything.
///
/// ```
/// use anabranch_core::conn::{Ask, Subject, Verdict};
/// use anabranch_host::{Answer, Hooks};
///
/// #[derive(Debug)]
/// struct OneApp;
///
/// impl Hooks for OneApp {
///     fn ask(&self, ask: Ask, answer: Answer) {
///         answer.give(match &ask.subject {
///             Subject::Publish(stream) if stream.key.app() != "live" => Verdict::Deny("not here".into()),
///             _ => Verdict::Allow,
///         });
///     }
/// }
/// ```
pub trait Hooks: fmt::Debug + Send + Sync + 'static {
    /// A client wants something. Until the answer is given, or the question's deadline has come, the client waits, and
    /// its connection alone.
    fn ask(&self, ask: Ask, answer: Answer);

    /// What was asked about, and not refused, is over; told exactly once, whatever happened in between.
    fn tell(&self, notice: Notice) {
        let _ = notice;
    }
}

/// Answers one question, once, from any thread. Dropping it is silence: then the deadline decides. It does not keep
/// the connection: an answer to a client that is gone is nothing.
#[must_use = "dropping it is silence"]
pub struct Answer {
    id: AskId,
    deliver: Box<dyn FnOnce(Verdict) + Send>,
}

impl Answer {
    pub(crate) fn new<C: Link>(id: AskId, connection: &Arc<C>) -> Self {
        let connection = Arc::downgrade(connection);
        let deliver = move |verdict| {
            let mut verdict = Some(verdict);
            if let Some(connection) = connection.upgrade() {
                connection.change(&mut |conn| {
                    if let Some(verdict) = verdict.take() {
                        conn.answer(Instant::now(), id, verdict);
                    }
                });
            }
        };
        Answer { id, deliver: Box::new(deliver) }
    }

    /// Which question this answers.
    pub fn id(&self) -> AskId {
        self.id
    }

    /// Gives the answer. Does not block.
    pub fn give(self, verdict: Verdict) {
        (self.deliver)(verdict);
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("id", &self.id).finish_non_exhaustive()
    }
}
