//! The proof beside one that is written as the pattern is told: each two and each three presentations are looked at, and each
//! chain is followed from its beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::{Anonymity, Granularity, NetworkClass, Place, Prefix, Rotation};
use crate::rules::case::{ClientFacts, Ends, FamilyCase, Logins, TenantFacts, Told};
use crate::rules::kinds::lineage::view::{Bounds, Scope};
use crate::rules::kinds::scope_widening::Scopes;
use crate::rules::ledger::{Answer, Ledger, NewEntry};

fn naive(view: &View<'_>, token: TokenHash, until: i64) -> Option<Proof> {
    let chains = Chains::of(view, token);
    let successors = &chains.descendants[&token];
    let counts = |i: &usize| {
        let entry = view.entry(*i);
        let is_of = |t| t == token || successors.contains(&t);
        let has_network = view.seen(*i).context.network.is_some();
        entry.time <= until && entry.token.is_some_and(is_of) && has_network
    };
    let entries: Vec<usize> = (0..view.entries().len()).filter(counts).collect();
    let before = |entry: usize| entries.iter().copied().filter(move |it| *it < entry);
    let is_apart =
        |a: usize, b: usize| chains.hold_apart(view, a, b) || chains.hold_apart(view, b, a);

    let alternation = entries.iter().copied().find_map(|third| {
        let is_recent = |it: &usize| {
            view.entry(*it).time >= view.entry(third).time - millis(view.bounds.proof_window)
        };
        let other = before(third).filter(is_recent).find(|second| {
            let mut firsts = before(*second).filter(is_recent);
            differs(view, third, *second)
                && firsts.any(|first| {
                    differs(view, *second, first)
                        && !differs(view, third, first)
                        && (is_apart(third, *second) || is_apart(*second, first))
                })
        })?;
        Some(Proof {
            one: third,
            other,
            completed: third,
        })
    });

    let known = view.known(Some(token), None, entries.first().copied().unwrap_or(0));
    // `true` of a rented server that is new to the family, `false` of anywhere else.
    let rented = |entry: usize| {
        let network = view.seen(entry).context.network.as_ref();
        let is_new = view.standing(entry, &known).0 != Standing::Own;
        match network.is_some_and(Network::is_rented) {
            _ if view.entry(entry).token != Some(token) => None,
            true => is_new.then_some(true),
            false => Some(false),
        }
    };
    let parted = entries.iter().copied().find_map(|later| {
        let other = before(later).find(|earlier| {
            let one_is_rented = matches!(
                (rented(later), rented(*earlier)),
                (Some(a), Some(b)) if a != b
            );
            view.unreachable(later, *earlier) && (one_is_rented || is_apart(later, *earlier))
        })?;
        Some(Proof {
            one: later,
            other,
            completed: later,
        })
    });
    let proofs = [alternation, parted].into_iter().flatten();
    proofs.min_by_key(|proof| proof.completed)
}

/// What follows from each token, and what each use of the disputed one led to.
struct Chains {
    disputed: TokenHash,
    descendants: BTreeMap<TokenHash, BTreeSet<TokenHash>>,
    uses: Vec<(usize, BTreeSet<TokenHash>)>,
}

impl Chains {
    fn of(view: &View<'_>, disputed: TokenHash) -> Self {
        let tokens = view.entries().filter_map(|(_, entry)| entry.token);
        let tokens: BTreeSet<TokenHash> = tokens.collect();
        let uses = view.uses(disputed).into_iter();
        Self {
            disputed,
            descendants: tokens
                .into_iter()
                .map(|it| (it, view.descendants(it)))
                .collect(),
            uses: uses.map(|u| (u, led_to(view, u))).collect(),
        }
    }

    /// The holder presents a successor; the other presents a token that does not lead to it through the holder's own hands,
    /// and it was not issued to the other's network.
    fn hold_apart(&self, view: &View<'_>, holder: usize, other: usize) -> bool {
        let leads_to = |from, to| self.descendants[&from].contains(&to);
        let tokens = view.entry(holder).token.zip(view.entry(other).token);
        let Some((held, others)) = tokens.filter(|(held, _)| leads_to(self.disputed, *held)) else {
            return false;
        };
        let issuing = self
            .uses
            .iter()
            .filter(|(_, led_to)| led_to.contains(&held));
        let issuing: Vec<usize> = issuing.map(|(u, _)| *u).collect();
        let one_chain = others != self.disputed
            && (leads_to(others, held) || leads_to(held, others) || others == held);
        let elsewhere = |u: &usize| differs(view, *u, other);
        !issuing.is_empty() && issuing.iter().all(elsewhere) && !one_chain
    }
}

/// Every token that goes back to the presentation.
fn led_to(view: &View<'_>, presentation: usize) -> BTreeSet<TokenHash> {
    let (mut found, mut ahead) = (BTreeSet::new(), vec![presentation]);
    while let Some(entry) = ahead.pop().map(|i| view.entry(i)) {
        let issued = entry.issued.filter(|_| entry.answer.accepted());
        if let Some(issued) = issued.filter(|issued| found.insert(*issued)) {
            ahead.extend(view.presented(issued));
        }
    }
    found
}

fn differs(view: &View<'_>, one: usize, other: usize) -> bool {
    let [one, other] = [one, other].map(|i| view.seen(i).context);
    one.network_differs(other)
}

/// Where a presentation comes from: of the last nothing is known.
const PLACES: u8 = 6;

fn context(place: u8) -> Arc<Context> {
    let network = |class, hosting| Network {
        prefix: Prefix::of([192, 0, place, 1].into()),
        asn: Some(64500 + u32::from(place)),
        organisation: None,
        class,
        declared: None,
        anonymity: Anonymity {
            hosting,
            ..Anonymity::default()
        },
        internal: false,
    };
    let network = match place {
        0..=2 => Some(network(None, false)),
        3 => Some(network(Some(NetworkClass::Mobile), false)),
        4 => Some(network(None, true)),
        _ => None,
    };
    let there = Place {
        latitude: 10.0 * f64::from(place),
        longitude: 0.0,
        radius_km: 10,
        granularity: Granularity::City,
        country: None,
        city: None,
    };
    Arc::new(Context {
        ip_address: Some([192, 0, place, 1].into()),
        place: network.is_some().then_some(there),
        network,
        ..Context::default()
    })
}

/// Which of few tokens is presented, what is issued for it, how, from where, and how long after the one before.
type Step = (u8, Option<u8>, Answer, u8, i64);

fn step() -> impl Strategy<Value = Step> {
    let answer = prop_oneof![
        6 => Just(Answer::Accepted),
        2 => Just(Answer::RefusedReuse),
        1 => Just(Answer::RefusedOther),
    ];
    // What was presented often has a successor of the next number: chains, with forks and circles among them.
    let tokens = (0_u8..12, 0_u8..4).prop_map(|(token, kind)| match kind {
        0 => (token, None),
        1 => (token, Some((token * 7 + 3) % 12)),
        _ => (token, Some(token + 1)),
    });
    (tokens, answer, 0..PLACES, 0_i64..200_000)
        .prop_map(|((token, issued), answer, place, after)| (token, issued, answer, place, after))
}

/// A chain that is longer than what is remembered, in one place, and then the steps.
fn ledger(chain: i64, steps: &[Step]) -> Ledger {
    let mut ledger = Ledger::default();
    let mut time = 0;
    let mut add = |time, token: String, issued: Option<String>, answer, place| {
        ledger.add(NewEntry {
            time,
            answer,
            event_id: format!("{time}{token}").into(),
            token: Some(token.into()),
            issued: issued.map(Into::into),
            generation: None,
            latest_generation: None,
            client_id: None,
            used_before: chain > 0,
            context: context(place),
        });
    };
    for n in 0..chain {
        time += 60_000;
        let next = if n + 1 < chain {
            format!("old{}", n + 1)
        } else {
            "0".to_owned()
        };
        add(time, format!("old{n}"), Some(next), Answer::Accepted, 0);
    }
    for (token, issued, answer, place, after) in steps {
        time += after;
        let issued = issued.filter(|_| answer.accepted());
        // Of the first some were used before all that is remembered.
        let token = if chain > 0 && *token == 11 {
            "old1".to_owned()
        } else {
            token.to_string()
        };
        add(
            time,
            token,
            issued.map(|it| it.to_string()),
            *answer,
            *place,
        );
    }
    ledger
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn is_what_the_pattern_says(
        chain in prop_oneof![3 => Just(0_i64), 1 => Just(120_i64)],
        steps in proptest::collection::vec(step(), 1..40),
        patience in 0_i64..3_000_000,
    ) {
        let ledger = ledger(chain, &steps);
        let case = FamilyCase {
            id: &"f1".into(),
            ledger: &ledger,
            client: &ClientFacts {
                rotation: Rotation::Enforced,
                grace: Duration::ZERO,
                max_reuse: 0,
                access_token_ttl: None,
                refresh_token_lifetime: None,
                own_addresses: false,
                native: false,
            },
            tenant: TenantFacts::default(),
            ends: &Ends::default(),
            measures: &[],
            began: Some(0),
            session: None,
            token_kind: None,
            user_let_in: &[],
            scopes: &Scopes::default(),
            access_token_ttl: None,
            told: Told::NOTHING,
            logins: Logins::NONE,
        };
        let view = View::new(Bounds::default(), &case, Scope::Settled(i64::MAX));
        for token in view.presented_again() {
            let first = view.presented(token).next().map_or(0, |i| view.entry(i).time);
            for until in [first + patience, i64::MAX] {
                let proofs = [proved(&view, token, until), naive(&view, token, until)];
                let [proof, expected] = proofs.map(|it| it.map(|it| (it.one, it.other, it.completed)));
                prop_assert_eq!(proof, expected);
            }
        }
    }
}
