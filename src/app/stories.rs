//! What families went through before, for notifications: looked up in the archive once for each event, one after the other.
//!
//! A look-up goes over files of the archive, and nobody can stop it when whoever asked has given up waiting. So there is one at
//! a time, and what it found is remembered: a notification that its receiver's limit or circuit puts off comes again every few
//! seconds.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::lookback::story_until;
use crate::archive::Folder;
use crate::model::limits::STORIES_REMEMBERED;
use crate::model::{Evidence, Text};

pub(super) struct Stories {
    folder: Folder,
    /// By event, newest first. Locked by a look-up to its end.
    told: Arc<Mutex<VecDeque<Told>>>,
}

struct Told {
    event_id: Text,
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
    pub(super) async fn until(&self, event_id: Text) -> Vec<Evidence> {
        let mut told = Arc::clone(&self.told).lock_owned().await;
        let folder = self.folder.clone();
        let looked = tokio::task::spawn_blocking(move || {
            if let Some(told) = told.iter().find(|it| it.event_id == event_id) {
                return Ok(told.story.clone());
            }
            let story = story_until(&folder, &event_id)?;
            told.push_front(Told {
                event_id,
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
    use super::*;
    use crate::archive::Writer;

    #[tokio::test]
    async fn an_event_is_looked_up_once_until_somebody_is_forgotten() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::new(home.path());
        let (mut writer, _) = Writer::open(folder.lock().unwrap().unwrap(), |_| None).unwrap();
        let event = r#"{"event_id":"e1","time":"2026-11-22T05:00:00Z","type":"refresh","outcome":"success","issuer":"app","token_id":"t1","tokenwarden":{"family_id":"f1"}}"#;
        let now = "2026-11-22T05:00:00Z".parse().unwrap();
        writer.write(format!("{event}\n").as_bytes(), now).unwrap();
        writer.end_file().unwrap();
        let stories = Stories::new(folder.clone());
        let told = stories.until("e1".into()).await;
        assert_eq!(told.len(), 1);
        assert_eq!(stories.until("e2".into()).await, []);
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        assert_eq!(stories.until("e1".into()).await, told, "remembered");
        stories.forget().await;
        assert_eq!(stories.until("e1".into()).await, []);
    }
}
