//! Who writes to the topic: the people of a population and families that make up the load, both as of the writers' clock.
//!
//! Whose login was ended does not come back: that would be a revocation without effect, which the daemon rightly calls an error.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tokenwarden::decode::encode;
use tokenwarden::model::Timestamp;
use tokenwarden::simulate::population::{Moment, Population, Settings};

use crate::input::{Presentation, Traffic, user_of, write_record};
use crate::kafka::{self, PARTITIONS, PATIENCE};
use crate::listeners::{Mark, Marks};

/// The people, whose events keep their order, as offline.
pub(super) struct Crowd {
    population: Population,
    next: Option<Moment>,
    topic: String,
    ended: Marks,
    told: Told,
}

/// How far the population's log was written.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// By their numbers in the log: what was left out of it.
    pub(super) left_out: HashSet<usize>,
    pub(super) events: usize,
    pub(super) newest: Timestamp,
}

impl Crowd {
    pub(super) fn new(settings: Settings, topic: &str, ended: Marks) -> Self {
        let mut population = Population::new(settings);
        Self {
            next: population.next(),
            population,
            topic: topic.to_owned(),
            ended,
            told: Told::default(),
        }
    }

    /// Writes what has happened up to now.
    pub(super) fn send_until(
        &mut self,
        producer: &BaseProducer,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        while let Some(moment) = self.next.take_if(|next| next.event.time <= now) {
            let user = moment.event.user_id.as_deref();
            if user.is_some_and(|user| self.ended.has(user, Mark::Revoked)) {
                self.told.left_out.insert(self.told.events);
            } else {
                let mut record = Vec::new();
                encode(&moment.event, &mut record)?;
                let record = String::from_utf8(record).context("JSON is text")?;
                let to = BaseRecord::<(), str>::to(&self.topic).partition(0);
                kafka::hand_over(producer, to.payload(&record))?;
                self.told.newest = moment.event.time;
            }
            self.told.events += 1;
            self.next = self.population.next();
        }
        producer.poll(Duration::ZERO);
        Ok(())
    }

    /// Nothing more comes.
    pub(super) fn end(self, producer: &BaseProducer) -> anyhow::Result<Told> {
        producer.flush(PATIENCE)?;
        Ok(self.told)
    }
}

/// So many families, one after the other.
pub(super) struct Families {
    traffic: Traffic,
    topic: String,
    ended: Marks,
    sent: f64,
    /// The lifetime of access tokens in a record, as it comes and as it is meant here.
    lifetimes: [String; 2],
}

impl Families {
    pub(super) fn new(count: u32, refreshed_every: Duration, topic: &str, ended: Marks) -> Self {
        let lifetime = |seconds: u64| format!("\"access_token_ttl\":{seconds}}}");
        Self {
            traffic: Traffic::new(0..count, Timestamp::now()),
            topic: topic.to_owned(),
            ended,
            sent: 0.0,
            lifetimes: [lifetime(300), lifetime(refreshed_every.as_secs())],
        }
    }

    /// Writes until there are so many events; they happen now.
    pub(super) fn send_until(
        &mut self,
        producer: &BaseProducer,
        events: f64,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let mut record = String::new();
        while self.sent < events {
            let next = self.traffic.next().context("traffic has no end")?;
            // Also one that is left out has had its turn.
            self.sent += 1.0;
            if self.ended.has(&user_of(next.family), Mark::Revoked) {
                continue;
            }
            let event = Presentation {
                time_ms: now.as_millisecond(),
                ..next
            };
            record.clear();
            write_record(&event, &mut record)?;
            let [comes, meant] = &self.lifetimes;
            let record = record.replacen(comes, meant, 1);
            let partition = i32::try_from(event.family % PARTITIONS)?;
            let to = BaseRecord::<(), str>::to(&self.topic).partition(partition);
            kafka::hand_over(producer, to.payload(&record))?;
        }
        Ok(())
    }
}
