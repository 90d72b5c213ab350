use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::Timer;
use smol::future::{FutureExt as _, yield_now};
use tracing::{debug, warn};

use super::dial::Dial;
use super::directory::Shared;
use super::replies::{self, error_of};

/// The first pause before the connection is opened again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Passes the notices of other servers on to core, on a separate connection, until this future is dropped. Notices that are
/// sent while it is lost are missed; what core remembers of a name lasts a second, so nothing else is.
pub(super) async fn follow(shared: Arc<Shared>, dial: Arc<Dial>, host: String, address: SocketAddr) {
    let mut pause = PAUSES.0;
    let mut logged = false;
    loop {
        let mut has_begun = false;
        let words = listen(&shared, &dial, &host, address, &mut has_begun).await;
        if has_begun {
            pause = PAUSES.0;
            logged = false;
        }
        if logged {
            debug!(event = "notices_lost_connection", error = words, "no notices of other servers: {words}");
        } else {
            warn!(
                event = "notices_lost_connection",
                error = words,
                "the connection for notices of other servers is lost: {words}; changes are noticed up to a second later"
            );
            logged = true;
        }
        Timer::after(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Listens until the connection is lost; why it was.
async fn listen(shared: &Shared, dial: &Dial, host: &str, address: SocketAddr, has_begun: &mut bool) -> String {
    let mut link = match dial.open_again(host, address).await {
        Ok(link) => link,
        Err(error) => return error.words,
    };
    let quiet = shared.who.ttl / 3;
    link.send(&["SUBSCRIBE", &shared.who.keys.channel()]);
    let mut asked = true;
    loop {
        let received = async { Some(link.reply().await) };
        let silent = async {
            Timer::after(quiet).await;
            None
        };
        let frame = match received.or(silent).await {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return error.to_string(),
            None if asked => return "no reply in time".to_owned(),
            None => {
                asked = true;
                link.send(&["PING"]);
                continue;
            }
        };
        asked = false;
        // Replies that are there already would keep the thread from the requests of this server.
        yield_now().await;
        if let Some(words) = error_of(&frame) {
            return words.chars().filter(|c| !c.is_control()).take(200).collect();
        }
        *has_begun = true;
        if let Some(notice) = replies::notice(&frame) {
            shared.tally.notice();
            let mut inner = shared.lock();
            inner.location.handle_notice(Instant::now(), &notice.name, &notice.node, notice.fencing);
            drop(inner);
            shared.wake();
        }
    }
}

/// Returns when the Sentinels name another Redis as the master than `address`. A Redis that is cut off from them may still
/// answer this server.
pub(super) async fn until_moved(dial: Arc<Dial>, address: SocketAddr, interval: Duration) {
    for turn in 0.. {
        Timer::after(interval).await;
        if dial.master(turn).await.is_ok_and(|master| is_elsewhere(&master, address)) {
            return;
        }
    }
}

/// Whether a master with these addresses is another one than that at `address`. A name may have several addresses, in
/// another order each time.
fn is_elsewhere(master: &[SocketAddr], address: SocketAddr) -> bool {
    !master.is_empty() && !master.contains(&address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_with_several_addresses_is_where_one_of_them_is() {
        let [one, two, three] = ["[::1]:6379", "127.0.0.1:6379", "127.0.0.1:6380"].map(|text| text.parse().unwrap());
        assert!(!is_elsewhere(&[one, two], two) && !is_elsewhere(&[two, one], two));
        assert!(is_elsewhere(&[one, two], three));
        assert!(!is_elsewhere(&[], one), "a name that has no address now says nothing");
    }
}
