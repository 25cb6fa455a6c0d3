//! The lead among the daemons of one store, as this one sees it: taken, renewed, given up.
//!
//! The store decides who leads and refuses what anybody else writes. What is done outside it cannot refuse, so this side
//! asks its own clocks before each call whether the lead still holds, and stops a moment before it ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use super::board::{Board, Place};
use super::process;
use crate::clock::{Mandate, Moment};
use crate::metrics::Metrics;
use crate::model::{Text, limits};
use crate::store::{Leader, Store, StoreError};

/// A standby waits in the database for transactions of the one before it, which end by themselves.
const TAKE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Lead {
    store: Store,
    /// As it is told to others on the store.
    pub(super) owner: Text,
    process: Text,
    /// By which metrics, and members of a consumer group, tell stores apart.
    pub(super) store_id: Text,
    board: Arc<Board>,
    pub(super) mandate: Mandate,
}

impl Lead {
    pub(super) async fn new(
        store: Store,
        owner: Text,
        board: Arc<Board>,
    ) -> Result<Self, StoreError> {
        let mandate = Mandate::default();
        if store.is_shared() {
            mandate.end();
        }
        Ok(Self {
            store_id: store.id().await?,
            store,
            owner,
            process: process::this(),
            board,
            mandate,
        })
    }

    /// Takes the lead unless another daemon has it; whether it is ours.
    pub(super) async fn take(&self) -> Result<bool, StoreError> {
        if !self.store.is_shared() {
            return Ok(true);
        }
        let asked = Moment::now();
        let taken = tokio::time::timeout(TAKE_TIMEOUT, self.ask()).await;
        match taken.unwrap_or_else(|_| Err(silent()))? {
            None => {
                self.renewed(asked);
                Ok(true)
            }
            Some(leader) => {
                self.board.place(Place::StandsBy(leader.to_string()));
                Ok(false)
            }
        }
    }

    /// `None` when the lead is ours.
    async fn ask(&self) -> Result<Option<Leader>, StoreError> {
        let ask = || self.store.take_lead(&self.owner, &self.process);
        match ask().await? {
            Some(leader) if process::is_gone(&leader.process) => {
                self.store.end_lead_of(&leader).await?;
                ask().await
            }
            leader => Ok(leader),
        }
    }

    /// Waits for its turn.
    pub(super) async fn await_turn(&self) {
        loop {
            tokio::time::sleep(limits::LEAD_LOOK_EVERY).await;
            match self.take().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => self.board.place(Place::Blind(error.to_string())),
            }
        }
    }

    /// Renews it until another daemon has it.
    pub(super) async fn keep(&self) -> anyhow::Error {
        if !self.store.is_shared() {
            return std::future::pending().await;
        }
        let mut pause = limits::LEAD_RENEWAL;
        loop {
            tokio::time::sleep(pause).await;
            let asked = Moment::now();
            let renewed = tokio::time::timeout(limits::LEAD_TIMEOUT, self.store.renew_lead()).await;
            pause = match renewed.unwrap_or_else(|_| Err(silent())) {
                Ok(()) => {
                    self.renewed(asked);
                    limits::LEAD_RENEWAL
                }
                Err(StoreError::NotLeading { leader }) => {
                    self.mandate.end();
                    return anyhow!(
                        "another daemon has taken over ({leader}); this one has written nothing and begun nothing since, and ends: start it again to stand by"
                    );
                }
                Err(error) => {
                    if !self.mandate.holds() {
                        self.board.place(Place::Unsure(error.to_string()));
                    }
                    limits::LEAD_RETRY
                }
            };
        }
    }

    fn renewed(&self, asked: Moment) {
        let lasts = limits::LEAD_LASTS.saturating_sub(limits::LEAD_MARGIN);
        self.mandate.renew(asked, lasts);
        self.board.place(Place::Leads);
    }

    /// Lets the next one have it at once.
    pub(super) async fn give_up(&self) -> anyhow::Result<()> {
        if !self.store.is_shared() {
            return Ok(());
        }
        self.mandate.end();
        tokio::time::timeout(limits::LEAD_TIMEOUT, self.store.give_up_lead())
            .await
            .context("the store does not answer")??;
        Ok(())
    }

    pub(super) fn describe(&self, metrics: &Metrics) {
        metrics
            .leader
            .with_label_values(&[&self.store_id])
            .set(i64::from(self.mandate.holds()));
    }
}

fn silent() -> StoreError {
    StoreError::Unavailable("no answer in time".to_owned())
}
