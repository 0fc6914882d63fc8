//! From what storage declares to the catalogue.

use super::{
    catalogue::Declared,
    schema::{Schema, on_a_deep_stack},
};
use crate::{dispatch::engine::Shared, domain::event::EventType, storage::DeclaredType};

impl Shared {
    /// Takes these as all there are, at once.
    pub(in crate::dispatch) fn load_event_types(&self, types: Vec<DeclaredType>) {
        self.event_types.replace(compiled(types));
    }

    /// Takes these as they are now, and those that are not declared any more, all at once: nobody sees half of an import.
    pub(in crate::dispatch) fn refresh_event_types(&self, declared: Vec<DeclaredType>, gone: &[EventType]) {
        self.event_types.change(compiled(declared), gone);
    }
}

/// Compiles what schemas there are. One that does not compile any more is said so and left out: refusing every event of
/// its type would be worse.
fn compiled(types: Vec<DeclaredType>) -> Vec<Declared> {
    let compile = |DeclaredType {
                       created_at,
                       declaration: put,
                   }: DeclaredType| {
        let schema = put.schema.as_deref().and_then(|text| {
            Schema::compile(text)
                .inspect_err(|error| {
                    tracing::error!(
                        event.type = %put.event_type,
                        %error,
                        "an event type's schema does not compile; its events are not checked"
                    );
                })
                .ok()
        });
        Declared {
            put,
            created_at,
            schema,
        }
    };
    if types.iter().all(|one| one.declaration.schema.is_none()) {
        return types.into_iter().map(compile).collect();
    }
    on_a_deep_stack(|| types.into_iter().map(compile).collect()).unwrap_or_else(|error| {
        tracing::error!(%error, "no thread to compile schemas; event types are not known");
        Vec::new()
    })
}
