use std::sync::{Mutex, TryLockError};

/// Has what a queue holds done in its order: by one thread at a time, and never from inside of what is done.
#[derive(Debug, Default)]
pub(crate) struct InOrder(Mutex<()>);

impl InOrder {
    /// Does what `next` gives until it gives nothing, `most` times at most. If another thread does that, or a call further
    /// out on this one, it does this, too. `has_more` says whether `next` would give something. Returns false if something
    /// is left that no thread is about to do.
    pub(crate) fn carry_out<E>(
        &self,
        most: usize,
        has_more: impl Fn() -> bool,
        mut next: impl FnMut() -> Option<E>,
        mut act: impl FnMut(E),
    ) -> bool {
        let mut left = most;
        loop {
            let busy = match self.0.try_lock() {
                Ok(busy) => busy,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                // The one that has it looks again when it has given it back.
                Err(TryLockError::WouldBlock) => return true,
            };
            while left > 0 {
                let Some(effect) = next() else { break };
                act(effect);
                left -= 1;
            }
            drop(busy);
            if !has_more() {
                return true;
            }
            if left == 0 {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::VecDeque;
    use std::sync::{Barrier, PoisonError};
    use std::thread;

    use super::*;

    #[derive(Default)]
    struct Queue {
        order: InOrder,
        waiting: Mutex<VecDeque<u32>>,
        done: Mutex<Vec<u32>>,
    }

    impl Queue {
        fn carry_out(&self, most: usize, mut act: impl FnMut(u32)) -> bool {
            let waiting = || self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.order.carry_out(most, || !waiting().is_empty(), || waiting().pop_front(), &mut act)
        }
    }

    #[test]
    fn what_is_done_from_inside_waits_for_its_turn() {
        let queue = Queue::default();
        queue.waiting.lock().expect("no panic").extend(0..100_000);
        let depth = Cell::new(0);
        let is_done = queue.carry_out(usize::MAX, |number| {
            depth.set(depth.get() + 1);
            assert_eq!(depth.get(), 1, "no effect is done inside of another");
            if number < 10 {
                queue.waiting.lock().expect("no panic").push_back(number + 1_000_000);
            }
            assert!(queue.carry_out(usize::MAX, |_| panic!("the outer call does it")));
            queue.done.lock().expect("no panic").push(number);
            depth.set(depth.get() - 1);
        });
        let done = queue.done.lock().expect("no panic");
        assert!(is_done && done.len() == 100_010, "{}", done.len());
        assert!(done.is_sorted(), "they are done in their order");
    }

    #[test]
    fn threads_do_everything_in_one_order() {
        let (queue, last, barrier) = (Queue::default(), Mutex::new(0), Barrier::new(4));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    for _ in 0..2000 {
                        {
                            let mut last = last.lock().expect("no panic");
                            *last += 1;
                            queue.waiting.lock().expect("no panic").push_back(*last);
                        }
                        queue.carry_out(usize::MAX, |number| queue.done.lock().expect("no panic").push(number));
                    }
                });
            }
        });
        let done = queue.done.lock().expect("no panic");
        assert!(done.iter().copied().eq(1..=8000), "{} in another order", done.len());
    }

    #[test]
    fn a_thread_that_has_done_its_share_says_so() {
        let queue = Queue::default();
        queue.waiting.lock().expect("no panic").extend(0..5);
        assert!(!queue.carry_out(3, |_| {}));
        assert_eq!(queue.waiting.lock().expect("no panic").len(), 2);
        assert!(queue.carry_out(3, |_| {}));
    }
}
