//! Looking back into the event archive: what a family went through, long after the engine and the store have forgotten it.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::ops::ControlFlow;

use super::parts;
use super::replay::replay_key;
use crate::archive::{Folder, Looked, newest_first};
use crate::decode::{Archived, Decoder};
use crate::enrich::parse_agent;
use crate::model::limits::{
    ARCHIVE_EVENTS_SHOWN, ARCHIVE_SEARCHED_FOR_NOTICE_BYTES, NOTICE_STORY_MAX,
};
use crate::model::{Detection, Event, EventType, Evidence, Outcome, Text};
use crate::rules::context::Context;
use crate::rules::words::who;

/// What is looked for, and whose: two servers may give the same ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub id: Id,
    /// Without it the newest that has the id, of whichever server.
    pub whose: Option<Whose>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Id {
    /// By the family's id or by any of its tokens.
    Family(Text),
    /// With what its family did before it, and a little of what came after.
    Event(Text),
}

/// Within which ids are unique: those of families and tokens. Those of events are so within the issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whose {
    pub issuer: Text,
    pub tenant: Option<Text>,
}

impl Wanted {
    /// The event that completed the proof.
    pub fn event_of(detection: &Detection) -> Self {
        Self {
            id: Id::Event(detection.event_id.clone()),
            whose: Some(Whose::of_detection(detection)),
        }
    }

    fn is_meant(&self, archived: &Archived) -> bool {
        let event = &archived.event.event;
        let whose = self.whose.as_ref();
        match &self.id {
            Id::Family(id) => {
                names(archived, id) && whose.is_none_or(|whose| *whose == Whose::of(event))
            }
            Id::Event(id) => {
                event.event_id == *id && whose.is_none_or(|whose| whose.issuer == event.issuer)
            }
        }
    }
}

impl Whose {
    pub fn of_detection(detection: &Detection) -> Self {
        Self {
            issuer: detection.issuer.clone(),
            tenant: detection.tenant.clone(),
        }
    }

    fn of(event: &Event) -> Self {
        Self {
            issuer: event.issuer.clone(),
            tenant: event.tenant.clone(),
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// Oldest first, the newest of them; none where nothing was found.
    pub events: Vec<Archived>,
    pub looked: Looked,
}

/// Events after the one that is asked for.
const AFTER: usize = 5;

/// Looks back for an event or a family; two passes from the newest on, each within so many packed bytes.
pub fn look_back(folder: &Folder, wanted: &Wanted, bytes_max: u64) -> anyhow::Result<Past> {
    let canonical =
        parts::named_decoder("tokenwarden", None, replay_key()).map_err(anyhow::Error::msg)?;
    let mut past = Past::default();
    let (Id::Family(id) | Id::Event(id)) = &wanted.id;
    let mut found = None;
    let archive = Archive {
        folder,
        canonical: &*canonical,
        bytes_max,
    };
    past.looked = archive.each(std::slice::from_ref(id), |archived| {
        if wanted.is_meant(&archived) {
            found = Some(archived);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    let Some(found) = found else {
        return Ok(past);
    };
    past.events = match found.family_id.clone() {
        Some(family) => archive.around(&[family, id.clone()], &found)?,
        None => vec![found],
    };
    Ok(past)
}

/// The archive, and how much of it is read.
struct Archive<'a> {
    folder: &'a Folder,
    canonical: &'a dyn Decoder,
    bytes_max: u64,
}

impl Archive<'_> {
    /// The last events of a family up to the one that was found, and a few after it.
    fn around(&self, ids: &[Text; 2], found: &Archived) -> io::Result<Vec<Archived>> {
        let (mut after, mut until, mut is_met) = (VecDeque::new(), Vec::new(), false);
        let whose = Whose::of(&found.event.event);
        let mut seen = BTreeSet::new();
        self.each(ids, |archived| {
            let event = &archived.event.event;
            // Another server's family of the same name is none of this one.
            if Whose::of(event) != whose {
                return ControlFlow::Continue(());
            }
            is_met |= event.event_id == found.event.event.event_id;
            let is_of_it = ids.iter().any(|id| names(&archived, id));
            // A source may repeat itself, and so may an archive after a crash.
            if (is_of_it || is_met && until.is_empty()) && seen.insert(event.event_id.clone()) {
                if is_met {
                    until.push(archived);
                } else {
                    after.push_front(archived);
                    after.truncate(AFTER);
                }
            }
            if until.len() >= ARCHIVE_EVENTS_SHOWN {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        let mut events: Vec<Archived> = until.into_iter().rev().chain(after).collect();
        // Files are in order of arrival.
        events.sort_by_key(|archived| archived.event.event.time);
        Ok(events)
    }

    /// Shows every event whose line holds one of the ids, newest first.
    fn each(
        &self,
        ids: &[Text],
        mut look: impl FnMut(Archived) -> ControlFlow<()>,
    ) -> io::Result<Looked> {
        let quoted = |id: &Text| serde_json::to_string(&**id).unwrap_or_default();
        let quoted: Vec<String> = ids.iter().map(quoted).collect();
        let is_in = |text: &str| quoted.iter().any(|id| text.contains(id));
        newest_first(self.folder, self.bytes_max, |lines| {
            if is_in(lines) {
                for line in lines.lines().rev().filter(|line| is_in(line)) {
                    if let Some(archived) = Archived::read(line, self.canonical) {
                        look(archived)?;
                    }
                }
            }
            ControlFlow::Continue(())
        })
    }
}

fn names(archived: &Archived, id: &Text) -> bool {
    let event = &archived.event.event;
    [&archived.family_id, &event.token_id, &event.new_token_id].contains(&&Some(id.clone()))
}

/// What a family went through up to an event, for a notification; nothing where the archive's newest part does not hold it.
pub fn story_until(folder: &Folder, wanted: &Wanted) -> anyhow::Result<Vec<Evidence>> {
    let past = look_back(folder, wanted, ARCHIVE_SEARCHED_FOR_NOTICE_BYTES)?;
    let Some(last) = past.events.iter().position(|it| wanted.is_meant(it)) else {
        return Ok(Vec::new());
    };
    let first = (last + 1).saturating_sub(NOTICE_STORY_MAX);
    Ok(past.events[first..=last].iter().map(story_line).collect())
}

/// An event as a line of a family's story.
pub fn story_line(archived: &Archived) -> Evidence {
    let mut enriched = archived.event.clone();
    enriched.agent = enriched.event.user_agent.as_deref().and_then(parse_agent);
    let event = &enriched.event;
    let answer = match (event.kind, event.outcome) {
        (EventType::Issue, Outcome::Success) => "issued".to_owned(),
        (EventType::Refresh, Outcome::Success) => "accepted".to_owned(),
        (EventType::Issue | EventType::Refresh, Outcome::Failure) => "refused".to_owned(),
        (kind, _) => kind.to_string(),
    };
    let line = Evidence::new()
        .with("time", event.time.to_string())
        .with("answer", answer)
        .with_some("token", event.token_id.as_ref())
        .with_some("issued", event.new_token_id.as_ref())
        .with("event_id", &event.event_id)
        .with_some("reason", event.reason.map(crate::model::Reason::as_str));
    Evidence([line.0, who(&Context::of(&enriched)).0].concat())
}
