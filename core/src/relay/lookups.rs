use std::collections::{HashMap, VecDeque};

use super::{AttemptId, Order};

/// The most look-ups at one time: each takes a thread, and a system whose name servers are silent answers after half a
/// minute.
pub(super) const MOST: usize = 16;

/// The look-ups of names. All that want the same name share one.
#[derive(Debug, Default)]
pub(super) struct LookUps {
    all: HashMap<AttemptId, LookUp>,
    by_host: HashMap<(String, u16), AttemptId>,
    /// Those that have not begun.
    queue: VecDeque<AttemptId>,
    running: usize,
}

#[derive(Debug)]
struct LookUp {
    host: String,
    port: u16,
    /// The attempts that wait for the answer.
    wanted_by: Vec<AttemptId>,
}

impl LookUps {
    /// An attempt needs the addresses of a host. `number` is for a look-up, if there is none of that host.
    pub(super) fn want(&mut self, attempt: AttemptId, number: AttemptId, host: String, port: u16) {
        let known = self.by_host.get(&(host.clone(), port)).and_then(|known| self.all.get_mut(known));
        if let Some(known) = known {
            return known.wanted_by.push(attempt);
        }
        self.by_host.insert((host.clone(), port), number);
        self.all.insert(number, LookUp { host, port, wanted_by: vec![attempt] });
        self.queue.push_back(number);
    }

    /// The attempt needs no answer any more. A look-up that has begun goes on: it cannot be ended everywhere, and has its
    /// thread until it is answered.
    pub(super) fn leave(&mut self, attempt: AttemptId, host: &str, port: u16) {
        let place = (host.to_owned(), port);
        let Some((number, look_up)) =
            self.by_host.get(&place).and_then(|number| Some((*number, self.all.get_mut(number)?)))
        else {
            return;
        };
        look_up.wanted_by.retain(|known| *known != attempt);
        if look_up.wanted_by.is_empty()
            && let Some(at) = self.queue.iter().position(|queued| *queued == number)
        {
            self.queue.remove(at);
            self.all.remove(&number);
            self.by_host.remove(&place);
        }
    }

    /// The answer is there. Returns the attempts that waited for it; `None` if there is no such look-up.
    pub(super) fn answered(&mut self, number: AttemptId) -> Option<Vec<AttemptId>> {
        let LookUp { host, port, wanted_by } = self.all.remove(&number)?;
        self.by_host.remove(&(host, port));
        self.running -= 1;
        Some(wanted_by)
    }

    /// The orders for those that may begin now.
    pub(super) fn begin(&mut self) -> Vec<Order> {
        let mut orders = Vec::new();
        while self.running < MOST
            && let Some(number) = self.queue.pop_front()
        {
            if let Some(LookUp { host, port, .. }) = self.all.get(&number) {
                self.running += 1;
                orders.push(Order::Resolve { attempt: number, host: host.clone(), port: *port });
            }
        }
        orders
    }
}
