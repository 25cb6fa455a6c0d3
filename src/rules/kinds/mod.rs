//! The kinds of rules: pure logic over what the engine remembers. A new kind is one file here and one line in the table.

pub mod device_change;
pub mod impossible_travel;
pub mod reuse;
pub mod velocity;

/// The visible table of kinds: the name in a rule file, and what its parameters are.
macro_rules! rule_kinds {
    ($($(#[$doc:meta])* $name:literal => $variant:ident($params:ty)),+ $(,)?) => {
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
        }
    };
}

rule_kinds! {
    /// Lineage: a consumed token presented again, two holders of one family.
    "reuse" => Reuse(reuse::Reuse),
    /// Account: two places, too little time between.
    "impossible_travel" => ImpossibleTravel(impossible_travel::ImpossibleTravel),
    /// Any subject: more refreshes than the access token's lifetime explains.
    "velocity" => Velocity(velocity::Velocity),
    /// Lineage: another kind of device or client within one family.
    "device_change" => DeviceChange(device_change::DeviceChange),
}
