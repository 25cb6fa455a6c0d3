//! Asks the broker where partitions begin and end, and where a time lies in them: one request for all partitions.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::{Offset, TopicPartitionList};

use super::start::Kept;
use crate::model::Timestamp;

/// By partition number.
pub(super) type Offsets = BTreeMap<i32, i64>;

pub(super) fn kept<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
    timeout: Duration,
) -> Result<BTreeMap<i32, Kept>, String> {
    let first = query(consumer, topic, partitions, Offset::Beginning, timeout)?;
    let end = ends(consumer, topic, partitions, timeout)?;
    let both = first.into_iter().zip(end.into_values());
    Ok(both
        .map(|((number, first), end)| (number, Kept { first, end }))
        .collect())
}

pub(super) fn ends<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
    timeout: Duration,
) -> Result<Offsets, String> {
    query(consumer, topic, partitions, Offset::End, timeout)
}

/// The first record at or after `time`; nothing for a partition that has none.
pub(super) fn at_time<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
    time: Timestamp,
    timeout: Duration,
) -> Result<Offsets, String> {
    let time = Offset::Offset(time.as_millisecond().max(0));
    query(consumer, topic, partitions, time, timeout)
}

/// `what` is a time in milliseconds, or the beginning or the end: the protocol has one request for all three.
fn query<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
    what: Offset,
    timeout: Duration,
) -> Result<Offsets, String> {
    let describe = |error: &dyn std::fmt::Display| format!("asking for offsets of {topic}: {error}");
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for number in partitions {
        list.add_partition_offset(topic, *number, what)
            .map_err(|error| describe(&error))?;
    }
    let answer = consumer
        .offsets_for_times(list, timeout)
        .map_err(|error| describe(&error))?;
    let mut offsets = Offsets::new();
    for element in answer.elements() {
        element.error().map_err(|error| describe(&error))?;
        if let Offset::Offset(offset) = element.offset() {
            offsets.insert(element.partition(), offset);
        }
    }
    Ok(offsets)
}
