//! Who leads: of the daemons on one PostgreSQL one reads, decides and acts, and the others stand by.
//!
//! A row says who, in which term, and until when by the database's clock; whoever leads renews it. Each transaction of the
//! leader holds the row of its term to its end: who begins another term waits for those under way, and those that come
//! later find their term over and write nothing. An advisory lock was the other way: it belongs to a connection, so that
//! a daemon that is frozen would hold it for as long as it is, and a pooler of connections would hand it to anybody.

use std::sync::{MutexGuard, PoisonError};

use sqlx::{Any, AnyConnection, Row as _, Transaction};
use tokio::time::timeout;

use crate::model::{Text, Timestamp, limits};

use super::{Store, StoreError, sql};

/// Whether this process may write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Seat {
    /// It never asked to lead: a command, or the only daemon that there can be.
    #[default]
    Beside,
    Leads {
        term: i64,
    },
    StandsBy {
        leader: Text,
    },
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// As it calls itself.
    pub owner: Text,
    /// Which process it is, for others on its machine.
    pub process: Text,
    pub since: Timestamp,
}

impl std::fmt::Display for Leader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} leads since {}", self.owner, self.since)
    }
}

/// The row, and whether its time is over.
struct Known {
    term: i64,
    leader: Leader,
    is_over: bool,
}

#[expect(clippy::cast_possible_wrap, reason = "seconds")]
const LASTS_MS: i64 = limits::LEAD_LASTS.as_secs() as i64 * 1000;

/// The time of the statement, not of its transaction: it may have waited for a lock.
macro_rules! now_ms {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}

const KNOWN: &str = concat!(
    "SELECT term, owner, process, since, expires_at <= ",
    now_ms!(),
    " AS is_over FROM leader"
);
const TAKE: &str = concat!(
    "INSERT INTO leader (id, term, owner, process, since, expires_at) VALUES (1, 1, $1, $2, ",
    now_ms!(),
    ", ",
    now_ms!(),
    " + $3) ON CONFLICT (id) DO UPDATE SET term = leader.term + 1, owner = excluded.owner, process = excluded.process, since = ",
    now_ms!(),
    ", expires_at = ",
    now_ms!(),
    " + $3 WHERE leader.expires_at <= ",
    now_ms!(),
    " RETURNING term"
);
const RENEW: &str = concat!(
    "UPDATE leader SET expires_at = ",
    now_ms!(),
    " + $1 WHERE term = $2"
);
/// Not in the way of a renewal, which changes no key; in the way of another term.
const FENCE: &str = "SELECT 1 FROM leader WHERE term = $1 FOR KEY SHARE";
/// Nobody can begin a try in the name of a former leader any more; one that was begun may still be under way, and keeps its lease.
const FREE: &str = "UPDATE action SET state = 'ready', lease_owner = NULL, lease_until = NULL WHERE state = 'leased'
    AND NOT EXISTS (SELECT 1 FROM action_attempt WHERE action_attempt.action_id = action.id AND ended_at IS NULL)";

impl Store {
    /// Several daemons may share it, of which one leads. An embedded store has one, and a lock that keeps others out.
    pub fn is_shared(&self) -> bool {
        self.inner.lead.is_some()
    }

    /// By which metrics tell one store from another.
    pub async fn id(&self) -> Result<Text, StoreError> {
        let row = sqlx::query("SELECT value FROM meta WHERE name = 'store_id'")
            .fetch_one(self.reader())
            .await?;
        Ok(row.try_get::<String, _>("value")?.into())
    }

    /// Takes the lead unless somebody has it; `None` when it is ours. From the first call on nothing is written but while
    /// it is.
    pub async fn take_lead(
        &self,
        owner: &Text,
        process: &Text,
    ) -> Result<Option<Leader>, StoreError> {
        let Some(line) = &self.inner.lead else {
            return Ok(None);
        };
        let mut connection = line.take().await?;
        let leader = self.take_by(&mut connection, owner, process).await?;
        line.give_back(connection);
        Ok(leader.map(|leader| self.give_way(leader)))
    }

    /// What the one before had not begun is free when it is ours, also where we are told so at the second time only.
    async fn take_by(
        &self,
        connection: &mut AnyConnection,
        owner: &Text,
        process: &Text,
    ) -> Result<Option<Leader>, StoreError> {
        let known = known(connection).await?.filter(|known| !known.is_over);
        if let Some(Known { term, leader, .. }) = known {
            if leader.owner != *owner {
                return Ok(Some(leader));
            }
            // Our own, of which we never heard.
            self.sit(Seat::Leads { term });
            if !renew(connection, term).await? {
                return Err(self.lost_to(Some(known_leader(connection).await?)));
            }
        } else {
            let taken = sqlx::query(TAKE)
                .bind(owner.as_ref())
                .bind(process.as_ref())
                .bind(LASTS_MS)
                .fetch_optional(&mut *connection)
                .await?;
            let Some(row) = taken else {
                return known_leader(connection).await.map(Some);
            };
            let term = row.try_get("term")?;
            self.sit(Seat::Leads { term });
        }
        sqlx::query(FREE).execute(connection).await?;
        Ok(None)
    }

    /// Ends the lead of a daemon that is known to be gone, before its time.
    pub async fn end_lead_of(&self, leader: &Leader) -> Result<(), StoreError> {
        if let Some(line) = &self.inner.lead {
            let mut connection = line.take().await?;
            sqlx::query("UPDATE leader SET expires_at = 0 WHERE owner = $1")
                .bind(leader.owner.as_ref())
                .execute(&mut connection)
                .await?;
            line.give_back(connection);
        }
        Ok(())
    }

    /// Keeps the lead; [`StoreError::NotLeading`] when somebody else has it since.
    pub async fn renew_lead(&self) -> Result<(), StoreError> {
        let (Some(line), Some(term)) = (&self.inner.lead, self.term()?) else {
            return Ok(());
        };
        let mut connection = line.take().await?;
        let is_renewed = renew(&mut connection, term).await?;
        line.give_back(connection);
        if is_renewed {
            Ok(())
        } else {
            Err(self.lost_lead().await)
        }
    }

    /// Lets the next one have it at once. Nothing can be written afterwards.
    pub async fn give_up_lead(&self) -> Result<(), StoreError> {
        let (Some(line), Seat::Leads { term }) = (&self.inner.lead, self.seat().clone()) else {
            return Ok(());
        };
        self.sit(Seat::StandsBy {
            leader: "nobody".into(),
        });
        let mut connection = line.take().await?;
        sqlx::query("UPDATE leader SET expires_at = 0 WHERE term = $1")
            .bind(term)
            .execute(&mut connection)
            .await?;
        line.give_back(connection);
        Ok(())
    }

    /// Holds the term to the end of the transaction, or refuses it.
    pub(super) async fn fence(
        &self,
        transaction: &mut Transaction<'static, Any>,
    ) -> Result<(), StoreError> {
        let Some(term) = self.term()? else {
            return Ok(());
        };
        let ours = sqlx::query(FENCE)
            .bind(term)
            .fetch_optional(&mut **transaction)
            .await?;
        match ours {
            Some(_) => Ok(()),
            None => Err(self.lost_lead().await),
        }
    }

    /// In which term this process leads; none where it never asked to.
    pub(super) fn term(&self) -> Result<Option<i64>, StoreError> {
        match self.seat().clone() {
            Seat::Beside => Ok(None),
            Seat::Leads { term } => Ok(Some(term)),
            Seat::StandsBy { leader } => Err(StoreError::NotLeading { leader }),
        }
    }

    async fn lost_lead(&self) -> StoreError {
        // It is lost whoever has it.
        let leader = timeout(limits::LEAD_TIMEOUT, self.leader()).await;
        self.lost_to(leader.ok().and_then(Result::ok).flatten())
    }

    async fn leader(&self) -> Result<Option<Leader>, StoreError> {
        let Some(line) = &self.inner.lead else {
            return Ok(None);
        };
        let mut connection = line.take().await?;
        let known = known(&mut connection).await?;
        line.give_back(connection);
        Ok(known.map(|known| known.leader))
    }

    fn lost_to(&self, leader: Option<Leader>) -> StoreError {
        let leader: Text = leader
            .map_or_else(
                || "another daemon leads".to_owned(),
                |leader| leader.to_string(),
            )
            .into();
        self.sit(Seat::StandsBy {
            leader: leader.clone(),
        });
        StoreError::NotLeading { leader }
    }

    fn give_way(&self, leader: Leader) -> Leader {
        self.sit(Seat::StandsBy {
            leader: leader.to_string().into(),
        });
        leader
    }

    fn sit(&self, seat: Seat) {
        *self.seat() = seat;
    }

    fn seat(&self) -> MutexGuard<'_, Seat> {
        let seat = &self.inner.seat;
        seat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it is still ours.
async fn renew(connection: &mut AnyConnection, term: i64) -> Result<bool, StoreError> {
    let renewed = sqlx::query(RENEW)
        .bind(LASTS_MS)
        .bind(term)
        .execute(connection)
        .await?;
    Ok(renewed.rows_affected() > 0)
}

async fn known_leader(connection: &mut AnyConnection) -> Result<Leader, StoreError> {
    let known = known(connection).await?;
    Ok(known.ok_or_else(|| gone("the row is gone"))?.leader)
}

async fn known(connection: &mut AnyConnection) -> Result<Option<Known>, StoreError> {
    let row = sqlx::query(KNOWN).fetch_optional(connection).await?;
    row.map(|row| {
        Ok(Known {
            term: row.try_get("term")?,
            leader: Leader {
                owner: row.try_get::<String, _>("owner")?.into(),
                process: row.try_get::<String, _>("process")?.into(),
                since: sql::time(row.try_get("since")?),
            },
            is_over: row.try_get("is_over")?,
        })
    })
    .transpose()
}

fn gone(what: &str) -> StoreError {
    StoreError::Other(format!("table leader: {what}"))
}
