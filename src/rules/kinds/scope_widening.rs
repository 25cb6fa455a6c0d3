//! `scope_widening`: a refresh that names a scope its family was never granted.
//!
//! A refresh may ask for less than was granted, never for more (RFC 6749 section 6). A server that says it accepted more
//! has a fault, and somebody is using it. Some servers ignore the surplus and record what they gave: then nothing is wider
//! and nothing is found. More is granted by consent, which is an `issue`: most often of a family of its own.
//!
//! It never revokes: the token is the family's own, and who presented it is not known from what was asked.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::case::{At, FamilyCase, FamilyKind};
use super::super::finding::{Ask, Finding};
use super::super::ledger::{Entry, TokenHash};
use super::super::needs::Need;
use super::super::parameters::Parameters;
use super::super::short::Short as _;
use super::super::trace::Trace;
use super::super::words::{instant, place_name, who};
use super::Kind;
use crate::model::{Clue, Event, EventType, Evidence, Severity, Text, Value, limits};

/// Parameters of a scope-widening rule.
#[derive(Debug, Clone, PartialEq)]
pub struct ScopeWidening {
    /// Scopes that a client may add to what was granted.
    pub allow: Vec<Text>,
    pub settle: Duration,
}

impl Default for ScopeWidening {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            settle: Duration::from_secs(2),
        }
    }
}

impl Kind for ScopeWidening {
    fn parameters(&mut self, p: &mut dyn Parameters) {
        p.texts(
            "allow",
            "Scopes that a client may add to what was granted.",
            &mut self.allow,
        );
        p.duration(
            "settle",
            "How long a question waits for facts that may still come: the grant itself.",
            &mut self.settle,
        );
    }

    fn needs(&self) -> Vec<Need> {
        vec![
            Need::all(&[Clue::Scope]),
            Need::all(&[Clue::FamilyId, Clue::TokenId, Clue::SessionId]),
        ]
    }
}

/// The different scopes that a family's accepted events named, each once. Most families name one, or none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scopes(Vec<Named>);

/// One set of scopes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Named {
    /// Event time at which it was first named, milliseconds.
    first: i64,
    /// Presented with it for the first time.
    token: Option<TokenHash>,
    /// Event time at which it was first granted by an `issue`.
    granted: Option<i64>,
    scope: Text,
}

impl Scopes {
    /// Files what an event names; whatever the order of arrival, the same events leave the same.
    pub fn add(&mut self, event: &Event) {
        let Some(scope) = event.scope.as_ref().filter(|_| event.succeeded()) else {
            return;
        };
        // One that was cut on the way in ends in the middle of a word, and not always of the same.
        if scope.len() >= limits::TEXT_BYTES_MAX || words(scope).next().is_none() {
            return;
        }
        let time = event.time.as_millisecond();
        let issued = event.kind == EventType::Issue;
        self.file(Named {
            first: time,
            token: event.token_id.as_deref().map(TokenHash::of),
            granted: issued.then_some(time),
            scope: scope.clone(),
        });
    }

    /// Takes over what another family named, when a late event shows that the two are one.
    pub fn absorb(&mut self, other: Self) {
        for named in other.0 {
            self.file(named);
        }
    }

    fn file(&mut self, new: Named) {
        let same = |known: &&mut Named| {
            known.scope == new.scope
                || (includes(&known.scope, &new.scope) && includes(&new.scope, &known.scope))
        };
        if let Some(known) = self.0.iter_mut().find(same) {
            known.granted = [known.granted, new.granted].into_iter().flatten().min();
            if (new.first, new.token) >= (known.first, known.token) {
                return;
            }
            (known.first, known.token, known.scope) = (new.first, new.token, new.scope);
        } else {
            self.0.make_room();
            self.0.push(new);
        }
        self.0
            .sort_by(|a, b| (a.first, &a.scope).cmp(&(b.first, &b.scope)));
        if self.0.len() > limits::FAMILY_SCOPES_MAX {
            // What was granted stays as long as possible; a set that comes again is only found again.
            let goes = self.0.iter().skip(1).position(|n| n.granted.is_none());
            self.0.remove(goes.map_or(1, |at| at + 1));
        }
    }

    fn differ(&self) -> bool {
        self.0.len() > 1
    }

    /// What the family was granted as it stood at `cut`: what its issues name, else the earliest scope that is known.
    fn grant(&self, cut: i64) -> Grant<'_> {
        let issued = |named: &&Named| named.granted.is_some_and(|time| time <= cut);
        let issues: Vec<&Named> = self.0.iter().filter(issued).collect();
        Grant {
            by_issue: !issues.is_empty(),
            named: if issues.is_empty() {
                self.0.first().into_iter().collect()
            } else {
                issues
            },
        }
    }
}

struct Grant<'a> {
    /// Its issue was seen, and not only a refresh that may have asked for less than was granted.
    by_issue: bool,
    named: Vec<&'a Named>,
}

impl Grant<'_> {
    fn includes(&self, scope: &str) -> bool {
        self.named
            .iter()
            .any(|n| words(&n.scope).any(|w| w == scope))
    }

    fn text(&self) -> String {
        let granted: Vec<&str> = self.named.iter().map(|n| &*n.scope).collect();
        granted.join(" ")
    }
}

fn words(scope: &str) -> impl Iterator<Item = &str> {
    scope.split_ascii_whitespace()
}

/// Whether every scope of `part` is one of `whole`.
fn includes(whole: &str, part: &str) -> bool {
    whole == part || words(part).all(|wanted| words(whole).any(|scope| scope == wanted))
}

impl FamilyKind for ScopeWidening {
    fn settle(&self) -> Duration {
        self.settle
    }

    fn concerns(&self, case: &FamilyCase<'_>) -> bool {
        case.scopes.differ()
    }

    fn judge(&self, case: &FamilyCase<'_>, at: At, trace: &mut Trace) -> Vec<Finding> {
        let grant = case.scopes.grant(at.cut);
        let new = case.scopes.0.iter().filter(|n| n.first == at.time);
        let found: Vec<Finding> = new
            .filter_map(|named| self.widened(case, &grant, named, trace))
            .collect();
        if found.is_empty() && !case.scopes.differ() {
            trace.note(|| {
                let values = Evidence::new().with("granted", grant.text());
                ("no other scope was ever named".to_owned(), values)
            });
        }
        found
    }
}

impl ScopeWidening {
    fn widened(
        &self,
        case: &FamilyCase<'_>,
        grant: &Grant<'_>,
        named: &Named,
        trace: &mut Trace,
    ) -> Option<Finding> {
        let entry = case
            .refreshes_at(named.first)
            .find(|entry| named.token.is_none() || entry.token == named.token)?;
        let surplus: Vec<&str> = words(&named.scope)
            .filter(|scope| !grant.includes(scope))
            .collect();
        let (allowed, added): (Vec<&str>, Vec<&str>) = surplus
            .iter()
            .partition(|scope| self.allow.iter().any(|allowed| **allowed == ***scope));
        if added.is_empty() {
            trace.note(|| {
                let why = if allowed.is_empty() {
                    "it names nothing that was not granted"
                } else {
                    "the rule allows what it adds"
                };
                let values = Evidence::new()
                    .with("granted", grant.text())
                    .with("named", &named.scope)
                    .with("allowed", allowed.join(" "));
                (why.to_owned(), values)
            });
            return None;
        }
        Some(describe(case, entry, grant, named, &added))
    }
}

fn describe(
    case: &FamilyCase<'_>,
    entry: &Entry,
    grant: &Grant<'_>,
    named: &Named,
    added: &[&str],
) -> Finding {
    let presenter = case.context(entry);
    let summary = format!(
        "A refresh from {} was accepted with scope `{}`, which its login was {}granted",
        place_name(presenter),
        added.join(" "),
        if grant.by_issue {
            "never "
        } else {
            "not known to be "
        },
    );
    let added: Vec<Value> = added
        .iter()
        .map(|scope| Value::Text((*scope).into()))
        .collect();
    let evidence = Evidence::new()
        .with("granted", grant.text())
        .with(
            "granted_by",
            if grant.by_issue {
                "issue"
            } else {
                "its earliest refresh"
            },
        )
        .with_some(
            "granted_at",
            grant
                .named
                .first()
                .map(|n| instant(n.granted.unwrap_or(n.first))),
        )
        .with("named", &named.scope)
        .with("added", added)
        .with_some("presented_token", entry.token_name())
        .with("presenter", who(presenter));
    let finding = case.finding(entry, summary, evidence);
    if grant.by_issue {
        return finding;
    }
    // The first refresh that we saw may have asked for less than was granted: nobody is woken for that.
    Finding {
        at_most: Severity::Low,
        ask: Ask::Review,
        confidence: 0.3,
        ..finding
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Outcome, Timestamp};

    fn event(n: i64, kind: EventType, scope: &str) -> Event {
        let time = Timestamp::from_second(n).unwrap();
        let mut event = Event::new(format!("e{n}"), time, kind, Outcome::Success, "as");
        event.token_id = Some(format!("t{n}").into());
        event.scope = Some(scope.into());
        event
    }

    #[test]
    fn the_order_of_words_and_of_arrival_leaves_no_trace() {
        let events = [
            event(0, EventType::Issue, "openid mail"),
            event(1, EventType::Refresh, "mail openid"),
            event(2, EventType::Refresh, "openid"),
            event(3, EventType::Refresh, "openid admin"),
            event(4, EventType::Refresh, "admin openid"),
        ];
        let (mut forwards, mut backwards) = (Scopes::default(), Scopes::default());
        for (early, late) in events.iter().zip(events.iter().rev()) {
            forwards.add(early);
            backwards.add(late);
        }
        assert_eq!(forwards, backwards);
        assert_eq!(forwards.0.len(), 3);
    }

    #[test]
    fn what_was_granted_outlives_any_number_of_scopes() {
        let mut scopes = Scopes::default();
        scopes.add(&event(0, EventType::Issue, "openid"));
        for n in 1..100 {
            scopes.add(&event(n, EventType::Refresh, &format!("openid s{n}")));
        }
        assert_eq!(scopes.0.len(), limits::FAMILY_SCOPES_MAX);
        assert_eq!(scopes.grant(1_000_000).text(), "openid");
        assert_eq!(&*scopes.0.last().unwrap().scope, "openid s99");
    }

    #[test]
    fn a_scope_that_was_cut_is_compared_with_nothing() {
        let mut scopes = Scopes::default();
        scopes.add(&event(
            0,
            EventType::Issue,
            &"x ".repeat(limits::TEXT_BYTES_MAX / 2),
        ));
        assert_eq!(scopes, Scopes::default());
    }
}
