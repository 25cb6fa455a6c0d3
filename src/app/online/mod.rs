//! Asks every part whether it can do what the configuration expects of it, for `check --online` and once an hour in the
//! daemon.
//!
//! The parts inspect themselves, each in its own folder; here is who is asked, how long, and what follows. All are asked
//! at the same time and each has an end, so that one dead server hides nothing about the others.

mod addresses;
mod places;
mod sources;
mod watch;

use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};

use crate::actions::Declared;
use crate::clock;
use crate::config::{Config, Source, SourceKind};
use crate::delivery::Performers;
use crate::model::{Finding, Gravity, Text, limits};
use crate::rules::RuleSet;
use crate::store::Store;
use crate::yaml::Fault;

pub(super) use watch::watch;

/// What one part answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartReport {
    /// `store`, `source audit`, `revoker shop`, ...: also the label of its metric.
    pub part: Text,
    pub findings: Vec<Finding>,
}

impl PartReport {
    pub fn count(&self, is: impl Fn(Gravity) -> bool) -> usize {
        let gravities = self.findings.iter().map(|finding| finding.gravity);
        gravities.filter(|gravity| is(*gravity)).count()
    }

    /// What will not work, and what the server and the configuration disagree about.
    pub fn faults(&self) -> usize {
        self.count(|gravity| gravity >= Gravity::Fault)
    }
}

/// Asks everything that a daemon with this configuration would use, from outside, beside one that may be running.
pub async fn inspect(config: &Config, rules: &RuleSet) -> Result<Vec<PartReport>, Vec<Fault>> {
    let performers = super::loaded::performers(config, rules)?;
    let declared = Declared::of(&config.clients);
    let mut asked = asked_of_servers(config, &performers, &declared);
    asked.insert(0, ask("store".into(), Store::inspect(&config.store)));
    asked.push(ask(
        "listeners".into(),
        std::future::ready(places::listeners(&config.http)),
    ));
    asked.push(ask("geoip".into(), places::geoip(config)));
    Ok(in_time(asked, limits::CHECK_TIMEOUT).await)
}

/// The same from inside: the store is in use and the ports are our own, so neither is asked for again.
async fn inspect_running(
    config: &Config,
    performers: &Performers,
    store: &Store,
) -> Vec<PartReport> {
    let declared = Declared::of(&config.clients);
    let mut asked = asked_of_servers(config, performers, &declared);
    asked.insert(0, ask("store".into(), ping(store)));
    asked.push(ask("geoip".into(), places::geoip(config)));
    in_time(asked, limits::CHECK_TIMEOUT).await
}

/// Names of the parts that the daemon asks.
pub(super) fn parts(config: &Config) -> Vec<Text> {
    let sources = asked_sources(config).map(|source| of("source", &source.name));
    let revokers = config
        .revokers
        .iter()
        .map(|revoker| of("revoker", &revoker.name));
    let receivers = config
        .receivers
        .iter()
        .map(|receiver| of("receiver", &receiver.name));
    std::iter::once("store".into())
        .chain(sources)
        .chain(revokers)
        .chain(receivers)
        .chain(std::iter::once("geoip".into()))
        .collect()
}

type Asked<'a> = (Text, BoxFuture<'a, Vec<Finding>>);

fn ask<'a>(part: Text, answer: impl Future<Output = Vec<Finding>> + Send + 'a) -> Asked<'a> {
    (part, Box::pin(answer))
}

fn of(kind: &str, name: &str) -> Text {
    format!("{kind} {name}").into()
}

fn asked_of_servers<'a>(
    config: &'a Config,
    performers: &'a Performers,
    declared: &'a Declared,
) -> Vec<Asked<'a>> {
    let mut asked = Vec::new();
    for source in asked_sources(config) {
        let answer = sources::inspect(source, &config.networks);
        asked.push(ask(of("source", &source.name), answer));
    }
    for revoker in performers.revokers.iter() {
        let answer = revoker.inspect(declared, clock::now);
        asked.push((of("revoker", revoker.name()), answer));
    }
    for receiver in &performers.notifiers {
        asked.push((of("receiver", receiver.name()), receiver.inspect()));
    }
    asked
}

/// A webhook is asked by its sender; ours is only the listener.
fn asked_sources(config: &Config) -> impl Iterator<Item = &Source> {
    let is_asked = |source: &&Source| !matches!(source.kind, SourceKind::Webhook(_));
    config.sources.iter().filter(is_asked)
}

async fn ping(store: &Store) -> Vec<Finding> {
    vec![match store.ping().await {
        Ok(()) => Finding::fine(format!("{} can be written", store.name())),
        Err(error) => Finding::fault(error.to_string(), "see the log of the database"),
    }]
}

async fn in_time(asked: Vec<Asked<'_>>, patience: Duration) -> Vec<PartReport> {
    let answers = asked.into_iter().map(|(part, answer)| async move {
        let findings = match tokio::time::timeout(patience, answer).await {
            Ok(findings) => findings,
            Err(_) => vec![Finding::fault(
                format!("no answer within {} s", patience.as_secs()),
                "check its address, and that no firewall drops the packets silently",
            )],
        };
        PartReport { part, findings }
    });
    join_all(answers).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_never_answers_hides_nothing_about_the_others() {
        let silent = ask("a".into(), std::future::pending());
        let quick = ask("b".into(), async { vec![Finding::fine("well")] });
        let reports = in_time(vec![silent, quick], Duration::from_millis(1)).await;
        assert_eq!(reports[0].findings[0].what, "no answer within 0 s");
        assert_eq!((reports[0].faults(), reports[1].faults()), (1, 0));
    }
}
