use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use smol::Executor;
use smol::channel::{Receiver, Sender, unbounded};
use smol::future::{FutureExt, block_on};
use tracing::{error, warn};

/// Threads that write, at most. One that is stuck in its disk holds up itself alone.
pub(super) const THREADS: usize = 8;

/// A few threads on which all recordings run. The first stays for good, so that there is one whatever the system can
/// give later; others come and go with the recordings.
pub(super) struct Writers {
    executor: Executor<'static>,
    state: Mutex<State>,
    /// One thread leaves for each message.
    leave: (Sender<()>, Receiver<()>),
}

#[derive(Debug, Default)]
struct State {
    threads: usize,
    tasks: usize,
}

impl Default for Writers {
    fn default() -> Self {
        Writers { executor: Executor::new(), state: Mutex::default(), leave: unbounded() }
    }
}

impl Writers {
    /// Sees to it that there is a thread.
    ///
    /// # Errors
    /// The system gives none.
    pub(super) fn prepare(self: &Arc<Self>) -> io::Result<()> {
        let mut state = self.state();
        if state.threads == 0 {
            self.add_thread(&mut state)?;
        }
        Ok(())
    }

    /// Runs a task that may block. One that panics ends, and nothing else.
    ///
    /// # Errors
    /// There is no thread, and the system gives none.
    pub(super) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let mut state = self.state();
        if state.threads < THREADS
            && state.threads <= state.tasks
            && let Err(error) = self.add_thread(&mut state)
        {
            if state.threads == 0 {
                return Err(error);
            }
            warn!("recordings share {} threads, there are no more: {error}", state.threads);
        }
        state.tasks += 1;
        drop(state);
        let over = Over(self.clone());
        let task = async move {
            let _over = over;
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                error!("a recording is given up: what writes it panicked, which is a bug");
            }
        };
        self.executor.spawn(task).detach();
        Ok(())
    }

    fn add_thread(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        let writers = self.clone();
        thread::Builder::new().name("record".to_owned()).spawn(move || writers.run())?;
        state.threads += 1;
        Ok(())
    }

    fn run(&self) {
        let until_told = || block_on(self.executor.run(self.leave.1.recv()));
        // Tasks contain their panics; should one come from elsewhere, the thread is needed all the same.
        while catch_unwind(AssertUnwindSafe(until_told)).is_err() {}
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes the end of a task, however it comes.
struct Over(Arc<Writers>);

impl Drop for Over {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.tasks -= 1;
        if state.threads > state.tasks.max(1) {
            state.threads -= 1;
            // The other end is beside it.
            let _ = self.0.leave.0.try_send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn many_tasks_share_few_threads_and_a_panic_ends_one() {
        let writers = Arc::new(Writers::default());
        let (sender, receiver) = unbounded();
        let (open, gate) = unbounded::<()>();
        for number in 0..100 {
            let (sender, gate) = (sender.clone(), gate.clone());
            let task = async move {
                let _ = gate.recv().await;
                assert_ne!(number % 10, 0, "one in ten panics");
                sender.try_send(number).unwrap();
            };
            writers.spawn(task).unwrap();
        }
        drop(sender);
        assert_eq!(writers.state().threads, THREADS);
        drop(open);
        let mut done = 0;
        while block_on(receiver.recv()).is_ok() {
            done += 1;
        }
        assert_eq!(done, 90);
        let start = Instant::now();
        while writers.state().tasks > 0 {
            assert!(start.elapsed() < Duration::from_secs(30));
            thread::yield_now();
        }
        assert_eq!(writers.state().threads, 1);
        // The last of them leave, and the one that stays still works.
        let (sender, receiver) = unbounded();
        writers.spawn(async move { sender.try_send(()).unwrap() }).unwrap();
        block_on(receiver.recv()).unwrap();
    }
}
