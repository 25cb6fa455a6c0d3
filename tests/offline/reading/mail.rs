//! The mail about a detection, from the store through the delivery loop into a folder.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokenwarden::actions::{Attempt, Claim, Revoker, Revokers, RuleNote, Surroundings, notifier};
use tokenwarden::config::{
    Config, EmailReceiver, MailTransport, Receiver, ReceiverKind, Secret, StoreConfig,
};
use tokenwarden::delivery::{Delivery, Digests, Options, Performers, Routes};
use tokenwarden::model::{
    Action, ActionKind, ActionState, Commit, Decision, Detection, Evidence, Output, Text, Timestamp,
};
use tokenwarden::rules::RuleSet;
use tokenwarden::store::{ActionFilter, OpenAs, Page, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::actions::Mail;

/// An authorization server that ends what it is asked to end, and has nothing for the rest: as most have.
struct Server(Text);

impl Revoker for Server {
    fn name(&self) -> &Text {
        &self.0
    }

    fn claims<'a>(&'a self, action: &'a Action) -> BoxFuture<'a, Claim> {
        let ends = matches!(
            action.kind,
            ActionKind::RevokeFamily | ActionKind::RevokeUser | ActionKind::LockUser
        );
        let claim = if ends { Claim::Mine } else { Claim::NotMine };
        Box::pin(std::future::ready(claim))
    }

    fn perform<'a>(&'a self, _: &'a Action) -> BoxFuture<'a, Attempt> {
        Box::pin(std::future::ready(Attempt::Done {
            detail: "its session was deleted".into(),
            evidence: Evidence::new(),
        }))
    }

    fn by_hand(&self, action: &Action) -> Option<String> {
        let session = action.target.session_id.as_ref()?;
        Some(format!("kcadm.sh delete sessions/{session} -r corp"))
    }
}

/// Subject and text of the mail that is sent about the detection; if none is, what there is instead.
pub(super) async fn about(
    detection: &Detection,
    output: Output,
    rules: &RuleSet,
    config: &Config,
) -> String {
    let incident = incident_of(detection, &output);
    let is_told = output.actions.iter().any(|action| {
        action.incident_id == incident
            && action.kind == ActionKind::Notify
            && action.decision == Decision::Execute
    });
    if !is_told {
        return "None: the finding is told in the daily digest.\n".to_owned();
    }
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/warden.db", folder.path().display());
    let config_of_store = StoreConfig {
        url: Secret::new(url),
        connections_max: 1,
        snapshot_every: Duration::from_mins(1),
    };
    let store = Store::open(&config_of_store, OpenAs::Daemon).await.unwrap();
    let now = now(&output);
    let commit = Commit {
        output,
        ..Commit::default()
    };
    store.commit(&commit, now).await.unwrap();
    let mails = folder.path().join("mails");
    let performers = performers(rules, config, mails.clone());
    let (_, performers) = watch::channel(Arc::new(performers));
    let mut options = Options::new("test", Duration::from_secs(5), || Timestamp::UNIX_EPOCH);
    options.look_every = Duration::from_millis(5);
    options.now = Arc::new(move || now);
    let delivery = Delivery::new(store.clone(), performers, Arc::new(()), options);
    let running = tokio::spawn(delivery.run(CancellationToken::new()));
    until_done(&store).await;
    running.abort();
    store.close().await;
    let mail = std::fs::read_to_string(mails.join(format!("{incident}-1.eml"))).unwrap();
    let mail = Mail::read(&mail);
    format!("Subject: {}\n\n{}", mail.subject(), mail.text)
}

fn incident_of(detection: &Detection, output: &Output) -> Text {
    let by_action = output
        .actions
        .iter()
        .find(|action| action.detection_ids.contains(&detection.id))
        .map(|action| &action.incident_id);
    let mut members = output.members.iter();
    let by_membership = || {
        members
            .find(|member| member.detection_id == detection.id)
            .map(|member| &member.incident_id)
    };
    let incident = by_action.or_else(by_membership);
    incident
        .expect("a detection belongs to an incident")
        .clone()
}

/// Two seconds after the last that was decided.
fn now(output: &Output) -> Timestamp {
    let last = output.actions.iter().map(|action| action.event_time).max();
    last.unwrap() + Duration::from_secs(2)
}

fn performers(rules: &RuleSet, config: &Config, mails: std::path::PathBuf) -> Performers {
    let receiver = Receiver {
        name: "oncall".into(),
        limits: tokenwarden::config::TargetLimits::default(),
        kind: ReceiverKind::Email(EmailReceiver {
            to: vec!["oncall@example.com".into()],
            from: "tokenwarden@example.com".into(),
            reply_to: None,
            transport: MailTransport::Folder(mails),
            links: BTreeMap::new(),
        }),
        digest_at: None,
        fallback: None,
        per_hour_max: None,
    };
    let revokers = Revokers::from_list(vec![Arc::new(Server("sso".into()))]);
    let surroundings = Surroundings {
        now: || Timestamp::UNIX_EPOCH,
        revokers: revokers.clone(),
    };
    let notes = rules.rules.iter().map(|rule| {
        let note = RuleNote {
            rule: rule.name.clone(),
            description: rule.description.clone(),
            runbook: rule.runbook.clone(),
        };
        (rule.name.clone(), note)
    });
    Performers {
        routes: Routes::default(),
        revokers,
        notifiers: vec![notifier(&receiver, surroundings).unwrap()],
        rules: notes.collect(),
        act_within: Duration::from_hours(24 * 365),
        digests: Digests {
            mode: config.mode,
            receivers: vec![],
        },
        ..Performers::default()
    }
}

async fn until_done(store: &Store) {
    let page = Page {
        before: None,
        limit: 1000,
    };
    for _ in 0..4000 {
        let all = store.actions(&ActionFilter::default(), page).await.unwrap();
        let is_open = |state| matches!(state, ActionState::Ready | ActionState::Leased);
        if !all.items.iter().any(|record| is_open(record.state)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("actions are left to do");
}
