//! What kills at named steps are judged by.
//!
//! What is read and remembered is shown without anything being done, over records that are all there before the first start:
//! then the memory that is saved at the end must be, to the last bit of its digest, that of a daemon that nobody disturbed. (Of several
//! partitions each run takes another order, and some of what is remembered tells it.) What is done is shown by the calls and the mails
//! that arrive: the same ones, and where the answer to one was cut off it comes once more under the same key.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;
use tokenwarden::model::Timestamp;

use crate::flagship_run::Run;
use crate::keycloak_realm::env;
use crate::mail::{mails, unique};
use crate::traffic::Traffic;

/// No list of points is longer.
const KILLS_MOST: usize = 7;
/// Fourteen of them are robbed: more than there are points at which something must be found or done.
pub(super) const FAMILIES: usize = 700;

/// One that does nothing.
pub(super) async fn observer(source: &str, store_url: &str, store: &str) -> Run {
    let run = Run::into(source, store_url, store).await;
    change(&run, "mode: enforce", "mode: observe");
    run
}

/// Changes the configuration of a run.
pub(super) fn change(run: &Run, from: &str, to: &str) {
    let config = std::fs::read_to_string(run.home.path().join("tokenwarden.yaml")).unwrap();
    assert!(config.contains(from), "{config}");
    run.home.configure(&config.replace(from, to));
}

/// The digests of what is saved and of use at a time, by its parts; that of all is among them.
fn saved(run: &Run, at: Timestamp) -> BTreeMap<String, Value> {
    let mut inspect = Command::new(env!("CARGO_BIN_EXE_tokenwarden"));
    inspect.args(["state", "inspect", "--output", "json", "--at"]);
    inspect.arg(at.to_string()).arg("-c");
    inspect.arg(run.home.path().join("tokenwarden.yaml"));
    let said = inspect.output().unwrap();
    let state: Value = serde_json::from_slice(&said.stdout).unwrap();
    let parts = state["holds"].as_array().unwrap().iter();
    let parts = parts.map(|part| (part["what"].to_string(), part["digest"].clone()));
    let all = ("all".to_owned(), state["digest"].clone());
    parts.chain([all]).collect()
}

/// Nothing is done, so that no time of day is remembered but that of a source at its end, which the digest leaves out.
pub(super) async fn remembers_the_same(killed: &Run, calm: &Run, traffic: &Traffic) {
    let outcome = killed.finished(traffic).await;
    outcome.assert_same(&calm.finished(traffic).await);
    let now = Timestamp::now();
    let (killed, calm) = (saved(killed, now), saved(calm, now));
    let differ: Vec<_> = killed
        .iter()
        .filter(|(part, held)| calm.get(*part) != Some(held))
        .map(|(part, held)| (held, calm.get(part)))
        .collect();
    assert!(differ.is_empty(), "killed, undisturbed: {differ:#?}");
    assert!(calm.len() > 5 && killed.len() == calm.len());
}

/// No state is saved for an hour but the first one, so that nearly all is read again; and from now on every second.
pub(super) async fn while_it_reads_again(run: &Run, traffic: &Traffic) {
    println!("killed while it reads again");
    #[expect(clippy::cast_precision_loss, reason = "some thousand")]
    let all = traffic.records.len() as f64;
    for part in [0.9, 0.1, 0.3, 0.6] {
        run.killed_after(all * part).await;
    }
    change(run, "snapshot_every: 1h", "snapshot_every: 1s");
}

/// Pieces of the traffic, so many, with a theft in each.
pub(super) fn pieces(traffic: &Traffic, count: usize) -> Vec<&[(i32, String)]> {
    let records = &traffic.records;
    let robbed = |(_, record): &(i32, String)| {
        let event: Value = serde_json::from_str(record).unwrap();
        let thief = event["device_id"].as_str().unwrap();
        thief.strip_prefix("thief-").map(ToOwned::to_owned)
    };
    // Where the last record of a thief stands: by then each theft is told.
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for (at, record) in records.iter().enumerate() {
        if let Some(family) = robbed(record) {
            ends.insert(family, at + 1);
        }
    }
    let mut ends: Vec<usize> = ends.into_values().collect();
    ends.sort_unstable();
    let each = ends.len() / count;
    assert!(each > 0, "too few thefts");
    let mut cuts: Vec<usize> = ends.chunks(each).map(|of| of[of.len() - 1]).collect();
    cuts.truncate(count - 1);
    let begins = [0].into_iter().chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([records.len()]);
    begins
        .zip(ends)
        .map(|(from, to)| &records[from..to])
        .collect()
}

/// A mailbox of the real server's beside the receiver that the run has.
pub(super) fn with_mails(run: &Run) -> String {
    let (mailbox, address, ca) = (unique("points"), env("TW_SMTP"), env("TW_SMTP_CA"));
    let (host, port) = address.rsplit_once(':').unwrap();
    let oncall = format!(
        "receivers:
  - name: oncall
    email:
      to: [{mailbox}@example.com]
      from: tokenwarden@example.com
      smtp: {{ host: {host}, port: {port}, tls: starttls, username: warden, password: pw, ca_file: \"{ca}\" }}
    digest: off
"
    );
    change(run, "receivers:\n", &oncall);
    mailbox
}

/// By what a mail program tells a mail from its repetition.
fn message_ids(mails: &[String]) -> BTreeSet<&str> {
    let is_id = |line: &&str| line.to_ascii_lowercase().starts_with("message-id:");
    let ids = mails.iter().map(|mail| mail.lines().find(is_id));
    ids.map(Option::unwrap).collect()
}

/// Calls whose answers were cut off came again, and no more of them than there were kills; a mail came again as the same mail.
pub(super) async fn was_repeated_under_the_same_key(
    run: &Run,
    mailbox: &str,
    traffic: &Traffic,
    calls_least: usize,
) {
    let calls = run.api.counts();
    let again = calls.values().filter(|count| **count > 1).count();
    assert!((calls_least..=KILLS_MOST).contains(&again), "{calls:?}");
    let robbed = traffic.robbed.len();
    let mails = mails(mailbox, |mails| message_ids(mails).len() >= robbed).await;
    assert_eq!(message_ids(&mails).len(), robbed, "{mails:#?}");
    assert!(mails.len() > robbed, "one came twice, under the same id");
}
