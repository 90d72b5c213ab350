use std::sync::Arc;

/// To which of several servers clients are sent that leave this one: each to the one with the fewest clients, where those
/// that were sent before count as there already. So servers that have as many get as many.
#[derive(Debug, Clone, Default)]
pub struct Spread(Vec<Target>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    clients: u64,
    address: Arc<str>,
}

impl Spread {
    /// The servers, as URLs such as `rtmp://HOST:PORT`, and how many clients each has.
    pub fn new(servers: impl IntoIterator<Item = (Arc<str>, u64)>) -> Self {
        Spread(servers.into_iter().map(|(address, clients)| Target { clients, address }).collect())
    }

    /// All clients go to one URL.
    pub fn to_one(url: &str) -> Self {
        Spread::new([(url.into(), 0)])
    }

    /// How many servers there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is no server.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where the next client is sent; `None` if there is no server.
    pub fn next_server(&self) -> Option<&Arc<str>> {
        self.0.iter().min().map(|target| &target.address)
    }

    /// The client was sent there.
    pub fn sent(&mut self) {
        if let Some(target) = self.0.iter_mut().min() {
            target.clients = target.clients.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn spread(servers: &[(&str, u64)], clients: usize) -> BTreeMap<String, usize> {
        let mut spread = Spread::new(servers.iter().map(|(name, clients)| ((*name).into(), *clients)));
        let mut sent = BTreeMap::new();
        for _ in 0..clients {
            *sent.entry(spread.next_server().expect("there is one").to_string()).or_default() += 1;
            spread.sent();
        }
        sent
    }

    #[test]
    fn clients_go_where_the_fewest_are_and_are_counted_there() {
        let expected = [("b".to_owned(), 50), ("c".to_owned(), 50)];
        assert_eq!(spread(&[("b", 10), ("c", 10)], 100), BTreeMap::from(expected));
        let expected = [("b".to_owned(), 70), ("c".to_owned(), 30)];
        assert_eq!(spread(&[("b", 0), ("c", 40), ("d", 1000)], 100), BTreeMap::from(expected));
    }

    #[test]
    fn without_servers_clients_are_sent_nowhere() {
        let mut none = Spread::default();
        none.sent();
        assert!(none.is_empty() && none.next_server().is_none());
        assert_eq!(Spread::to_one("rtmp://b").next_server().map(|url| &**url), Some("rtmp://b"));
    }
}
