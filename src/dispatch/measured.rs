//! The index that fan-out asks, for benches.

use super::registry::{Audience, Registry};
use crate::domain::{endpoint::Endpoint, id::EndpointId, record::EventAccepted};

/// Endpoints in memory.
pub(crate) struct Matcher(Registry);

impl Matcher {
    pub fn among(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        let registry = Registry::default();
        for endpoint in endpoints {
            registry.change(vec![endpoint], &[]);
        }
        Self(registry)
    }

    /// Those that want the event, in the order of their creation.
    pub fn matching(&self, event: &EventAccepted) -> Vec<EndpointId> {
        self.0.matching(&Audience::of(event))
    }
}
