//! One event on its way through the stages, with what each of them would otherwise work out anew.

use std::sync::Arc;

use super::compiled::Compiled;
use super::key::Scope;
use super::plan::Plan;
use crate::model::Enriched;
use crate::rules::context::Context;

#[derive(Clone, Copy)]
pub(super) struct Passing<'a> {
    pub(super) event: &'a Enriched,
    pub(super) context: &'a Arc<Context>,
    /// Of the client and tenant that the event names.
    pub(super) plan: &'a Plan,
    pub(super) scope: Scope,
    /// Event time in milliseconds.
    pub(super) time: i64,
    /// Later than the lateness.
    pub(super) late: bool,
}

impl<'a> Passing<'a> {
    pub(super) fn new(
        compiled: &'a Compiled,
        (event, scope): (&'a Enriched, Scope),
        context: &'a Arc<Context>,
        late: bool,
    ) -> Self {
        let (client_id, tenant) = (&event.event.client_id, &event.event.tenant);
        Self {
            event,
            context,
            plan: compiled.plan(client_id.as_deref(), tenant.as_deref()),
            scope,
            time: event.event.time.as_millisecond(),
            late,
        }
    }
}
