//! Turns the configuration into the parts of the pipeline, the same for `run`, `replay`, `check` and `demo`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::actions;
use crate::config::{self, Config, Shared, SourceKind};
use crate::decode::{self, DecodeOptions, Decoder, MappingSpec, TokenKey};
use crate::engine::Engine;
use crate::enrich::{DeclaredRange, GeoFiles, Tables, TablesParams};
use crate::model::{Text, limits};
use crate::respond::{Allowed, Policy};
use crate::rules::{self, RuleSet};
use crate::sources::kafka;
use crate::yaml::{Fault, Place};

/// The rules of the configuration, or of other folders in their place.
pub fn rule_set(config: &Config, instead: Option<&PathBuf>) -> Result<RuleSet, Vec<Fault>> {
    let pin = config.rules_version.as_ref();
    let Some(path) = instead else {
        return rules::load(&config.rules, &config.overrides)?.pinned(pin);
    };
    // Overrides of rules that the other folder does not have are no fault of it.
    let paths = std::slice::from_ref(path);
    let bare = rules::load(paths, &[])?;
    let mut overrides = config.overrides.clone();
    overrides.retain(|(name, _)| bare.rules.iter().any(|rule| rule.name == *name));
    rules::load(paths, &overrides)?.pinned(pin)
}

/// Templates that name what no action has, with their places.
pub fn template_faults(config: &Config) -> Vec<Fault> {
    let templates = config.templates.iter();
    let faults = templates.filter_map(|(of, source, place)| {
        let (message, hint) = actions::template_fault(*of, source)?;
        Some(place.fault(message).with_hint(hint))
    });
    faults.collect()
}

/// The labels of each rule.
pub fn rule_labels(rules: &RuleSet) -> BTreeMap<Text, BTreeMap<Text, Vec<Text>>> {
    let rules = rules.rules.iter();
    rules
        .map(|rule| (rule.name.clone(), rule.labels.values()))
        .collect()
}

/// What librdkafka or our own bookkeeping does not take among the properties of Kafka sources.
pub fn kafka_faults(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    let placed = config.kafka_properties.iter();
    // By name alone, since a source with other faults has no values.
    for (_, name, place) in placed.clone() {
        if let Some(why) = kafka::property_fault(name) {
            faults.push(place.fault(why).with_hint("remove this line"));
        }
    }
    for source in &config.sources {
        let SourceKind::Kafka(cluster) = &source.kind else {
            continue;
        };
        let of_source = placed.clone().filter(|(name, ..)| *name == source.name);
        for (property, why) in kafka::faults(cluster) {
            let mut places = of_source.clone();
            let place = match &property {
                Some(property) if kafka::property_fault(property).is_some() => continue,
                Some(property) => places.find(|(_, name, _)| name == property),
                None => {
                    let named = of_source.clone().find(|(_, name, _)| why.contains(&**name));
                    named.or_else(|| places.next())
                }
            };
            let start = || Place::start_of(&config.path);
            let place = place.map_or_else(start, |(_, _, place)| place.clone());
            let hint = "names and values are those of librdkafka's CONFIGURATION.md";
            faults.push(place.fault(why).with_hint(hint));
        }
    }
    faults
}

/// The lookup tables, and what is wrong with them: a missing file makes rules blind, it stops nothing.
pub fn tables(config: &Config) -> (Arc<Tables>, Vec<String>) {
    let (tables, warnings) = Tables::load(&tables_params(config));
    (Arc::new(tables), warnings)
}

pub fn tables_params(config: &Config) -> TablesParams {
    let range = |network: &config::DeclaredNetwork| DeclaredRange {
        name: network.name.clone(),
        class: network.class,
        cidrs: network.cidrs.clone(),
        asns: network.asns.clone(),
    };
    TablesParams {
        files: GeoFiles {
            city: config.geoip.city.clone(),
            asn: config.geoip.asn.clone(),
            anonymous_ip: config.geoip.anonymous_ip.clone(),
        },
        networks: config.networks.iter().map(range).collect(),
    }
}

pub fn engine(config: &Config, rules: &RuleSet) -> Engine {
    let lateness = config
        .sources
        .iter()
        .map(|s| s.lateness)
        .max()
        .unwrap_or(limits::LATENESS_DEFAULT);
    Engine::new(rules, config.clients.clone(), lateness)
        .with_tenants(config.tenants.clone())
        .with_limits(config.state)
}

pub fn policy(config: &Config) -> Policy {
    Policy::new(allowed(config))
}

pub fn allowed(config: &Config) -> Allowed {
    Allowed {
        mode: config.mode,
        clients: config.clients.clone(),
        tenants: config.tenants.clone(),
        response: config.response.clone(),
        shared: Shared::of(&config.networks),
        performed: config
            .revokers
            .iter()
            .flat_map(|it| it.performs().iter().copied())
            .collect(),
    }
}

/// The decoder of one source.
pub fn decoder(
    decode: &config::Decode,
    key: &TokenKey,
    previous: Option<&TokenKey>,
) -> Result<Arc<dyn Decoder>, String> {
    let (format, mapping) = format(decode);
    let options = DecodeOptions {
        format: format.into(),
        own_accounts: decode.own_accounts.clone(),
        timezone: decode.timezone.clone(),
        mapping,
        token_key: key.clone(),
        previous_key: previous.cloned(),
    };
    decode::decoder(options).map(Arc::from)
}

/// The format by its name, with the mapping that only one of them has.
pub(super) fn format(decode: &config::Decode) -> (&'static str, Option<MappingSpec>) {
    match &decode.format {
        config::Format::Tokenwarden => ("tokenwarden", None),
        config::Format::Keycloak => ("keycloak", None),
        config::Format::Auth0 => ("auth0", None),
        config::Format::Mapping(mapping) => ("mapping", Some(mapping_spec(mapping))),
    }
}

/// The decoder that `replay --format` names.
pub fn named_decoder(
    format: &str,
    timezone: Option<Text>,
    key: TokenKey,
) -> Result<Arc<dyn Decoder>, String> {
    let options = DecodeOptions {
        format: format.into(),
        own_accounts: Vec::new(),
        timezone,
        mapping: None,
        token_key: key,
        previous_key: None,
    };
    decode::decoder(options).map(Arc::from)
}

fn mapping_spec(mapping: &config::Mapping) -> decode::MappingSpec {
    let field = |field: &config::MappingField| decode::MappingField {
        from: match &field.from {
            config::MappingValue::Pointer(pointer) => {
                decode::MappingValue::Pointer(pointer.clone())
            }
            config::MappingValue::Constant(value) => decode::MappingValue::Constant(value.clone()),
        },
        values: field.values.clone(),
        otherwise: field.otherwise.clone(),
        secret: field.secret,
    };
    decode::MappingSpec {
        fields: mapping
            .fields
            .iter()
            .map(|(name, f)| (name.clone(), field(f)))
            .collect(),
    }
}
