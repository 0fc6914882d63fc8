//! Collecting the metrics and rendering them in Prometheus' text format 0.0.4.

use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use super::names::{self, Kind};

/// The collected metrics.
#[derive(Clone, Debug)]
pub struct Metrics(PrometheusHandle);

/// Metrics are already collected in this process.
#[derive(Debug, thiserror::Error)]
#[error("metrics are already collected in this process")]
pub struct AlreadyInstalled;

impl Metrics {
    /// The media type of [`render`](Self::render).
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Collects the metrics of this process from here on.
    ///
    /// # Errors
    ///
    /// When they are already collected.
    pub fn install() -> Result<Self, AlreadyInstalled> {
        let recorder = recorder().map_err(|_| AlreadyInstalled)?;
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_| AlreadyInstalled)?;
        begin();
        super::metrics::look_up();
        Ok(Self(handle))
    }

    /// The metrics as they stand.
    pub fn render(&self) -> String {
        metrics::counter!(names::LOG_LINES_LOST.name).absolute(super::log::lost());
        self.0.render()
    }

    /// Folds what the histograms have gathered into their buckets. Until then each sample takes memory, so
    /// call it every few seconds: nobody may be scraping.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in names::ALL {
        if let Kind::Histogram(buckets) = metric.kind {
            builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)?;
        }
    }
    Ok(builder.build_recorder())
}

/// Describes every metric, and begins at zero what has no labels or a fixed set of them.
fn begin() {
    for metric in names::ALL {
        let labelled = [names::EVENTS_REJECTED, names::ATTEMPTS, names::ENDPOINTS_DISABLED]
            .iter()
            .chain(&[names::DELIVERIES_SETTLED, names::ENDPOINTS])
            .any(|other| other.name == metric.name);
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.unit, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.unit, metric.help),
            Kind::Histogram(_) => describe_histogram!(metric.name, metric.unit, metric.help),
        }
        match metric.kind {
            Kind::Counter if !labelled => metrics::counter!(metric.name).absolute(0),
            Kind::Gauge if !labelled => metrics::gauge!(metric.name).set(0.0),
            _ => {}
        }
    }
    for state in names::SETTLED_STATES {
        metrics::counter!(names::DELIVERIES_SETTLED.name, names::STATE => state).absolute(0);
    }
    for state in names::ENDPOINT_STATES {
        metrics::gauge!(names::ENDPOINTS.name, names::STATE => state).set(0.0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        domain::outcome::{Class, Fault, Reason},
        telemetry::metrics as count,
    };

    fn rendered(counted: impl FnOnce()) -> String {
        let recorder = recorder().unwrap();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            begin();
            counted();
        });
        Metrics(handle).render()
    }

    #[test]
    fn series_with_known_labels_exist_at_zero_from_the_start() {
        let text = rendered(|| {});
        for line in [
            "posthaste_events_accepted_total 0",
            "posthaste_deliveries_settled_total{state=\"failed\"} 0",
            "posthaste_endpoints{state=\"disabled\"} 0",
            "# HELP posthaste_journal_bytes_total Bytes that were appended to the journal.",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }

    #[test]
    fn an_attempt_is_counted_by_outcome_and_timed_in_buckets() {
        let text = rendered(|| {
            let reason = Reason::Fault(Fault::Refused);
            count::attempt(Class::Transient, reason, Duration::from_millis(20));
            count::attempt(Class::Delivered, Reason::Status, Duration::from_secs(4));
        });
        for line in [
            "posthaste_attempts_total{outcome=\"transient\",reason=\"refused\"} 1",
            "posthaste_attempts_total{outcome=\"delivered\",reason=\"status\"} 1",
            "posthaste_attempt_duration_seconds_bucket{le=\"0.025\"} 1",
            "posthaste_attempt_duration_seconds_bucket{le=\"5\"} 2",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }

    #[test]
    fn every_function_counts_under_a_described_name() {
        let text = rendered(|| {
            count::events_accepted(3);
            count::event_duplicate();
            count::event_rejected("payload_too_large");
            count::delivery_settled("delivered");
            count::first_attempt(Duration::from_millis(2));
            count::attempt(Class::Delivered, Reason::Status, Duration::from_millis(2));
            count::deliveries_in_flight(7);
            count::endpoints("active", 2);
            count::endpoint_disabled("gone");
            count::journal(count::JournalCounts::default());
            count::store_applied(11);
            count::store_rebuilds(1);
        });
        for metric in names::ALL {
            assert!(
                text.contains(&format!("# TYPE {} ", metric.name)),
                "{} is never counted",
                metric.name
            );
        }
        let samples = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        for line in samples {
            assert!(
                names::ALL.iter().any(|metric| line.starts_with(metric.name)),
                "{line}"
            );
        }
    }
}
