//! What a lane did, held against the truth.

use std::collections::{BTreeMap, HashMap, HashSet};

use tokenwarden::model::{Prefix, Subject, Text, Timestamp};
use tokenwarden::simulate::population::{
    Attack, FamilyTruth, Oddity, Raid, Settings, Source, Truth,
};

use crate::lane::{Page, Told};

/// How one lane did on one population.
pub(crate) struct Score {
    pub(crate) lane: &'static str,
    pub(crate) source: Source,
    pub(crate) oddities: u32,
    pub(crate) users: u32,
    pub(crate) days: u32,
    pub(crate) seed: u64,
    /// By kind of attack.
    pub(crate) attacks: BTreeMap<Attack, Found>,
    /// Families ended before any stranger had presented one of their tokens, but for those of the next field.
    pub(crate) honest_ended: u32,
    /// Families of their owner's alone, ended after the server had honoured a dead token of theirs: consumed, and its
    /// successor used, outside every grace period. The reuse table ends these in any context, because two chains of one
    /// family live from then on and no later event tells whose the second one is; what is at fault is the server. They are
    /// counted by themselves, so that they neither hide among mistakes of the rules nor hide one.
    pub(crate) dead_honoured_ended: u32,
    pub(crate) pages: u32,
    pub(crate) false_pages: u32,
    /// Milliseconds from when a theft could be proved to when it was acted upon.
    pub(crate) delays: Vec<i64>,
}

/// Of the attacks of one kind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Found {
    pub(crate) happened: u32,
    /// Any observer of the source could prove it.
    pub(crate) provable: u32,
    /// Of these somebody was told. Of a theft: on-call was paged about the robbed user, or the family was ended, after a
    /// stranger had come. Of a raid: a finding about its network, its victim or its client, made while it lasted or within
    /// [`AFTER_RAID_MS`], was paged, listed for review, or answered by an action such as blocking the network. What is only
    /// recorded is not told.
    pub(crate) told: u32,
    /// Of these: the family was ended.
    pub(crate) ended: u32,
    /// Of those that nobody could prove: found all the same.
    pub(crate) beyond: u32,
}

/// Of a raid somebody may be told so long after its last event.
const AFTER_RAID_MS: i64 = 3_600_000;

impl Score {
    pub(crate) fn new(
        lane: &'static str,
        settings: &Settings,
        (truth, strangers): (&Truth, &HashSet<Text>),
        told: &Told,
        verbose: bool,
    ) -> Self {
        let judge = Judge::new(truth, strangers, told);
        let mut score = Self {
            lane,
            source: settings.source,
            oddities: settings.oddities,
            users: settings.users,
            days: settings.days,
            seed: settings.seed,
            attacks: BTreeMap::new(),
            honest_ended: 0,
            dead_honoured_ended: 0,
            pages: u32::try_from(told.pages.len()).unwrap_or(u32::MAX),
            false_pages: 0,
            delays: Vec::new(),
        };
        let ours = verbose && lane == "shipped rules";
        judge.revocations(&mut score, ours);
        judge.pages(&mut score, ours);
        judge.thefts(&mut score, ours);
        judge.raids(&mut score, ours);
        if ours {
            let mut by_rule: Vec<_> = told.detections.iter().collect();
            by_rule.sort();
            eprintln!("  findings: {by_rule:?}");
        }
        score
    }

    pub(crate) fn recall(&self) -> f64 {
        let sum = |part: fn(&Found) -> u32| self.attacks.values().map(part).sum::<u32>();
        share(sum(|f| f.told), sum(|f| f.provable))
    }

    /// Honest families ended per 10,000 users and week.
    pub(crate) fn honest_per_10k_week(&self) -> f64 {
        self.per_10k_week(self.honest_ended)
    }

    /// The same of families whose server had honoured a dead token.
    pub(crate) fn dead_honoured_per_10k_week(&self) -> f64 {
        self.per_10k_week(self.dead_honoured_ended)
    }

    fn per_10k_week(&self, families: u32) -> f64 {
        f64::from(families) * 10_000.0 / f64::from(self.users) * 7.0 / f64::from(self.days)
    }

    pub(crate) fn pages_per_day(&self) -> f64 {
        f64::from(self.pages) / f64::from(self.days)
    }

    /// False pages a day per 100,000 users.
    pub(crate) fn false_pages_per_100k_day(&self) -> f64 {
        f64::from(self.false_pages) / f64::from(self.days) * 100_000.0 / f64::from(self.users)
    }

    /// The median delay in seconds.
    pub(crate) fn delay_s(&self) -> Option<f64> {
        let mut delays = self.delays.clone();
        delays.sort_unstable();
        let middle = delays.get(delays.len() / 2)?;
        i32::try_from(*middle / 1000).ok().map(f64::from)
    }

    pub(crate) fn one_line(&self) -> String {
        format!(
            "{:<16} {:<13} oddities x{} seed {:<10} recall {:.3}, honest ended {} ({:.2} per 10k week), dead token honoured {}, pages {:.1}/day, false {:.2}/100k/day",
            self.lane,
            self.source.as_str(),
            self.oddities,
            self.seed,
            self.recall(),
            self.honest_ended,
            self.honest_per_10k_week(),
            self.dead_honoured_ended,
            self.pages_per_day(),
            self.false_pages_per_100k_day(),
        )
    }
}

pub(crate) fn share(part: u32, whole: u32) -> f64 {
    if whole == 0 {
        1.0
    } else {
        f64::from(part) / f64::from(whole)
    }
}

struct Judge<'a> {
    truth: &'a Truth,
    /// Events that strangers caused.
    strangers: &'a HashSet<Text>,
    told: &'a Told,
    /// By family id, and by the first token where the source names no families.
    families: HashMap<&'a Text, &'a FamilyTruth>,
    robbed: HashMap<&'a Text, Vec<&'a FamilyTruth>>,
}

impl<'a> Judge<'a> {
    fn new(truth: &'a Truth, strangers: &'a HashSet<Text>, told: &'a Told) -> Self {
        let mut families = HashMap::new();
        let mut robbed: HashMap<&Text, Vec<&FamilyTruth>> = HashMap::new();
        for family in &truth.families {
            families.insert(&family.family_id, family);
            families.insert(&family.first_token, family);
            if family.attack.is_some() {
                robbed.entry(&family.user_id).or_default().push(family);
            }
        }
        Self {
            truth,
            strangers,
            told,
            families,
            robbed,
        }
    }

    fn revocations(&self, score: &mut Score, verbose: bool) {
        let mut seen = HashSet::new();
        for revocation in &self.told.revocations {
            let family = self.families.get(&revocation.family);
            let stranger = family.and_then(|family| family.first_stranger);
            let is_foreign = stranger.is_some_and(|at| at.as_millisecond() <= revocation.time);
            if is_foreign || !seen.insert(&revocation.family) {
                continue;
            }
            if family.is_some_and(|family| honoured_dead(family, revocation.time)) {
                score.dead_honoured_ended += 1;
            } else {
                score.honest_ended += 1;
            }
            if verbose {
                let why = family.map(|f| (&f.oddities, f.attack, f.dead_token_honoured));
                eprintln!(
                    "  honest family ended by {}: {} {why:?} {}",
                    revocation.rule, revocation.family, revocation.summary
                );
            }
        }
    }

    fn pages(&self, score: &mut Score, verbose: bool) {
        for page in &self.told.pages {
            if !self.is_about_an_attack(page) && !self.is_true_of_a_fault(page) {
                score.false_pages += 1;
                if verbose {
                    let why = page
                        .family
                        .as_ref()
                        .and_then(|f| self.families.get(f))
                        .map(|f| &f.oddities);
                    eprintln!(
                        "  false page by {} about {:?} at {} {why:?}: {}",
                        page.rule,
                        page.subject,
                        Timestamp::from_millisecond(page.time).unwrap_or_default(),
                        page.summary
                    );
                }
            }
        }
    }

    /// Whether the robbed user, a raid, or something that a stranger did is what the page speaks of.
    fn is_about_an_attack(&self, page: &Page) -> bool {
        let of_user = page
            .user
            .iter()
            .filter_map(|user| self.robbed.get(user))
            .flatten();
        let of_family = page
            .family
            .iter()
            .filter_map(|family| self.families.get(family));
        let theft = of_user.chain(of_family).any(|family| {
            let since = family.first_stranger.map(Timestamp::as_millisecond);
            family.attack.is_some() && since.is_some_and(|since| since <= page.time)
        });
        let by_stranger = self.strangers.contains(&page.event_id);
        theft || by_stranger || self.truth.raids.iter().any(|raid| is_about(page, raid))
    }

    /// Whether a page speaks of a fault that was there, though nobody attacked.
    ///
    /// A false page is one for which somebody was woken for nothing. A client release that refreshes without end is not
    /// nothing: it loads the server, and no other eye sees it; the page says "velocity", never "theft". Nor is a server
    /// that honours dead tokens: whoever holds an old copy gets in, today a tab of the owner's, tomorrow somebody else; the
    /// page says what the server did.
    fn is_true_of_a_fault(&self, page: &Page) -> bool {
        let family = page.family.as_ref().and_then(|id| self.families.get(id));
        match &*page.rule {
            "refresh-velocity" => family.is_some_and(|f| f.oddities.contains(&Oddity::RefreshLoop)),
            "token-reuse" => family.is_some_and(|family| honoured_dead(family, page.time)),
            _ => false,
        }
    }

    fn thefts(&self, score: &mut Score, verbose: bool) {
        let mut ended: HashMap<&Text, i64> = HashMap::new();
        for revocation in &self.told.revocations {
            ended.entry(&revocation.family).or_insert(revocation.time);
        }
        for family in self.truth.thefts() {
            let Some(attack) = family.attack else {
                continue;
            };
            let found = score.attacks.entry(attack).or_default();
            found.happened += 1;
            let since = family
                .first_stranger
                .map_or(i64::MAX, Timestamp::as_millisecond);
            let revoked = [&family.family_id, &family.first_token]
                .into_iter()
                .filter_map(|id| ended.get(id).copied())
                .find(|at| *at >= since);
            let paged = self
                .told
                .pages
                .iter()
                .find(|page| page.time >= since && page.user.as_ref() == Some(&family.user_id));
            let acted = revoked.into_iter().chain(paged.map(|page| page.time)).min();
            match family.proved {
                None => found.beyond += u32::from(acted.is_some()),
                Some((proved, proof)) => {
                    found.provable += 1;
                    found.told += u32::from(acted.is_some());
                    found.ended += u32::from(revoked.is_some());
                    if let Some(acted) = acted {
                        score.delays.push(acted - proved.as_millisecond());
                    } else if verbose {
                        eprintln!(
                            "  missed {attack} on {} ({proof:?}) family {} client {} stolen {:?} first {:?}",
                            family.user_id,
                            family.family_id,
                            family.client_id,
                            family.stolen_at,
                            family.first_stranger
                        );
                        for seen in self
                            .told
                            .seen
                            .iter()
                            .filter(|p| p.user.as_ref() == Some(&family.user_id))
                        {
                            eprintln!("      {} {}", seen.rule, seen.summary);
                        }
                    }
                }
            }
        }
    }

    fn raids(&self, score: &mut Score, verbose: bool) {
        for raid in &self.truth.raids {
            let found = score.attacks.entry(raid.attack).or_default();
            found.happened += 1;
            let is_told = self.told.heard.iter().any(|page| is_about(page, raid));
            if raid.unproved.is_some() {
                found.beyond += u32::from(is_told);
                continue;
            }
            found.provable += 1;
            found.told += u32::from(is_told);
            if !is_told && verbose {
                eprintln!(
                    "  missed raid {} of {} events from {} to {} on {:?} from {:?}",
                    raid.attack,
                    raid.events,
                    raid.from,
                    raid.to,
                    raid.user_id,
                    raid.addresses.first()
                );
                for seen in self.told.seen.iter().filter(|page| is_about(page, raid)) {
                    eprintln!("      only recorded: {} {}", seen.rule, seen.summary);
                }
            }
        }
    }
}

/// Whether the server had honoured a dead token of the family by then.
fn honoured_dead(family: &FamilyTruth, by: i64) -> bool {
    family
        .dead_token_honoured
        .is_some_and(|at| at.as_millisecond() <= by)
}

/// Whether a finding is about a raid: it speaks of its network, of the user who suffers, or of a client that it was tried
/// at, and was made of a request that came from one of the raid's networks while it lasted or soon after.
fn is_about(page: &Page, raid: &Raid) -> bool {
    let (from, to) = (
        raid.from.as_millisecond(),
        raid.to.as_millisecond() + AFTER_RAID_MS,
    );
    if !(from..=to).contains(&page.time) {
        return false;
    }
    let mut prefixes = raid
        .addresses
        .iter()
        .filter_map(|address| address.parse().ok())
        .map(Prefix::of);
    if let Subject::Network(network) = &page.subject {
        return prefixes.any(|prefix| prefix.to_string() == **network);
    }
    let is_theirs = match &page.subject {
        Subject::Client(client) => raid.clients.contains(&&**client),
        Subject::Key(_) => true,
        _ => raid.user_id.is_some() && raid.user_id == page.user,
    };
    let from = page.address.map(Prefix::of);
    is_theirs && from.is_some_and(|from| prefixes.any(|prefix| prefix == from))
}
