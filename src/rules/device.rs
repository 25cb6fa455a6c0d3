//! Whether two presentations can come from one device: one answer, by the strongest sign that both carry.
//!
//! The proof key decides first, then the device id, then the kind of user agent. A weaker sign never overrules a stronger
//! one: an app that shows a webview beside the system browser sends two user agents and one device id.

use super::context::{Basis, Context};

/// How two contexts stand to each other, and which sign says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    Same(Basis),
    Different(Basis),
    /// Neither carries what the other does.
    Unknown,
}

/// Compares two contexts.
pub fn devices(a: &Context, b: &Context) -> Devices {
    let signs = [
        (
            Basis::Key,
            equal(a.key_thumbprint.as_ref(), b.key_thumbprint.as_ref()),
        ),
        (
            Basis::Device,
            equal(a.device_id.as_ref(), b.device_id.as_ref()),
        ),
        (Basis::Agent, same_kind(a, b)),
    ];
    let mut told = signs
        .into_iter()
        .filter_map(|(basis, same)| Some((basis, same?)));
    match told.next() {
        Some((basis, true)) => Devices::Same(basis),
        Some((basis, false)) => Devices::Different(basis),
        None => Devices::Unknown,
    }
}

impl Devices {
    pub const fn differ(self) -> bool {
        matches!(self, Self::Different(_))
    }

    /// One installation beyond doubt: a user agent alone is everybody's.
    pub const fn surely_same(self) -> bool {
        matches!(self, Self::Same(Basis::Key | Basis::Device))
    }
}

fn equal<T: PartialEq>(a: Option<&T>, b: Option<&T>) -> Option<bool> {
    Some(a? == b?)
}

fn same_kind(a: &Context, b: &Context) -> Option<bool> {
    let (a, b) = (a.agent.as_ref()?, b.agent.as_ref()?);
    Some(!a.is_another_kind_than(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Agent, DeviceClass};

    fn context(key: Option<&str>, device: Option<&str>, app: Option<&str>) -> Context {
        Context {
            key_thumbprint: key.map(Into::into),
            device_id: device.map(Into::into),
            agent: app.map(|app| Agent {
                os_family: "Linux".into(),
                device: DeviceClass::Desktop,
                client_app: app.into(),
                automation: false,
            }),
            ..Context::default()
        }
    }

    #[test]
    fn the_strongest_sign_that_both_carry_decides() {
        let full = context(Some("k"), Some("d"), Some("Chrome"));
        let cases = [
            (
                context(Some("k"), Some("other"), Some("curl")),
                Devices::Same(Basis::Key),
            ),
            (
                context(Some("other"), Some("d"), Some("Chrome")),
                Devices::Different(Basis::Key),
            ),
            (
                context(None, Some("d"), Some("curl")),
                Devices::Same(Basis::Device),
            ),
            (
                context(None, None, Some("curl")),
                Devices::Different(Basis::Agent),
            ),
            (
                context(None, None, Some("Chrome")),
                Devices::Same(Basis::Agent),
            ),
            (context(None, None, None), Devices::Unknown),
        ];
        for (other, expected) in cases {
            assert_eq!(devices(&full, &other), expected);
            assert_eq!(devices(&other, &full), expected);
        }
    }
}
