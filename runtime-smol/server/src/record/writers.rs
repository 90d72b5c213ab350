use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use smol::Executor;
use smol::channel::{Receiver, Sender, unbounded};
use smol::future::{FutureExt, block_on};
use tracing::{error, warn};

/// The largest number of threads that write. A thread that waits for a disk does not block the others.
pub(super) const THREADS: usize = 8;

/// A few threads on which all recordings run. The first thread stays, so that there is one even if the system can start
/// no more later. The other threads start and end with the recordings.
pub(super) struct Writers {
    executor: Executor<'static>,
    state: Mutex<State>,
    /// One thread ends for each message.
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
    /// Makes sure that there is a thread.
    ///
    /// # Errors
    /// The system starts none.
    pub(super) fn prepare(self: &Arc<Self>) -> io::Result<()> {
        let mut state = self.state();
        if state.threads == 0 {
            self.add_thread(&mut state)?;
        }
        Ok(())
    }

    /// Runs a task that may block. A panic ends only the task.
    ///
    /// # Errors
    /// There is no thread, and the system starts none.
    pub(super) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let mut state = self.state();
        let wants_thread = state.threads < THREADS && state.threads <= state.tasks;
        let added = if wants_thread { self.add_thread(&mut state) } else { Ok(()) };
        let threads = state.threads;
        if threads > 0 {
            state.tasks += 1;
        }
        drop(state);
        match added {
            Err(error) if threads == 0 => return Err(error),
            Err(error) => warn!(
                event = "recording_failed",
                threads,
                error = %error,
                "recordings share {threads} threads, cannot start another: {error}"
            ),
            Ok(()) => {}
        }
        let over = Over(self.clone());
        let task = async move {
            let _over = over;
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                error!(event = "bug", "a recording ends: writing it panicked, which is a bug");
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
        // Tasks catch their own panics. After a panic from elsewhere the thread is still needed.
        while catch_unwind(AssertUnwindSafe(until_told)).is_err() {}
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes the end of a task when it is dropped, however the task ends.
struct Over(Arc<Writers>);

impl Drop for Over {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.tasks -= 1;
        if state.threads > state.tasks.max(1) {
            state.threads -= 1;
            // This cannot fail: the receiver is in the same struct.
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
