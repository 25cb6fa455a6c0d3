//! What the event archive still has of it: the story of the family, whatever the daemon has forgotten since.

use std::io::Write;

use serde_json::json;

use super::super::replay::Form;
use super::super::{Terminal, clean};
use super::text;
use crate::app::lookback::{Id, Past, Wanted, look_back, story_line};
use crate::archive::Folder;
use crate::config::Config;
use crate::decode::Archived;
use crate::model::Evidence;
use crate::model::limits::ARCHIVE_SEARCHED_BYTES;

/// Tells what is in the archive, where there is one; `false` where nothing is.
pub(super) fn tell(
    config: &Config,
    wanted: Option<&Wanted>,
    form: Form,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<bool> {
    let (Some(archive), Some(wanted)) = (&config.archive, wanted) else {
        return Ok(false);
    };
    let folder = Folder::new(&archive.path);
    let past = look_back(&folder, wanted, ARCHIVE_SEARCHED_BYTES)?;
    match form {
        Form::Text => print(&past, wanted, terminal.out)?,
        Form::Json => {
            for archived in &past.events {
                writeln!(terminal.out, "{}", object(archived))?;
            }
        }
    }
    if past.looked.damaged > 0 {
        writeln!(
            terminal.err,
            "tokenwarden: {} damaged frames of the archive cannot be read",
            past.looked.damaged
        )?;
    }
    if past.events.is_empty() && past.looked.cut_short {
        let since = past.looked.since.map(|since| since.to_string());
        writeln!(
            terminal.err,
            "tokenwarden: the archive was looked through back into the hour of {}; what is older is found with `zstdcat {}/*.jsonl.zst`",
            since.unwrap_or_default(),
            folder.path().display()
        )?;
    }
    Ok(!past.events.is_empty())
}

fn print(past: &Past, wanted: &Wanted, out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(last) = past.events.last() else {
        return Ok(());
    };
    let event = &last.event.event;
    let whose = Evidence::new()
        .with_some("family_id", last.family_id.as_ref())
        .with("issuer", &event.issuer)
        .with_some("tenant", event.tenant.as_ref())
        .with_some("user_id", event.user_id.as_ref())
        .with_some("client_id", event.client_id.as_ref())
        .with_some("session_id", event.session_id.as_ref());
    writeln!(out, "Archive {}", text::line(&whose))?;
    for archived in &past.events {
        let id = &archived.event.event.event_id;
        let is_meant = matches!(&wanted.id, Id::Event(wanted) if wanted == id);
        let mark = if is_meant { ">" } else { " " };
        let reason = archived.event.event.reason;
        let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
        let line = text::story_line(&story_line(archived));
        writeln!(out, "{mark} {line}{reason}, event {}", clean(id))?;
    }
    Ok(())
}

fn object(archived: &Archived) -> serde_json::Value {
    json!({
        "type": "archived", "family_id": archived.family_id, "event": archived.event.event,
        "from": story_line(archived),
    })
}
