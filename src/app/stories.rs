//! What families went through before, for notifications: looked up in the archive once for each event, one after the other.
//!
//! A look-up goes over files of the archive, and nobody can stop it when whoever asked has given up waiting. So there is one at
//! a time, and what it found is remembered: a notification that its receiver's limit or circuit puts off comes again every few
//! seconds.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::lookback::{Wanted, story_until};
use crate::archive::Folder;
use crate::model::Evidence;
use crate::model::limits::STORIES_REMEMBERED;

pub(super) struct Stories {
    folder: Folder,
    /// By what was asked for, newest first. Locked by a look-up to its end.
    told: Arc<Mutex<VecDeque<Told>>>,
}

struct Told {
    wanted: Wanted,
    story: Vec<Evidence>,
}

impl Stories {
    pub(super) fn new(folder: Folder) -> Self {
        Self {
            folder,
            told: Arc::default(),
        }
    }

    /// Up to the event; nothing where the archive's newest part does not hold it, or cannot be read.
    pub(super) async fn until(&self, wanted: Wanted) -> Vec<Evidence> {
        let mut told = Arc::clone(&self.told).lock_owned().await;
        let folder = self.folder.clone();
        let looked = tokio::task::spawn_blocking(move || {
            if let Some(told) = told.iter().find(|it| it.wanted == wanted) {
                return Ok(told.story.clone());
            }
            let story = story_until(&folder, &wanted)?;
            told.push_front(Told {
                wanted,
                story: story.clone(),
            });
            told.truncate(STORIES_REMEMBERED);
            anyhow::Ok(story)
        });
        match looked.await {
            Ok(Ok(story)) => story,
            Ok(Err(error)) => {
                tracing::warn!(%error, "The archive cannot be read for a notification");
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }

    /// Somebody is gone from the archive: what is told from now on is read anew.
    pub(super) async fn forget(&self) {
        self.told.lock().await.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::lookback::{Id, Whose};
    use super::*;
    use crate::archive::Writer;
    use crate::model::Value;

    fn archive(events: &[String]) -> (tempfile::TempDir, Folder) {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::new(home.path());
        let (mut writer, _) = Writer::open(folder.lock().unwrap().unwrap(), |_| None).unwrap();
        let now = "2026-11-22T05:00:00Z".parse().unwrap();
        for event in events {
            writer.write(format!("{event}\n").as_bytes(), now).unwrap();
        }
        writer.end_file().unwrap();
        (home, folder)
    }

    fn refresh(issuer: &str, id: &str, token: &str) -> String {
        format!(
            r#"{{"event_id":"{id}","time":"2026-11-22T05:00:00Z","type":"refresh","outcome":"success","issuer":"{issuer}","token_id":"{token}","tokenwarden":{{"family_id":"f1"}}}}"#
        )
    }

    fn event(issuer: &str, id: &str) -> Wanted {
        Wanted {
            id: Id::Event(id.into()),
            whose: Some(Whose {
                issuer: issuer.into(),
                tenant: None,
            }),
        }
    }

    #[tokio::test]
    async fn an_event_is_looked_up_once_until_somebody_is_forgotten() {
        let (_home, folder) = archive(&[refresh("app", "e1", "t1")]);
        let stories = Stories::new(folder.clone());
        let told = stories.until(event("app", "e1")).await;
        assert_eq!(told.len(), 1);
        assert_eq!(stories.until(event("app", "e2")).await, []);
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        assert_eq!(stories.until(event("app", "e1")).await, told, "remembered");
        stories.forget().await;
        assert_eq!(stories.until(event("app", "e1")).await, []);
    }

    #[tokio::test]
    async fn the_story_is_of_the_server_whose_finding_it_is_where_two_give_the_same_ids() {
        let (_home, folder) = archive(&[
            refresh("shop-a", "1", "a1"),
            refresh("shop-b", "1", "b1"),
            refresh("shop-a", "2", "a2"),
            refresh("shop-b", "2", "b2"),
        ]);
        let stories = Stories::new(folder);
        for (issuer, tokens) in [("shop-a", ["a1", "a2"]), ("shop-b", ["b1", "b2"])] {
            let told = stories.until(event(issuer, "2")).await;
            let told: Vec<_> = told.iter().filter_map(|line| line.get("token")).collect();
            assert_eq!(told, tokens.map(Value::from).iter().collect::<Vec<_>>());
        }
    }
}
