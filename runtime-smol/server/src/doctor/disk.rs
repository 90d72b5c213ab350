use anabranch_core::url::{DEFAULT_VHOST, StreamKey};

use crate::examine::parts::sections;
use crate::record::{RecordSettings, free_space};
use crate::settings::Loaded;

use super::entry::{Entry, Report};
use super::server::{Running, Stream};

/// Bytes a day of one stream of 4 Mb/s, which is assumed if none is published now.
const ASSUMED: u64 = 4_000_000 / 8 * 86_400;

/// Whether the disks of recordings have room for a day.
pub(super) fn look(loaded: &Loaded, running: &Running, report: &mut Report) {
    let mut seen = Vec::new();
    for (path, settings) in sections(&loaded.settings) {
        let record = &settings.record;
        if record.streams.is_empty() || seen.contains(&&record.folder) {
            continue;
        }
        seen.push(&record.folder);
        let folder = record.folder.display();
        let Some(free) = free_space(&record.folder) else {
            continue;
        };
        let usable = free.saturating_sub(record.min_free.0);
        let (day, of_what) = a_day(record, running);
        let hours = usable.saturating_mul(24) / day.max(1);
        let words = format!(
            "{folder}: {:.1} GiB can be recorded, which is {hours} hours of {of_what} ({:.1} GiB a day)",
            gib(usable),
            gib(day)
        );
        let origin = loaded.tree.nearest(&path.key("record")).origin().clone();
        let entry = if hours < 24 {
            let cure = "remove or move old recordings, or record onto a larger disk; below record.min_free nothing is \
                        recorded";
            Entry::warning("disk", words, cure)
        } else {
            Entry::ok("disk", words)
        };
        report.add(entry.at(&origin, &path.key("record").key("folder")));
    }
}

/// What a day of recordings takes, by the streams that are published now.
fn a_day(record: &RecordSettings, running: &Running) -> (u64, String) {
    let recorded = running.streams.iter().filter(|stream| stream.is_live && is_recorded(record, stream));
    let rates: Vec<u64> = recorded.map(|stream| stream.kbps).filter(|kbps| *kbps > 0).collect();
    if rates.is_empty() {
        return (ASSUMED, "one stream of 4 Mb/s".to_owned());
    }
    let kbps = rates.iter().sum::<u64>();
    (kbps.saturating_mul(1000 / 8 * 86_400), format!("the {} streams that are recorded now", rates.len()))
}

fn is_recorded(record: &RecordSettings, stream: &Stream) -> bool {
    StreamKey::new(DEFAULT_VHOST, &stream.app, &stream.name).is_ok_and(|key| record.wants(&key))
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
