//! The clock against wall clocks that jump, on paused time.

use super::*;
use crate::runtime::clock::SteppedClock;

const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const YEARS: Duration = Duration::from_secs(10 * 366 * 86_400);

/// An engine's clock, and the wall clock below it.
struct Bench {
    wall: Arc<SteppedClock>,
    clock: EngineClock,
}

impl Bench {
    fn at(wall: Timestamp) -> Self {
        let wall = Arc::new(SteppedClock::new(wall));
        Self {
            clock: EngineClock::new(wall.clone(), None, Timestamp::EPOCH),
            wall,
        }
    }

    fn ahead(&self, by: Duration) {
        self.wall.step(i64::try_from(by.as_millis()).unwrap());
    }

    fn behind(&self, by: Duration) {
        self.wall.step(-i64::try_from(by.as_millis()).unwrap());
    }

    /// Time passes, and the clock is looked at as the server does it.
    async fn pass(&self, mut time: Duration) {
        while !time.is_zero() {
            let piece = time.min(Duration::from_secs(10));
            tokio::time::advance(piece).await;
            time -= piece;
            if self.clock.observe() {
                self.clock.follow();
            }
        }
    }

    /// The process ends and comes back after a while, over records that end with `newest`.
    async fn restart(&mut self, after: Duration, newest: Timestamp, same_boot: bool) {
        let mut saved = self.clock.saved(false);
        if !same_boot {
            saved.boot = "another".to_owned();
        }
        tokio::time::advance(after).await;
        self.clock = EngineClock::new(self.wall.clone(), Some(saved), newest);
    }

    fn since(&self, then: Timestamp) -> Duration {
        self.clock.now().since(then)
    }
}

/// Equal but for what engine time is slowed by.
fn about(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) <= Duration::from_secs(2).max(other / 1500)
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_ahead_for_a_few_minutes_changes_nothing() {
    for ahead in [HOUR, 40 * DAY, YEARS] {
        let bench = Bench::at(START);
        bench.ahead(ahead);
        bench.pass(5 * MINUTE).await;
        assert!(bench.clock.suspicious().is_some());
        assert!(about(bench.since(START), 5 * MINUTE), "{:?}", bench.since(START));
        bench.behind(ahead);
        bench.pass(MINUTE).await;
        assert_eq!(bench.clock.suspicious(), None);
        assert_eq!(bench.clock.now(), bench.clock.wall());
        assert!(about(bench.clock.elapsed_since(START), 6 * MINUTE));
    }
}

#[tokio::test(start_paused = true)]
async fn a_jump_forward_is_followed_once_it_is_confirmed_and_nothing_ages_by_it() {
    let bench = Bench::at(START);
    bench.pass(HOUR).await;
    bench.ahead(YEARS);
    bench.pass(CONFIRMED_AFTER + MINUTE).await;
    assert_eq!(bench.clock.suspicious(), None);
    assert_eq!(bench.clock.now(), bench.clock.wall());
    let passed = HOUR + CONFIRMED_AFTER + MINUTE;
    assert!(about(bench.clock.elapsed_since(START), passed));
    assert!(about(START.since(bench.clock.ago(passed)), Duration::ZERO));
    // What was to last for two hours has one left, by its end as it was reckoned before the jump.
    let end = START.plus(2 * HOUR);
    assert!(end > bench.clock.over(2 * HOUR));
    bench.pass(HOUR).await;
    assert!(end <= bench.clock.over(2 * HOUR));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_is_followed_and_what_was_left_of_a_delay_is_left() {
    for by in [10 * MINUTE, HOUR, 300 * DAY] {
        let bench = Bench::at(START);
        let due = START.plus(30 * MINUTE);
        bench.behind(by);
        assert!(bench.clock.now() >= START);
        bench.pass(CONFIRMED_AFTER + MINUTE).await;
        assert_eq!(bench.clock.suspicious(), None, "{by:?}");
        let (now, shown) = bench.clock.now_and_shown();
        assert!(about(due.since(now), 30 * MINUTE - CONFIRMED_AFTER - MINUTE));
        assert_eq!(shown, bench.clock.wall());
        // A time that somebody names is the wall clock's.
        let named = shown.plus(HOUR);
        assert!(about(bench.clock.to_come(named).since(now), HOUR));
        // What was seen before the correction is shown as it was.
        assert_eq!(bench.clock.shown(START), START);
    }
}

#[tokio::test(start_paused = true)]
async fn small_steps_are_followed_at_once_or_walked_off() {
    let bench = Bench::at(START);
    bench.ahead(MINUTE);
    assert_eq!(bench.since(START), MINUTE);
    bench.behind(MINUTE);
    assert!(bench.since(START) >= MINUTE, "never back");
    tokio::time::advance(2 * DAY).await;
    assert_eq!(bench.clock.now(), bench.clock.wall());
    assert_eq!(bench.clock.suspicious(), None);
}

#[tokio::test(start_paused = true)]
async fn asking_often_does_not_slow_it() {
    let bench = Bench::at(START);
    bench.behind(HOUR);
    for _ in 0..20_000 {
        tokio::time::advance(Duration::from_micros(500)).await;
        bench.clock.now();
    }
    assert!(bench.since(START) >= Duration::from_millis(9_990));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_keeps_jumping_is_not_followed() {
    let bench = Bench::at(START);
    for _ in 0..20 {
        bench.ahead(HOUR);
        bench.pass(5 * MINUTE).await;
    }
    assert!(
        about(bench.since(START), 100 * MINUTE),
        "{:?}",
        bench.since(START)
    );
}

#[tokio::test(start_paused = true)]
async fn a_new_device_that_boots_in_1970_works_and_follows_when_its_clock_is_set() {
    let bench = Bench::at(Timestamp::EPOCH);
    bench.pass(HOUR).await;
    assert_eq!(
        (bench.since(Timestamp::EPOCH), bench.clock.suspicious()),
        (HOUR, None)
    );
    bench.ahead(START.since(Timestamp::EPOCH));
    bench.pass(CONFIRMED_AFTER + MINUTE).await;
    assert_eq!(bench.clock.now(), bench.clock.wall());
    assert!(about(
        bench.clock.elapsed_since(Timestamp::EPOCH),
        HOUR + CONFIRMED_AFTER + MINUTE
    ));
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_was_wrong_at_the_start_is_left_as_soon_as_the_right_time_has_stood_for_as_long() {
    for (stood, followed_after) in [(10, MINUTE), (180, 3 * MINUTE), (3600, CONFIRMED_AFTER)] {
        let bench = Bench::at(START.plus(YEARS));
        bench.pass(Duration::from_secs(stood)).await;
        let due = bench.clock.now().plus(HOUR);
        bench.behind(YEARS);
        bench.pass(followed_after - MINUTE / 2).await;
        assert!(bench.clock.suspicious().is_some(), "{stood}");
        bench.pass(MINUTE).await;
        let (now, shown) = bench.clock.now_and_shown();
        assert_eq!(shown, bench.clock.wall(), "{stood}");
        assert!(about(due.since(now), HOUR - followed_after - MINUTE / 2));
    }
    // Forward it takes as long as ever.
    let bench = Bench::at(START);
    bench.pass(MINUTE).await;
    bench.ahead(YEARS);
    bench.pass(CONFIRMED_AFTER - MINUTE).await;
    assert!(bench.since(START) < HOUR);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_wakes_in_1970_goes_on_where_it_was() {
    let mut bench = Bench::at(START);
    bench.pass(HOUR).await;
    let before = bench.clock.now();
    bench.behind(START.since(Timestamp::EPOCH));
    bench.restart(MINUTE, before, false).await;
    bench.pass(DAY).await;
    assert!(about(bench.since(before), DAY), "1970 is never followed");
    assert!(bench.clock.suspicious().is_some(), "and told of");
    // The network sets the clock; the device was off for a month meanwhile.
    bench.ahead(START.since(Timestamp::EPOCH) + 30 * DAY);
    bench.pass(CONFIRMED_AFTER + MINUTE).await;
    assert_eq!(bench.clock.now(), bench.clock.wall());
    assert!(about(
        bench.clock.elapsed_since(before),
        DAY + CONFIRMED_AFTER + MINUTE
    ));
}

#[tokio::test(start_paused = true)]
async fn a_restart_counts_the_time_it_took_whatever_the_wall_clock_shows() {
    let mut bench = Bench::at(START);
    bench.ahead(YEARS);
    bench.pass(MINUTE).await;
    bench.restart(HOUR, START, true).await;
    assert!(
        about(bench.since(START), HOUR + MINUTE),
        "{:?}",
        bench.since(START)
    );
    assert!(!bench.clock.observe() && bench.clock.suspicious().is_some());
    bench.behind(YEARS);
    assert_eq!(bench.clock.now(), bench.clock.wall());
}

#[tokio::test(start_paused = true)]
async fn what_the_clock_was_corrected_by_survives_a_restart() {
    for same_boot in [true, false] {
        let mut bench = Bench::at(START);
        bench.ahead(DAY);
        bench.pass(CONFIRMED_AFTER + MINUTE).await;
        bench.behind(DAY);
        bench.pass(CONFIRMED_AFTER + MINUTE).await;
        let (due, passed) = (bench.clock.now().plus(HOUR), 2 * (CONFIRMED_AFTER + MINUTE));
        bench.restart(10 * MINUTE, bench.clock.now(), same_boot).await;
        bench.pass(MINUTE).await;
        assert_eq!(bench.clock.suspicious(), None, "{same_boot}");
        let (now, shown) = bench.clock.now_and_shown();
        assert!(about(shown.since(bench.clock.wall()), Duration::ZERO));
        assert!(about(due.since(now), 49 * MINUTE), "{:?}", due.since(now));
        assert!(about(bench.clock.elapsed_since(START), passed + 11 * MINUTE));
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_off_for_long_goes_on_at_once_and_little_of_that_counts() {
    let mut bench = Bench::at(START);
    bench.restart(60 * DAY, START, false).await;
    assert_eq!(bench.clock.now(), bench.clock.wall());
    assert!(about(bench.clock.elapsed_since(START), DAY));
    bench.ahead(2 * YEARS);
    bench.restart(MINUTE, START, false).await;
    assert!(bench.since(START) < 61 * DAY, "decades are not believed");
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_was_set_back_while_the_process_was_away_is_believed_at_once() {
    let mut bench = Bench::at(START.plus(DAY));
    bench.pass(HOUR).await;
    let due = bench.clock.now().plus(HOUR);
    bench.behind(DAY);
    bench.restart(MINUTE, Timestamp::EPOCH, true).await;
    let (now, shown) = bench.clock.now_and_shown();
    assert_eq!(shown, bench.clock.wall());
    assert!(about(due.since(now), 59 * MINUTE));
    assert!(!bench.clock.observe() && bench.clock.suspicious().is_none());
}

/// Folders of older versions: a glitch had engine time at its height for good, and the newest record with it.
#[tokio::test(start_paused = true)]
async fn records_from_a_wrong_clock_keep_their_order_and_the_wall_clock_is_believed() {
    let wall = Arc::new(SteppedClock::new(START));
    let newest = START.plus(YEARS);
    let clock = EngineClock::new(wall.clone(), None, newest);
    let (now, shown) = clock.now_and_shown();
    assert_eq!((now, shown), (newest, START));
    assert_eq!(clock.elapsed_since(START.minus(DAY)), DAY);
    // The same when the newest record is only found once a rebuilt store is there.
    let late = EngineClock::new(wall, None, Timestamp::EPOCH);
    late.raise(newest);
    assert_eq!(late.now_and_shown(), (newest, START));
    assert!(!late.observe() && late.suspicious().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_saved_reads_back_and_what_is_damaged_is_as_good_as_missing() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Saved::read(dir.path()), None);
    let bench = Bench::at(START);
    bench.ahead(DAY);
    bench.pass(CONFIRMED_AFTER + MINUTE).await;
    bench.behind(DAY);
    bench.pass(CONFIRMED_AFTER + MINUTE).await;
    let saved = bench.clock.saved(false);
    saved.write(dir.path()).unwrap();
    assert_eq!(Saved::read(dir.path()), Some(saved));
    std::fs::write(dir.path().join("clock"), "{").unwrap();
    assert_eq!(Saved::read(dir.path()), None);
}

/// What is written down before the wall clock is followed is what is so after it.
#[tokio::test(start_paused = true)]
async fn a_crash_between_the_note_and_the_correction_changes_nothing() {
    for ahead in [true, false] {
        let bench = Bench::at(START);
        bench.pass(DAY).await;
        if ahead {
            bench.ahead(YEARS);
        } else {
            bench.behind(DAY);
        }
        tokio::time::advance(MINUTE).await;
        assert!(!bench.clock.observe());
        tokio::time::advance(CONFIRMED_AFTER).await;
        assert!(bench.clock.observe());
        let saved = bench.clock.saved(true);
        assert!(bench.clock.follow());
        assert_eq!(bench.clock.saved(false), saved);
        let again = EngineClock::new(bench.wall.clone(), Some(saved), START);
        assert_eq!(again.now_and_shown(), bench.clock.now_and_shown());
        assert_eq!(again.elapsed_since(START), bench.clock.elapsed_since(START));
    }
}
