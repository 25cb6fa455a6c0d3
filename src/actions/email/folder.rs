//! Writes mails as `.eml` files into a folder: for the demo and for trying out.

use std::path::{Path, PathBuf};

use tokio::io::AsyncWriteExt;

use crate::actions::Finding;
use crate::model::limits;

use super::Failure;

pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Into `{incident}-{n}.eml`, where n counts the mails of the incident.
    pub(super) async fn write(&self, incident_id: &str, message: &[u8]) -> Result<(), Failure> {
        match self.try_write(incident_id, message).await {
            Ok(()) => Ok(()),
            Err(error) => Err(Failure::Server {
                is_final: false,
                said: format!("{}: {error}", self.path.display()),
            }),
        }
    }

    async fn try_write(&self, incident_id: &str, message: &[u8]) -> std::io::Result<()> {
        tokio::fs::create_dir_all(&self.path).await?;
        let stem: String = incident_id
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '-' {
                    c
                } else {
                    '_'
                }
            })
            .take(64)
            .collect();
        for n in 1..=limits::MAIL_FILES_MAX {
            let path = self.path.join(format!("{stem}-{n}.eml"));
            let opened = tokio::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(path)
                .await;
            match opened {
                Ok(mut file) => {
                    file.write_all(message).await?;
                    return file.flush().await;
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(std::io::Error::other("too many mails of one incident"))
    }

    pub(super) async fn inspect(&self) -> Vec<Finding> {
        let path = self.path.display();
        match tokio::fs::create_dir_all(&self.path).await {
            Ok(()) => vec![Finding::fine(format!("mails are written into {path}"))],
            Err(error) => vec![Finding::fault(
                format!("mails cannot be written into {path}: {error}"),
                "make the folder writable for the account that runs tokenwarden",
            )],
        }
    }
}
