//! Which clients and tenants may appear by name in labels.

use crate::model::Text;
use crate::model::limits::{METRIC_CLIENTS_MAX, METRIC_TENANTS_MAX};

/// The label of whatever the configuration does not name.
const OTHER: &str = "other";

/// The names that the configuration gives, bounded; everything else is `other`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    clients: Labels,
    tenants: Labels,
}

impl Names {
    /// The first names in alphabetical order where there are too many: which ones does not change from start to start.
    pub fn new(
        clients: impl IntoIterator<Item = Text>,
        tenants: impl IntoIterator<Item = Text>,
    ) -> Self {
        Self {
            clients: Labels::new(clients, METRIC_CLIENTS_MAX),
            tenants: Labels::new(tenants, METRIC_TENANTS_MAX),
        }
    }

    pub fn clients(&self) -> &Labels {
        &self.clients
    }

    pub fn tenants(&self) -> &Labels {
        &self.tenants
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new([], [])
    }
}

/// The values of one label: known names in order, and `other` as the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels(Vec<Text>);

impl Labels {
    fn new(names: impl IntoIterator<Item = Text>, max: usize) -> Self {
        let mut labels: Vec<Text> = names.into_iter().filter(|name| &**name != OTHER).collect();
        labels.sort();
        labels.dedup();
        labels.truncate(max);
        labels.push(OTHER.into());
        Self(labels)
    }

    /// Which of [`Self::all`] stands for the name.
    pub fn index(&self, name: Option<&str>) -> usize {
        let other = self.0.len() - 1;
        let known = name.and_then(|name| {
            self.0[..other]
                .binary_search_by(|label| (**label).cmp(name))
                .ok()
        });
        known.unwrap_or(other)
    }

    pub fn label(&self, name: Option<&str>) -> &str {
        &self.0[self.index(name)]
    }

    /// Every value that the label can have.
    pub fn all(&self) -> &[Text] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_only_names_of_the_configuration() {
        let names = Names::new(["web".into(), "app".into()], []);
        assert_eq!(names.clients().label(Some("web")), "web");
        assert_eq!(names.clients().label(Some("app")), "app");
        assert_eq!(
            names.clients().label(Some("x".repeat(500).as_str())),
            "other"
        );
        assert_eq!(names.clients().label(None), "other");
        assert_eq!(names.tenants().label(Some("web")), "other");
    }

    #[test]
    fn keeps_the_same_few_of_many_names() {
        let many =
            |turn: usize| (0..200).map(move |i| Text::from(format!("c{:03}", (i + turn) % 200)));
        assert_eq!(Names::new(many(0), []), Names::new(many(77), []));
        assert_eq!(
            Names::new(many(0), []).clients().all().len(),
            METRIC_CLIENTS_MAX + 1
        );
    }
}
