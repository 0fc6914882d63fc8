//! Deadlines that are noticed late.
//!
//! A process that was stopped, or on a machine that was, finds its deadlines passed when it goes on, while what it
//! waited for may have arrived meanwhile. So a deadline that is noticed late gives the socket a moment before it
//! counts, and the fault is then this machine's: no receiver is to be blamed for it.

use std::{future::Future, pin::pin, time::Duration};

use tokio::time::{Instant, timeout, timeout_at};

use crate::domain::outcome::{Class, Fault};

/// A deadline noticed so much later is this machine's trouble. Timers of a busy one are late by some milliseconds.
const LATE: Duration = Duration::from_secs(1);

/// The deadline has passed.
pub(super) struct Expired;

/// Runs `future` until `deadline`. Where the deadline is noticed late, `future` gets as much time again, a second at
/// the most, for what has arrived meanwhile.
pub(super) async fn within<F: Future>(deadline: Instant, future: F) -> Result<F::Output, Expired> {
    let mut future = pin!(future);
    if let Ok(output) = timeout_at(deadline, future.as_mut()).await {
        return Ok(output);
    }
    let late = Instant::now().saturating_duration_since(deadline);
    timeout(late.min(LATE), future).await.map_err(|_| Expired)
}

/// What `fault` is where it was seen long after `deadline`: a receiver that gave up on a stopped process, or was given
/// up by it, has not failed.
pub(super) fn blamed(deadline: Instant, fault: Fault) -> Fault {
    let is_late = Instant::now() >= deadline + LATE;
    if is_late && fault.class().0 == Class::Transient {
        Fault::Stalled
    } else {
        fault
    }
}

#[cfg(test)]
mod tests {
    use tokio::{sync::oneshot, time::advance};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_has_come_by_a_deadline_that_is_noticed_late_still_counts() {
        let deadline = Instant::now() + Duration::from_secs(2);
        let (answer, answered) = oneshot::channel();
        let waiting = within(deadline, async move {
            // The first look of a process that goes on finds nothing, for the runtime has yet to ask the kernel.
            tokio::time::sleep_until(deadline + Duration::from_millis(4_010)).await;
            answered.await
        });
        let pause = async {
            answer.send("delivered").unwrap();
            advance(Duration::from_secs(6)).await;
        };
        let (waited, ()) = tokio::join!(waiting, pause);
        assert!(matches!(waited, Ok(Ok("delivered"))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_is_noticed_in_time_is_kept() {
        let started = Instant::now();
        let never = std::future::pending::<()>();
        assert!(within(started + Duration::from_secs(2), never).await.is_err());
        assert!(started.elapsed() < Duration::from_millis(2_100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_fault_is_ours_unless_it_is_about_the_endpoint_or_the_event() {
        let deadline = Instant::now();
        assert_eq!(blamed(deadline, Fault::TimeoutTotal), Fault::TimeoutTotal);
        advance(LATE).await;
        for (fault, expected) in [
            (Fault::TimeoutTotal, Fault::Stalled),
            (Fault::TimeoutConnect, Fault::Stalled),
            (Fault::Reset, Fault::Stalled),
            (Fault::Dns, Fault::Stalled),
            (Fault::AddressForbidden, Fault::AddressForbidden),
            (Fault::Descriptors, Fault::Descriptors),
        ] {
            assert_eq!(blamed(deadline, fault), expected, "{fault:?}");
        }
        assert_eq!(Fault::Stalled.class(), (Class::Ours, false));
    }
}
