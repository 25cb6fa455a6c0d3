//! The listeners, each with its router: open from the start, also while another daemon leads.

use std::sync::Arc;

use anyhow::Context as _;

use super::{Daemon, StartError};
use crate::admin::{self, Guard, Listening};
use crate::app::adapters::StoreInbox;
use crate::clock;
use crate::config::{Config, Source as SourceConfig, SourceKind};
use crate::model::Text;
use crate::sources::webhook;

impl Daemon {
    pub(super) async fn listen(&mut self) -> Result<(), StartError> {
        let http = self.controls.config().http.clone();
        let mut serving = Vec::new();
        if let Some(ops) = http.ops {
            let guard = Guard::new(ops.listen, ops.token.as_ref()).map_err(anyhow::Error::msg)?;
            let health: Arc<dyn admin::Health> = self.controls.clone();
            serving.push((
                "ops",
                ops.listen,
                None,
                admin::ops(admin::Ops { health, guard }),
            ));
        }
        if let Some(api) = http.api {
            let guard = Guard::of_people(api.listen, api.token.as_ref(), &api.tokens)
                .map_err(anyhow::Error::msg)?;
            let control: Arc<dyn admin::Control> = self.controls.clone();
            serving.push((
                "api",
                api.listen,
                None,
                admin::api(admin::Api {
                    store: self.store.clone(),
                    control,
                    guard,
                    now: clock::now,
                }),
            ));
        }
        if let Some(ingest) = http.ingest {
            let inbox = Arc::new(StoreInbox(self.store.clone()));
            let report: Arc<dyn webhook::Report> = self.controls.board.clone();
            let webhooks = webhooks(&self.controls.config());
            let router = webhook::router(webhooks, inbox, report, clock::now);
            let tls = ingest
                .tls
                .map(|(certificate, key)| admin::Tls { certificate, key });
            serving.push(("ingest", ingest.listen, tls, router));
        }
        for (name, address, tls, router) in serving {
            let listening = Listening::open(name, address, tls.as_ref())
                .await
                .map_err(anyhow::Error::new)?;
            self.addresses.push((
                name,
                listening
                    .address()
                    .context("the listener's address is not known")?,
            ));
            let cancel = self.rest.clone();
            self.parts.spawn(async move {
                listening.serve(router, cancel).await;
                Ok(())
            });
        }
        Ok(())
    }
}

fn webhooks(config: &Config) -> Vec<(Text, crate::config::WebhookSource)> {
    let webhook = |source: &SourceConfig| match &source.kind {
        SourceKind::Webhook(webhook) => Some((source.name.clone(), webhook.clone())),
        _ => None,
    };
    config.sources.iter().filter_map(webhook).collect()
}
