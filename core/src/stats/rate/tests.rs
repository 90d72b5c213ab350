use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[allow(clippy::disallowed_methods)] // any instant is fine as the start of the test's clock
fn origin() -> Instant {
    Instant::now()
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Records one frame every `step` milliseconds from `from` until before `to`.
fn steady(rate: &Rate, start: Instant, from: u64, to: u64, step: usize, bytes: u64) {
    for at in (from..to).step_by(step) {
        rate.record(start + ms(at), bytes, 1);
    }
}

#[test]
fn it_is_small() {
    assert!(size_of::<Rate>() <= 256, "{}", size_of::<Rate>());
}

#[test]
fn the_tiers_fill_the_slots_and_the_windows_are_as_named() {
    let mut next = 0;
    for tier in &TIERS {
        assert_eq!(tier.first_slot, next);
        next += tier.slots;
    }
    assert_eq!(next, SLOTS as u64);
    assert_eq!(Window::ALL.map(|window| window.duration().as_secs()), [1, 10, 30, 60, 300]);
    for window in Window::ALL {
        assert!(window.buckets() + 2 <= window.tier().slots);
    }
}

#[test]
fn a_steady_stream_reads_the_same_in_all_windows() {
    let start = origin();
    let rate = Rate::new(start);
    steady(&rate, start, 0, 1_000_000, 40, 5000);
    for at in [1_000_000, 1_000_001, 1_000_249, 1_000_039] {
        for window in Window::ALL {
            // One frame more or less is 0.8 of 25 a second at the shortest window.
            let (kbps, fps) = (rate.kbps(window, start + ms(at)), rate.fps(window, start + ms(at)));
            let error = if window == Window::Seconds1 { 0.25 } else { 0.03 };
            assert!(
                (fps / 25.0 - 1.0).abs() < error && (kbps / 1000.0 - 1.0).abs() < error,
                "{window:?}: {fps} {kbps}"
            );
        }
    }
}

#[test]
fn before_it_is_full_a_window_reports_the_mean_since_the_first_record() {
    let start = origin();
    let rate = Rate::new(start);
    for window in Window::ALL {
        assert_eq!(rate.recent(window, start + ms(70_000)), Recent { bytes: 0, frames: 0, milliseconds: 1000 });
    }
    // An hour after the origin. Time before the first record does not count.
    rate.record(start + ms(3_600_100), 125_000, 1);
    for window in Window::ALL {
        assert_eq!(rate.kbps(window, start + ms(3_600_100)), 1000.0, "not over less than a second");
        assert_eq!(rate.fps(window, start + ms(3_600_500)), 1.0);
    }
    rate.record(start + ms(3_604_100), 125_000, 3);
    for window in [Window::Seconds10, Window::Seconds30, Window::Seconds60, Window::Seconds300] {
        assert_eq!(rate.kbps(window, start + ms(3_604_100)), 500.0);
        assert_eq!(rate.fps(window, start + ms(3_604_100)), 1.0);
    }
}

#[test]
fn the_rate_falls_to_zero_without_input() {
    let start = origin();
    let rate = Rate::new(start);
    steady(&rate, start, 0, 400_000, 20, 1000);
    for window in Window::ALL {
        let length = window.duration().as_millis() as u64;
        let resolution = window.resolution().as_millis() as u64;
        let mut before = f64::MAX;
        for step in 0..8 {
            let kbps = rate.kbps(window, start + ms(400_000 + step * length / 8));
            assert!(kbps < before && kbps > 0.0, "{window:?}: {kbps} after {before}");
            before = kbps;
        }
        assert_eq!(rate.recent(window, start + ms(400_000 + length + resolution)).frames, 0);
        assert_eq!(rate.kbps(window, start + ms(4_000_000_000)), 0.0);
    }
}

#[test]
fn a_reader_behind_the_writer_and_a_clock_that_goes_back_do_no_harm() {
    let start = origin();
    let rate = Rate::new(start + ms(5000));
    rate.record(start, 10, 1);
    rate.record(start + ms(9000), 10, 1);
    rate.record(start + ms(5000), 10, 1);
    assert_eq!(rate.recent(Window::Seconds1, start), Recent { bytes: 20, frames: 2, milliseconds: 1000 });
    assert_eq!(rate.recent(Window::Seconds10, start).frames, 3);
}

#[test]
fn totals_past_the_end_of_the_number_are_not_noticed() {
    let start = origin();
    let rate = Rate::new(start);
    let most = (1 << BYTES_BITS) - 1;
    for at in (0..400_000_000).step_by(400_000) {
        rate.record(start + ms(at), most, 1_000_000);
        assert_eq!(rate.recent(Window::Seconds300, start + ms(at)).bytes, most);
        assert_eq!(rate.recent(Window::Seconds1, start + ms(at)).frames, 1_000_000);
    }
}

proptest! {
    /// Every record of the window is counted, and no record from more than a bucket before it.
    #[test]
    fn it_counts_what_a_list_of_all_records_does(
        records in vec((prop_oneof![4 => 0..100_u64, 2 => 0..5_000_u64, 1 => 0..400_000_u64], 0..1_000_000_u64, 0..10_u32), 1..200),
        wait in prop_oneof![0..2000_u64, 0..500_000_u64],
        before in 0..1_000_000_u64,
    ) {
        let start = origin();
        let rate = Rate::new(start);
        let mut at = before;
        let mut list = Vec::new();
        for (step, bytes, frames) in records {
            at += step;
            rate.record(start + ms(at), bytes, frames);
            list.push((at, bytes, frames));
            for now in [at, at + wait] {
                for window in Window::ALL {
                    check(&rate, &list, start, now, window)?;
                }
            }
        }
    }
}

fn check(rate: &Rate, list: &[(u64, u64, u32)], start: Instant, now: u64, window: Window) -> Result<(), TestCaseError> {
    let since = |from: Option<u64>| {
        let counted = list.iter().filter(|(at, ..)| from.is_none_or(|from| *at >= from));
        counted.fold((0, 0), |(bytes, frames), record| (bytes + record.1, frames + u64::from(record.2)))
    };
    let length = window.duration().as_millis() as u64;
    let resolution = window.resolution().as_millis() as u64;
    let recent = rate.recent(window, start + ms(now));
    let least = since(now.checked_sub(length));
    let most = since(now.checked_sub(length + resolution).map(|before| before + 1));
    prop_assert!((least.0..=most.0).contains(&recent.bytes), "{window:?} {recent:?} {least:?} {most:?}");
    prop_assert!((least.1..=most.1).contains(&recent.frames), "{window:?} {recent:?} {least:?} {most:?}");

    // The time reported is the time counted.
    let age = now - list[0].0;
    let span = recent.milliseconds;
    if age >= length + resolution {
        prop_assert!((length..length + resolution).contains(&span), "{window:?} {recent:?}");
        prop_assert_eq!(since(Some(now - span)), (recent.bytes, recent.frames));
    } else if age <= length {
        prop_assert_eq!(span, age.max(1000));
    }
    Ok(())
}
