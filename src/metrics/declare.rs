//! The `metrics!` macro: a struct of handles, registered under one prefix, with the doc comments as help texts.
//!
//! Written out by hand each metric would stand in three places (field, constructor, documentation) that drift apart.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts,
};

/// What a metric is declared as, for documentation and for tests of dashboards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Declared {
    /// With the prefix.
    pub name: &'static str,
    pub help: &'static str,
    pub kind: &'static str,
    pub labels: &'static [&'static str],
    /// Upper bounds of a histogram, else empty.
    pub buckets: &'static [f64],
}

impl Declared {
    fn opts(&self) -> Opts {
        Opts::new(self.name, self.help.trim())
    }

    fn histogram_opts(&self) -> HistogramOpts {
        HistogramOpts::new(self.name, self.help.trim()).buckets(self.buckets.to_vec())
    }
}

/// A kind of metric that can be made from its declaration.
pub(super) trait Metric: Collector + Clone + Sized + 'static {
    fn make(declared: &Declared) -> Result<Self, prometheus::Error>;
}

macro_rules! metric_kinds {
    ($($kind:ident: |$declared:ident| $make:expr;)+) => {
        $(impl Metric for $kind {
            fn make($declared: &Declared) -> Result<Self, prometheus::Error> { $make }
        })+
    };
}

metric_kinds! {
    IntCounter: |declared| Self::with_opts(declared.opts());
    IntGauge: |declared| Self::with_opts(declared.opts());
    Gauge: |declared| Self::with_opts(declared.opts());
    Histogram: |declared| Self::with_opts(declared.histogram_opts());
    IntCounterVec: |declared| Self::new(declared.opts(), declared.labels);
    IntGaugeVec: |declared| Self::new(declared.opts(), declared.labels);
    GaugeVec: |declared| Self::new(declared.opts(), declared.labels);
    HistogramVec: |declared| Self::new(declared.histogram_opts(), declared.labels);
}

macro_rules! metrics {
    (
        prefix $prefix:literal;
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[doc = $help:literal])+ $field:ident: $kind:ident $([$($label:literal),+])? $(in $buckets:ident)?,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        pub struct $name {
            $($(#[doc = $help])+ pub $field: prometheus::$kind,)+
        }

        impl $name {
            /// Every metric, in the order of the block.
            pub const DECLARED: &'static [declare::Declared] = &[$(declare::Declared {
                name: concat!($prefix, stringify!($field)),
                help: concat!($($help),+),
                kind: stringify!($kind),
                labels: &[$($($label),+)?],
                buckets: metrics!(@buckets $($buckets)?),
            },)+];

            /// Makes all of them and registers each.
            pub fn register(registry: &prometheus::Registry) -> Result<Self, prometheus::Error> {
                let mut declared = Self::DECLARED.iter();
                Ok(Self {
                    $($field: {
                        let declared = declared.next().expect("one declaration for each field, in the same order");
                        let metric = <prometheus::$kind as declare::Metric>::make(declared)?;
                        registry.register(Box::new(metric.clone()))?;
                        metric
                    },)+
                })
            }
        }
    };
    (@buckets) => { &[] };
    (@buckets $buckets:ident) => { $buckets };
}
