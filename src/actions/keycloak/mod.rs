//! Acts at a Keycloak realm through its admin API, as one service account of that realm.
//!
//! Events name a session, never a token that could be handed to RFC 7009, so a family ends by deleting its session; the
//! record lists what else ended with it. A family without a session id is refused rather than widened to all of the
//! user's sessions: that is another action, which a rule has to ask for.

mod api;
mod inspect;
mod revoke;

use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;

use crate::config;
use crate::model::{Action, ActionKind, Target, Text, Timestamp, TokenKind};

use super::{Attempt, Claim, Declared, Finding, Revoker, word};
use api::Api;

pub(super) struct Keycloak {
    name: Text,
    issuers: Vec<Text>,
    api: Api,
    required_action: Text,
    /// As configured, or as the server told.
    realm_id: OnceCell<Text>,
    /// No other realm is configured: an id that cannot be learned must be this one's.
    is_alone: bool,
}

impl Keycloak {
    pub(super) fn new(
        revoker: &config::Revoker,
        settings: &config::KeycloakRevoker,
        is_alone: bool,
    ) -> Result<Self, String> {
        Ok(Self {
            name: revoker.name.clone(),
            issuers: revoker.issuers.clone(),
            api: Api::new(settings)?,
            required_action: settings.required_action.clone(),
            realm_id: OnceCell::new_with(settings.realm_id.clone()),
            is_alone,
        })
    }

    /// Events carry the realm's id, paths its name; the id needs a role that the account may not have.
    async fn realm_id(&self) -> Result<Option<&Text>, Attempt> {
        if let Some(id) = self.realm_id.get() {
            return Ok(Some(id));
        }
        match self.api.realm().await?.get("id").and_then(|id| id.as_str()) {
            Some(id) => Ok(Some(
                self.realm_id
                    .get_or_init(|| std::future::ready(id.into()))
                    .await,
            )),
            None => Ok(None),
        }
    }

    async fn claims_target(&self, target: &Target) -> Claim {
        if !super::is_issuer_of(&self.issuers, &target.issuer) {
            return Claim::NotMine;
        }
        match &target.tenant {
            Some(tenant) => self.claims_tenant(tenant).await,
            None => Claim::Mine,
        }
    }

    async fn claims_tenant(&self, tenant: &Text) -> Claim {
        if *tenant == *self.api.realm_name() {
            return Claim::Mine;
        }
        match self.realm_id().await {
            Ok(Some(id)) if id == tenant => Claim::Mine,
            Ok(Some(_)) => Claim::NotMine,
            Ok(None) | Err(Attempt::Refused { .. }) if self.is_alone => Claim::Mine,
            Ok(None) | Err(Attempt::Refused { .. }) => Claim::Unclear {
                reason: format!(
                    "revoker {} cannot learn the id of realm {}: set `realm_id`, or {}",
                    self.name,
                    self.api.realm_name(),
                    self.api.grant("view-realm")
                )
                .into(),
            },
            Err(
                Attempt::Retry { reason, .. }
                | Attempt::Done { detail: reason, .. }
                | Attempt::Answered { detail: reason, .. },
            ) => Claim::Unclear { reason },
        }
    }
}

impl Revoker for Keycloak {
    fn name(&self) -> &Text {
        &self.name
    }

    fn claims<'a>(&'a self, action: &'a Action) -> BoxFuture<'a, Claim> {
        Box::pin(async move {
            if !config::KEYCLOAK_ACTIONS.contains(&action.kind) {
                return Claim::NotMine;
            }
            self.claims_target(&action.target).await
        })
    }

    fn perform<'a>(&'a self, action: &'a Action) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            match revoke::perform(&self.api, &self.required_action, action).await {
                Ok(attempt) | Err(attempt) => attempt,
            }
        })
    }

    fn user_name<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Option<String>> {
        Box::pin(async move {
            if self.claims_target(target).await != Claim::Mine {
                return None;
            }
            let user = self.api.user(target.user_id.as_deref()?).await.ok()??;
            Some(user.get("username")?.as_str()?.to_owned())
        })
    }

    fn by_hand(&self, action: &Action) -> Option<String> {
        let target = &action.target;
        let is_known = match (&target.tenant, self.realm_id.get()) {
            (None, _) => true,
            (Some(tenant), Some(id)) => tenant == id || tenant == self.api.realm_name(),
            (Some(tenant), None) => self.is_alone || tenant == self.api.realm_name(),
        };
        if !is_known || !super::is_issuer_of(&self.issuers, &target.issuer) {
            return None;
        }
        by_hand(self.api.realm_name(), action)
    }

    fn inspect<'a>(
        &'a self,
        declared: &'a Declared,
        now: fn() -> Timestamp,
    ) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(inspect::inspect(&self.api, declared, now))
    }
}

/// The same by Keycloak's own tool, only with ids that a shell takes as they are.
fn by_hand(realm: &str, action: &Action) -> Option<String> {
    let realm = word(realm)?;
    let target = &action.target;
    let user = || target.user_id.as_deref().and_then(word);
    Some(match action.kind {
        ActionKind::RevokeFamily => {
            let session = target.session_id.as_deref().and_then(word)?;
            let offline = match target.token_kind {
                Some(TokenKind::Offline) => " -q isOffline=true",
                _ => "",
            };
            format!("kcadm.sh delete sessions/{session} -r {realm}{offline}")
        }
        ActionKind::RevokeUser => format!("kcadm.sh create users/{}/logout -r {realm}", user()?),
        ActionKind::LockUser => {
            let user = user()?;
            format!(
                "kcadm.sh update users/{user} -r {realm} -s enabled=false && kcadm.sh create users/{user}/logout -r {realm}"
            )
        }
        _ => return None,
    })
}
