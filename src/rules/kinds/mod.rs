//! The kinds of rules: pure logic over what the engine remembers. A new kind is one file here and one line in the table.

pub mod automation_client;
pub mod composite;
pub mod concurrent_places;
pub mod device_change;
pub mod early_refresh;
pub mod impossible_travel;
pub mod keyed;
pub mod lifecycle;
pub mod lineage;
pub mod scope_widening;
pub mod storm;
pub mod suspicious_network;
pub mod velocity;

use std::time::Duration;

use super::case::{FamilyKind, KeyedKind, UserKind};
use super::finding::Class;
use super::needs::Need;
use super::parameters::Parameters;

/// What every kind tells of itself.
pub trait Kind: Default {
    /// Goes through its parameters: reads them from a rule file or describes them to people.
    fn parameters(&mut self, p: &mut dyn Parameters);

    /// What it must be told to see anything, and what to see everything.
    fn needs(&self) -> Vec<Need>;
}

/// The visible table of kinds: the name in a rule file, what its parameters are, the classes of evidence it gives, and
/// which stage of the engine asks it.
macro_rules! rule_kinds {
    ($($(#[$doc:meta])* $name:literal => $variant:ident($params:ty) [$($class:ident)*] $stage:ident),+ $(,)?) => {
        /// What a rule looks for: the nested key under `detect:`.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Detect {
            $($(#[$doc])* $variant($params)),+
        }

        impl Detect {
            /// Names of all kinds, as rule files write them.
            pub const KINDS: &'static [&'static str] = &[$($name),+];

            pub const fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name),+ }
            }

            /// The kind with its default parameters.
            pub fn default_of(kind: &str) -> Option<Self> {
                match kind {
                    $($name => Some(Self::$variant(<$params>::default())),)+
                    _ => None,
                }
            }

            /// Goes through the parameters of the kind.
            pub fn parameters(&mut self, p: &mut dyn Parameters) {
                match self { $(Self::$variant(kind) => kind.parameters(p)),+ }
            }

            /// What the rule must be told to see anything, and what to see everything.
            pub fn needs(&self) -> Vec<Need> {
                match self { $(Self::$variant(kind) => kind.needs()),+ }
            }

            /// The class of evidence that it gives unless the rule says otherwise.
            pub const fn classes(&self) -> &'static [Class] {
                match self { $(Self::$variant(_) => &[$(Class::$class),*]),+ }
            }

            /// The stage that asks it.
            pub fn stage(&self) -> Stage<'_> {
                match self { $(Self::$variant(kind) => Stage::$stage(kind)),+ }
            }
        }
    };
}

/// The stage of the engine that asks a kind, with the kind as that stage sees it.
pub enum Stage<'a> {
    Family(&'a dyn FamilyKind),
    User(&'a dyn UserKind),
    Rate(&'a velocity::Velocity),
    Keyed(&'a dyn KeyedKind),
    Storm(&'a storm::Storm),
    Risk(&'a composite::Composite),
}

impl Stage<'_> {
    /// The longest that a question waits, in event time.
    pub fn settle_max(self) -> Duration {
        match self {
            Self::Family(kind) => kind.settle_max(),
            Self::User(kind) => kind.settle(),
            Self::Rate(_) | Self::Keyed(_) | Self::Storm(_) | Self::Risk(_) => Duration::ZERO,
        }
    }
}

rule_kinds! {
    /// A consumed token presented again.
    "reuse" => Reuse(lineage::reuse::Reuse) [Lineage] Family,
    /// Two successors of one token are both in use.
    "fork" => Fork(lineage::fork::Fork) [Lineage] Family,
    /// A token presented by another client.
    "client_mismatch" => ClientMismatch(lineage::client_mismatch::ClientMismatch) [Lineage] Family,
    /// A token presented with another proof key, or from another device where that is stable.
    "binding_mismatch" => BindingMismatch(lineage::binding_mismatch::BindingMismatch) [Binding] Family,
    /// A refresh that names a scope its family was never granted.
    "scope_widening" => ScopeWidening(scope_widening::ScopeWidening) [Lineage] Family,
    /// Two networks take turns in one family, and no one device can be in both.
    "concurrent_places" => ConcurrentPlaces(concurrent_places::ConcurrentPlaces) [Place] Family,
    /// A family moves to a rented server, Tor, or an anonymous proxy or VPN.
    "suspicious_network" => SuspiciousNetwork(suspicious_network::SuspiciousNetwork) [Place] Family,
    /// A program uses the family of a person's browser or app.
    "automation_client" => AutomationClient(automation_client::AutomationClient) [Device] Family,
    /// Access tokens are renewed again and again long before they expire.
    "early_refresh" => EarlyRefresh(early_refresh::EarlyRefresh) [Rate] Family,
    /// Another kind of device or client within one family.
    "device_change" => DeviceChange(device_change::DeviceChange) [Device] Family,
    /// A use after the family, its session, consent or user had been ended.
    "use_after_revocation" => UseAfterRevocation(lifecycle::use_after_revocation::UseAfterRevocation) [Lifecycle] Family,
    /// A family from before its user changed the password or second factor goes on.
    "use_after_credential_change" => UseAfterCredentialChange(lifecycle::use_after_credential_change::UseAfterCredentialChange) [Lifecycle] Family,
    /// A disabled or deleted user refreshes.
    "disabled_user" => DisabledUser(lifecycle::disabled_user::DisabledUser) [Lifecycle] Family,
    /// A family is honoured longer than its server is set to.
    "lifetime" => Lifetime(lifecycle::lifetime::Lifetime) [Lifecycle] Family,
    /// A family that nobody used for weeks is used again.
    "dormant_wake_up" => DormantWakeUp(lifecycle::dormant_wake_up::DormantWakeUp) [Lifecycle] Family,
    /// Two places of one user, too little time between.
    "impossible_travel" => ImpossibleTravel(impossible_travel::ImpossibleTravel) [Place] User,
    /// More refreshes of any subject than the access token's lifetime explains.
    "velocity" => Velocity(velocity::Velocity) [Rate] Rate,
    /// More events of one key than a limit.
    "threshold" => Threshold(keyed::threshold::Threshold) [Rate] Keyed,
    /// More different values at one key than a limit.
    "distinct" => Distinct(keyed::distinct::Distinct) [Rate] Keyed,
    /// A value that is new to a key with a history.
    "first_seen" => FirstSeen(keyed::first_seen::FirstSeen) [Place] Keyed,
    /// One thing after the other at one key.
    "sequence" => Sequence(keyed::sequence::Sequence) [Rate] Keyed,
    /// Reuses in many families of one client at once.
    "storm" => Storm(storm::Storm) [Lineage] Storm,
    /// Findings of other rules that together say more than each alone.
    "composite_risk" => Composite(composite::Composite) [] Risk,
}
