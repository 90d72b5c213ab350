use std::time::Duration;

use anabranch_core::hub::{Hub, HubConfig, Player};
use anabranch_core::source::Gap;
use anabranch_core::stats::ConnStats;
use anabranch_core::url::DEFAULT_VHOST;

use super::*;

/// Streams of a hub, for their ids.
fn streams(count: usize) -> Vec<Player> {
    let hub = Hub::new(HubConfig::default());
    (0..count).map(|number| hub.play(&StreamKey::new(DEFAULT_VHOST, "live", &format!("s{number}")).unwrap())).collect()
}

fn bytes(bytes: u64) -> Counts {
    Counts { bytes, ..Counts::default() }
}

/// Each series as `name bytes`; the others' has no name.
fn shown(list: &[Series]) -> Vec<String> {
    let name = |series: &Series| series.key.as_ref().map_or_else(String::new, |key| key.stream().to_owned());
    list.iter().map(|series| format!("{} {}", name(series), series.counts.bytes)).collect()
}

#[test]
fn the_busiest_are_shown_and_each_byte_is_counted_once() {
    let hub = streams(3);
    let mut ledger = Ledger::new(1);
    let look = |ledger: &mut Ledger, counts: [u64; 3], rates: [f64; 3]| {
        for ((stream, count), rate) in hub.iter().zip(counts).zip(rates) {
            ledger.stream(stream.stream_id(), stream.key(), bytes(count), true, 0, rate);
        }
        let list = ledger.close();
        let own: u64 = ledger.streams.values().map(|account| account.own.bytes).sum();
        assert_eq!(own + ledger.others.bytes, counts.iter().sum::<u64>(), "shown or not");
        shown(&list)
    };
    assert_eq!(look(&mut ledger, [10, 20, 30], [5.0, 9.0, 1.0]), ["s1 20", " 40"]);
    assert_eq!(look(&mut ledger, [11, 22, 33], [17.0, 9.0, 1.0]), ["s1 22", " 44"], "not twice as busy");
    assert_eq!(look(&mut ledger, [21, 32, 43], [30.0, 9.0, 1.0]), ["s0 10", " 64"], "only what came since");
    assert_eq!(look(&mut ledger, [22, 33, 44], [3.0, 99.0, 1.0]), ["s1 23", " 66"], "goes on where it was");
}

#[test]
fn what_ends_leaves_the_rest_as_it_was() {
    let hub = streams(2);
    let mut ledger = Ledger::new(0);
    for (stream, count) in hub.iter().zip([10, 20]) {
        ledger.stream(stream.stream_id(), stream.key(), bytes(count), true, 1, 1.0);
    }
    assert_eq!(shown(&ledger.close()), [" 30"]);
    assert_eq!(shown(&ledger.close()), [" 30"], "all streams have ended");
    assert!(ledger.streams.is_empty());
    ledger.stream(hub[0].stream_id(), hub[0].key(), bytes(5), true, 1, 1.0);
    assert_eq!(shown(&ledger.close()), [" 35"], "a new stream with the same name");
}

#[test]
fn the_last_bytes_of_a_player_count_after_its_end() {
    let hub = streams(1);
    let (id, key) = (hub[0].stream_id(), hub[0].key());
    let now = Instant::now();
    let mut stats = ConnStats::new(now);
    let mut ledger = Ledger::new(1);
    let mut look = |there: bool, view: ConnStatsView| {
        ledger.stream(id, key, bytes(0), true, 1, 1.0);
        let found = if there { vec![(7, id, view)] } else { Vec::new() };
        ledger.players_found(found);
        ledger.close().remove(0).counts
    };
    stats.sent(now, 100);
    assert_eq!(look(true, stats.view()).sent_bytes, 100);
    stats.sent(now + Duration::from_secs(1), 50);
    stats.dropped(Gap { frames: 3, ..Gap::default() });
    let counts = look(false, stats.view());
    assert_eq!((counts.sent_bytes, counts.dropped_frames), (150, 3));
    stats.sent(now + Duration::from_secs(2), 50);
    assert_eq!(look(false, stats.view()).sent_bytes, 150, "forgotten");
}
