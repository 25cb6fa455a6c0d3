//! Links that the operator wants in notifications: each a name and a template of an address.

use std::collections::BTreeMap;

use crate::model::Text;

use super::Notification;
use super::report::{Link, is_web_address};
use super::template::{Names, Place, Template, values_of_notification};

/// Checked when they are made; filled in for each notification.
pub(super) struct Links(Vec<(String, Template)>);

impl Links {
    pub(super) fn new(settings: &BTreeMap<Text, Text>) -> Result<Self, String> {
        let mut links = Vec::new();
        for (name, url) in settings {
            links.push((name.to_string(), template(&format!("links: {name}"), url)?));
        }
        Ok(Self(links))
    }

    /// A link whose value is not known is left out: the notification matters more.
    pub(super) fn of(&self, notification: &Notification) -> Vec<Link> {
        let values = values_of_notification(notification);
        let filled = self.0.iter().filter_map(|(name, template)| {
            let url = template.render(&values).ok()?;
            Some(Link::new(name, &url))
        });
        filled.collect()
    }
}

/// An address of the web with values of a notification in it.
fn template(what: &str, url: &str) -> Result<Template, String> {
    if !is_web_address(url) {
        return Err(format!(
            "{what}: expected an address that begins with https:// or http://"
        ));
    }
    Template::new(what, url, Place::Url, Names::OfLink)
}
