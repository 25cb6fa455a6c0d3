//! What people decided, as the policy hears of it: from the table of our own doings, in its order, also after a restart.

use serde::{Deserialize, Serialize};

use crate::model::{Deed, Detection, PersonEvent, Silence, Text, Timestamp, limits, without_name};

use super::Policy;

impl Policy {
    /// Takes note of what a person did. What becomes of an action itself is the delivery's business.
    pub fn hear(&mut self, event: &PersonEvent) {
        let state = &mut self.state;
        match &event.did {
            Deed::Silenced { silence } => state.silences.add(silence.clone()),
            Deed::SilenceEnded { silence_id } => state.silences.end(silence_id, event.time),
            Deed::Acknowledged {
                incident_id,
                subject,
            } => state.incidents.acknowledge(subject, incident_id),
            Deed::Closed {
                incident_id,
                subject,
                ..
            } => state.incidents.close(subject, incident_id),
            Deed::BreakerHalfOpened { client } => {
                let time = event.time.as_millisecond();
                state.breakers.half_open(&client.key(), time);
            }
            Deed::Approved { .. }
            | Deed::Refused { .. }
            | Deed::Retried { .. }
            | Deed::Undone { .. }
            | Deed::Asked { .. } => {}
        }
    }
}

/// Those in force, and those that ended lately: an event may come late.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Silences(Vec<Silence>);

impl Silences {
    fn add(&mut self, silence: Silence) {
        let old = silence.created_at - limits::INCIDENT_IDLE;
        self.0
            .retain(|known| known.ends_at > old && known.id != silence.id);
        if self.0.len() >= limits::SILENCES_MAX {
            let soonest = (0..self.0.len()).min_by_key(|at| self.0[*at].ends_at);
            soonest.map(|at| self.0.remove(at));
        }
        self.0.push(silence);
    }

    fn end(&mut self, id: &Text, time: Timestamp) {
        if let Some(silence) = self.0.iter_mut().find(|silence| silence.id == *id) {
            silence.ends_at = silence.ends_at.min(time);
        }
    }

    /// Those about the user go; those that only name the user where they say why lose the name.
    pub(super) fn forget(&mut self, user_id: &str) {
        self.0
            .retain(|silence| silence.matchers.user_id.as_deref() != Some(user_id));
        for silence in &mut self.0 {
            if let Some(comment) = without_name(&silence.comment, user_id) {
                silence.comment = comment.into();
            }
        }
    }

    /// Why nobody is told of a detection, if so.
    pub(super) fn covering(&self, detection: &Detection) -> Option<Text> {
        let silence = self.0.iter().find(|silence| silence.covers(detection))?;
        let Silence {
            author,
            comment,
            ends_at,
            ..
        } = silence;
        Some(format!("silenced by {author} until {ends_at}: {comment}").into())
    }
}
