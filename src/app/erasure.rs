//! Forgetting a person in the event archive: the lines about the user and the user's families go.
//!
//! Two passes: the first finds out which families and sessions were the user's, since the server does not always say whose a
//! refused token was; the second drops every line that names one of them. Files without such a line are not touched.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;

use regex::Regex;
use serde::Deserialize;

use crate::archive::{Folder, newest_first, rewrite};
use crate::model::{Person, Text};
use crate::store::{Mention, Names};

/// Bytes of memory that the search for thousands of families may take.
const SEARCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gone {
    pub events: u64,
    /// Frames that nobody can read, and of which nobody can say whose they were.
    pub damaged: u64,
}

/// Forgets a person. Nothing else may write to the archive's finished files meanwhile.
pub fn forget(folder: &Folder, person: &Person) -> io::Result<Gone> {
    let names = Names::new(&person.user_id, &named_with(folder, person)?);
    let any = any_of(names.all().map(String::as_str))?;
    let mut forgotten = 0;
    let rewritten = rewrite(folder, |lines| {
        if !any.is_match(lines) {
            return None;
        }
        let mut kept = String::with_capacity(lines.len());
        let before = forgotten;
        for line in lines.split_inclusive('\n') {
            if any.is_match(line) && names.mention(line) >= Some(Mention::Named) {
                forgotten += 1;
            } else {
                kept.push_str(line);
            }
        }
        (forgotten > before).then_some(kept)
    })?;
    Ok(Gone {
        events: forgotten,
        damaged: rewritten.damaged,
    })
}

/// The person's families and sessions.
fn named_with(folder: &Folder, person: &Person) -> io::Result<Vec<Text>> {
    let user = any_of([&*person.user_id])?;
    let mut named = BTreeSet::new();
    newest_first(folder, u64::MAX, |lines| {
        if user.is_match(lines) {
            for line in lines.lines().filter(|line| user.is_match(line)) {
                let whose: Option<Whose<'_>> = serde_json::from_str(line).ok();
                named.extend(
                    whose
                        .filter(|it| it.is(person))
                        .into_iter()
                        .flat_map(Whose::ids),
                );
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(named.into_iter().collect())
}

/// Finds any of them, as JSON writes it.
fn any_of<'a>(names: impl IntoIterator<Item = &'a str>) -> io::Result<Regex> {
    let escaped = names.into_iter().map(|name| {
        let json = serde_json::to_string(name).unwrap_or_default();
        regex::escape(json.trim_matches('"'))
    });
    let any = escaped.collect::<Vec<_>>().join("|");
    regex::RegexBuilder::new(&any)
        .size_limit(SEARCH_BYTES_MAX)
        .build()
        .map_err(io::Error::other)
}

/// What a line says about whose it is.
#[derive(Deserialize)]
struct Whose<'a> {
    #[serde(borrow)]
    user_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    family_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    session_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tokenwarden: Option<Noted<'a>>,
}

#[derive(Deserialize)]
struct Noted<'a> {
    #[serde(borrow)]
    family_id: Option<Cow<'a, str>>,
}

impl<'a> Whose<'a> {
    fn is(&self, person: &Person) -> bool {
        self.user_id.as_deref() == Some(&*person.user_id)
    }

    fn ids(self) -> impl Iterator<Item = Text> + use<'a> {
        let noted = self.tokenwarden.and_then(|noted| noted.family_id);
        let ids = [self.family_id, self.session_id, noted];
        ids.into_iter().flatten().map(|id| id.as_ref().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Writer;

    const EVENTS: &str = r#"{"event_id":"1","user_id":"alice \"a\" ä","family_id":"f-alice","session_id":"s-alice","tokenwarden":{}}
{"event_id":"2","user_id":"bob","family_id":"f-bob","tokenwarden":{}}
{"event_id":"3","user_id":"alice \"a\" ä","tokenwarden":{"family_id":"t-alice"}}
{"event_id":"4","error":"no session","family_id":"f-alice","tokenwarden":{}}
{"event_id":"5","session_id":"s-alice","tokenwarden":{}}
{"event_id":"6","user_id":"malice \"a\" ä","tokenwarden":{"family_id":"t-alice-2"}}
{"event_id":"7","tokenwarden":{"family_id":"t-alice"}}
{"event_id":"8","user_id":"bob","error":"the user alice \"a\" ä is not bob","tokenwarden":{}}
"#;

    #[test]
    fn a_person_goes_with_families_and_sessions_and_nobody_else() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::new(home.path());
        let locked = folder.lock().unwrap().unwrap();
        let (mut writer, _) = Writer::open(locked, |_| None).unwrap();
        for hour in ["2026-11-22T05:00:00Z", "2026-11-22T06:00:00Z"] {
            writer
                .write(EVENTS.as_bytes(), hour.parse().unwrap())
                .unwrap();
        }
        writer.end_file().unwrap();
        let alice = Person {
            user_id: "alice \"a\" ä".into(),
        };
        assert_eq!(forget(&folder, &alice).unwrap().events, 12);
        let mut left = String::new();
        newest_first(&folder, u64::MAX, |lines| {
            left.push_str(lines);
            ControlFlow::Continue(())
        })
        .unwrap();
        let kept: Vec<&str> = left.lines().filter_map(|line| line.get(13..14)).collect();
        assert_eq!(kept, ["2", "6", "2", "6"]);
        assert_eq!(forget(&folder, &alice).unwrap(), Gone::default());
    }

    #[test]
    fn an_id_that_is_a_word_of_every_line_takes_only_its_own() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::new(home.path());
        let locked = folder.lock().unwrap().unwrap();
        let (mut writer, _) = Writer::open(locked, |_| None).unwrap();
        let lines = r#"{"event_id":"1","type":"refresh","user_id":"bob","client_id":"refresh","tokenwarden":{}}
{"event_id":"2","type":"refresh","user_id":"refresh","tokenwarden":{}}
"#;
        let hour = "2026-11-22T05:00:00Z".parse().unwrap();
        writer.write(lines.as_bytes(), hour).unwrap();
        writer.end_file().unwrap();
        let refresh = Person {
            user_id: "refresh".into(),
        };
        assert_eq!(forget(&folder, &refresh).unwrap().events, 1);
    }
}
